"""Calls that carried a client token, kept so that a repetition gets the same answer."""

from datetime import datetime
from typing import ClassVar

from pileus.base.record import Record


class IdempotentCall(Record, frozen=True, kw_only=True):
    """``id`` names account, region, operation and token; ``digest`` is over the parameters; ``result`` is the answer."""

    kind: ClassVar[str] = "idempotent-call"

    digest: str
    result: bytes
    at: datetime
