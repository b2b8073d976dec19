"""The conversion of disk images: what ``pileus.agent`` asks for. Implemented by ``conversion`` and ``conversion_fake``."""

from collections.abc import Awaitable, Callable
from typing import Literal, Protocol

import msgspec

from pileus.hostapi.spec import ConversionSpec

OpenKey = Callable[[str], Awaitable[bytes]]
"""Data key id → its 32 bytes. Raises PermanentError or RetryableError."""

Step = Literal["fetching", "converting", "storing"]
Progress = Callable[[Step, int], None]
"""Told what is being done, and how many percent of all of it are."""


class Converted(msgspec.Struct, frozen=True, kw_only=True):
    """The result in the block store: its root digest (hexadecimal) and its bytes."""

    root: str
    size: int


class Conversions(Protocol):
    """All calls can be cancelled or killed at any point, and repeated."""

    async def convert(self, spec: ConversionSpec, keys: OpenKey, progress: Progress) -> Converted:
        """Does it. The result is protected from collection until ``forget``, by a session of this process.

        Raises:
            PermanentError: the image is not what it should be; the message is for its owner.
            RetryableError: the block store or a key can't be had now.
        """
        ...

    async def forget(self, task_id: str) -> None:
        """The result is on record, or nobody wants it any more."""
        ...
