"""Block tokens and page tokens: unforgeable, for one account and one snapshot, and for a limited time.

The model wants plain base64 of up to 256 characters. A block token is a sealed ticket, the same for all blocks of one
answer, and a MAC of the block's index under the secret in that ticket, so that ten thousand of them cost one sealing.
"""

import base64
import binascii
import hmac
import secrets
from datetime import timedelta
from hashlib import sha256

import msgspec

from pileus.base.sealing import SealBroken
from pileus.operations.context import Context
from pileus.services.ebs.errors import ValidationException

BLOCK_TOKENS_LAST = timedelta(days=7)
PAGE_TOKENS_LAST = timedelta(minutes=60)

_FORMAT = "1."
_MAC = 16
_LONGEST = 256


class _Ticket(msgspec.Struct, frozen=True, array_like=True):
    expires: int
    secret: bytes


class _Position(msgspec.Struct, frozen=True, array_like=True):
    expires: int
    start: int


class Tokens:
    """The block tokens of one answer about one snapshot."""

    def __init__(self, context: Context, snapshot_id: str) -> None:
        self.expires = context.now + BLOCK_TOKENS_LAST
        self._secret = secrets.token_bytes(_MAC)
        ticket = msgspec.msgpack.encode(_Ticket(int(self.expires.timestamp()), self._secret))
        self._ticket = _sealed(context, ticket, _blocks_of(context, snapshot_id))

    def token(self, index: int) -> str:
        """The token of a block."""
        return base64.b64encode(self._ticket + _mac(self._secret, index)).decode()


def check_block_token(context: Context, snapshot_id: str, index: int, token: str) -> None:
    """Raises ValidationException unless the token is of this block, was given to this account and has not expired."""
    try:
        raw = base64.b64decode(token[:_LONGEST], validate=True)
        opened = _opened(context, raw[:-_MAC], _blocks_of(context, snapshot_id))
        ticket = msgspec.msgpack.decode(opened, type=_Ticket)
    except (SealBroken, binascii.Error, ValueError) as error:
        raise _bad_block_token() from error
    genuine = hmac.compare_digest(raw[-_MAC:], _mac(ticket.secret, index))
    if not genuine or ticket.expires < context.now.timestamp():
        raise _bad_block_token()


def page_token(context: Context, start: int, *snapshot_ids: str) -> str:
    """The token of the page that begins with block ``start``."""
    expires = int((context.now + PAGE_TOKENS_LAST).timestamp())
    sealed = _sealed(context, msgspec.msgpack.encode(_Position(expires, start)), _pages_of(context, snapshot_ids))
    return base64.b64encode(sealed).decode()


def open_page_token(context: Context, token: str, *snapshot_ids: str) -> int:
    """The block that the page begins with. Raises ValidationException."""
    try:
        raw = base64.b64decode(token[:_LONGEST], validate=True)
        position = msgspec.msgpack.decode(_opened(context, raw, _pages_of(context, snapshot_ids)), type=_Position)
    except (SealBroken, binascii.Error, ValueError) as error:
        raise ValidationException("The page token is not valid.", "INVALID_PAGE_TOKEN") from error
    if position.expires < context.now.timestamp():
        raise ValidationException("The page token has expired.", "INVALID_PAGE_TOKEN")
    return position.start


def _bad_block_token() -> ValidationException:
    return ValidationException("The block token is not that of the block, or has expired.", "INVALID_BLOCK_TOKEN")


def _mac(secret: bytes, index: int) -> bytes:
    return hmac.digest(secret, index.to_bytes(8, "big"), sha256)[:_MAC]


def _blocks_of(context: Context, snapshot_id: str) -> str:
    return f"ebs-block/{context.account}/{snapshot_id}"


def _pages_of(context: Context, snapshot_ids: tuple[str, ...]) -> str:
    return f"ebs-page/{context.account}/{context.call.operation}/{'/'.join(snapshot_ids)}"


def _sealed(context: Context, plaintext: bytes, purpose: str) -> bytes:
    return base64.urlsafe_b64decode(context.env.sealer.seal(plaintext, purpose).removeprefix(_FORMAT))


def _opened(context: Context, sealed: bytes, purpose: str) -> bytes:
    return context.env.sealer.open(_FORMAT + base64.urlsafe_b64encode(sealed).decode(), purpose)
