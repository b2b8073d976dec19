"""Blocks in memory, for tests and the simulated cloud."""

import itertools
from collections.abc import Callable, Sequence

from pileus.engines.blocks.interface import Digest
from pileus.engines.blocks.ledger import Ledger
from pileus.engines.blocks.shelf import Stored
from pileus.engines.blocks.store import LocalBlocks


class MemoryShelf:
    """A ``Shelf`` that is gone with its process. ``blocks`` may be read, and damaged, by tests."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.blocks: dict[Digest, tuple[bytes, float]] = {}
        self._staged: dict[str, bytes] = {}
        self._aside: dict[Digest, tuple[bytes, float]] = {}
        self._numbers = itertools.count()

    def touch(self, digest: Digest, size: int | None = None) -> bool:
        known = self.blocks.get(digest)
        if known is None:
            return False
        self.blocks[digest] = (known[0], self._now())
        return size is None or len(known[0]) == size

    def stage(self, digest: Digest, data: bytes) -> str:
        name = f"{digest.hex()}.{next(self._numbers)}"
        self._staged[name] = data
        return name

    def publish(self, staged: Sequence[tuple[Digest, str]]) -> None:
        for digest, name in staged:
            self.blocks[digest] = (self._staged.pop(name), self._now())
            self._aside.pop(digest, None)

    def read(self, digest: Digest) -> bytes:
        try:
            return self.blocks[digest][0]
        except KeyError:
            raise FileNotFoundError(digest.hex()) from None

    def set_aside(self, digest: Digest) -> None:
        if digest in self.blocks:
            self._aside[digest] = self.blocks.pop(digest)

    def is_aside(self, digest: Digest) -> bool:
        return digest in self._aside

    def aside(self) -> Sequence[Digest]:
        return sorted(self._aside)

    def list(self, bucket: int) -> Sequence[Stored]:
        return [
            Stored(digest, used, len(data))
            for place in (self.blocks, self._aside)
            for digest, (data, used) in tuple(place.items())
            if digest[0] == bucket
        ]

    def remove(self, digests: Sequence[Digest]) -> None:
        for digest in digests:
            self.blocks.pop(digest, None)
            self._aside.pop(digest, None)

    def close(self) -> None:
        """Nothing to let go of."""


def memory_blocks(now: Callable[[], float], *, grace: float = 0.0) -> LocalBlocks:
    """A block store in memory; ``grace`` as for ``LocalBlocks``."""
    return LocalBlocks(MemoryShelf(now), Ledger(None), now=now, grace=grace)
