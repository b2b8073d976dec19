"""What keeps the bytes under ``store``: a directory (``directory``), memory (``fake``). Any S3 would be one more."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from pileus.engines.blocks.interface import Digest

BUCKETS = 256
"""Stored blocks fall into buckets by the first byte of their digest."""


class Stored(msgspec.Struct, frozen=True, array_like=True):
    """A stored block: ``used`` is when it was last put or touched (seconds of the shelf's clock), ``size`` its bytes."""

    digest: Digest
    used: float
    size: int


class Shelf(Protocol):
    """Calls block, and come from several threads; ``store`` sees to it that ``publish``, ``set_aside`` and ``remove`` of one
    digest never overlap. Every failure of the medium is an OSError.
    """

    def touch(self, digest: Digest, size: int | None = None) -> bool:
        """Whether the block is there (and has ``size`` bytes); from now on it counts as just used."""
        ...

    def stage(self, digest: Digest, data: bytes) -> str:
        """Writes a block durably, not yet to be found; the answer is for ``publish``."""
        ...

    def publish(self, staged: Sequence[tuple[Digest, str]]) -> None:
        """Lets staged blocks be found, durably."""
        ...

    def read(self, digest: Digest) -> bytes:
        """The bytes as they are. Raises FileNotFoundError."""
        ...

    def set_aside(self, digest: Digest) -> None:
        """Takes a damaged block away: ``touch`` no longer finds it, so that it can be put again."""
        ...

    def is_aside(self, digest: Digest) -> bool:
        """Whether the block was found damaged and not put again since."""
        ...

    def aside(self) -> Sequence[Digest]:
        """All such blocks."""
        ...

    def list(self, bucket: int) -> Sequence[Stored]:
        """The blocks of a bucket, also those set aside."""
        ...

    def remove(self, digests: Sequence[Digest]) -> None:
        """Removes blocks; those that are not there are left so."""
        ...

    def close(self) -> None:
        """Lets another process have the shelf."""
        ...
