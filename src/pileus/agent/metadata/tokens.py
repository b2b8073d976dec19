"""Session tokens of IMDSv2: signed, bound to one instance, valid for a time. Nothing is stored but the host's key."""

import base64
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
        return self._seal(instance_id, (self._now() + ttl * 1000).to_bytes(_STAMP_SIZE, "big")).decode()

    def seconds_left(self, instance_id: str, token: str) -> int:
        """For how long the token is still good, in whole seconds rounded up; 0 when it is not, for whatever reason."""
        try:
            stamp = base64.urlsafe_b64decode(token)[:_STAMP_SIZE]
        except ValueError:
            return 0
        if not hmac.compare_digest(self._seal(instance_id, stamp), token.encode()):
            return 0
        left = int.from_bytes(stamp, "big") - self._now()
        return max(0, -(-left // 1000))

    def _seal(self, instance_id: str, stamp: bytes) -> bytes:
        """The only token with this end of life (``stamp``) that the instance can have."""
        signature = hmac.digest(self._key, stamp + instance_id.encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(stamp + signature)

    def _now(self) -> int:
        return int(self._clock.now().timestamp() * 1000)


def load_or_create_key(path: Path) -> bytes:
    """The host's key for tokens, made at the first start. Blocks. Raises OSError."""
    if not path.exists():
        replace_file(path, secrets.token_bytes(_KEY_SIZE))
    return path.read_bytes()
