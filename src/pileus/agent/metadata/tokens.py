"""Session tokens of IMDSv2: signed, bound to one instance, valid for a time. Nothing is stored but the host's key."""

import base64
import binascii
import hashlib
import hmac
import secrets
from pathlib import Path

from pileus.agent.state import replace_file
from pileus.base.clock import Clock

MAX_TTL = 21600
_KEY_SIZE = 32
_STAMP_SIZE = 8


class Tokens:
    """Issues and checks tokens. Those of an earlier agent on the same host stay valid: the key is kept."""

    def __init__(self, key: bytes, clock: Clock) -> None:
        self._key = key
        self._clock = clock

    def issue(self, instance_id: str, ttl: int) -> str:
        """A token that ``instance_id`` can use for ``ttl`` seconds, 1 to 21600."""
        stamp = (self._now() + ttl * 1000).to_bytes(_STAMP_SIZE, "big")
        return base64.urlsafe_b64encode(stamp + self._sign(instance_id, stamp)).decode()

    def seconds_left(self, instance_id: str, token: str) -> int:
        """For how long the token is still good, in whole seconds rounded up; 0 when it is not, for whatever reason."""
        try:
            raw = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
        except (binascii.Error, UnicodeEncodeError):
            return 0
        stamp, signature = raw[:_STAMP_SIZE], raw[_STAMP_SIZE:]
        if not hmac.compare_digest(signature, self._sign(instance_id, stamp)):
            return 0
        left = int.from_bytes(stamp, "big") - self._now()
        return max(0, -(-left // 1000))

    def _sign(self, instance_id: str, stamp: bytes) -> bytes:
        return hmac.digest(self._key, stamp + instance_id.encode(), hashlib.sha256)

    def _now(self) -> int:
        return int(self._clock.now().timestamp() * 1000)


def load_or_create_key(path: Path) -> bytes:
    """The host's key for tokens, made at the first start. Blocks. Raises OSError."""
    if not path.exists():
        replace_file(path, secrets.token_bytes(_KEY_SIZE))
    return path.read_bytes()
