"""Which blocks are in use, as the collector notes them: many millions of digests in bounded memory. Used by ``store``."""

import tempfile
from pathlib import Path
from typing import IO

from pileus.engines.blocks.interface import DIGEST, Digest
from pileus.engines.blocks.shelf import BUCKETS

_IN_MEMORY = 32 << 20


class Marks:
    """A set of digests that is written first and read bucket by bucket then; beyond 32 MiB it is kept in a file.

    ``directory`` is where that file (which has no name) lies; None: where temporary files do.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory
        self._buckets = [bytearray() for _ in range(BUCKETS)]
        self._bytes = 0
        self._file: IO[bytes] | None = None
        self._spilled: list[list[tuple[int, int]]] = [[] for _ in range(BUCKETS)]

    def add(self, digest: Digest) -> None:
        """Marks a block."""
        self._buckets[digest[0]] += digest
        self._bytes += DIGEST
        if self._bytes > _IN_MEMORY:
            self._spill()

    def bucket(self, number: int) -> frozenset[Digest]:
        """The marked blocks of a bucket."""
        parts = [bytes(self._buckets[number])]
        for start, length in self._spilled[number]:
            assert self._file is not None
            self._file.seek(start)
            parts.append(self._file.read(length))
        return frozenset(part[at : at + DIGEST] for part in parts for at in range(0, len(part), DIGEST))

    def close(self) -> None:
        """Frees what it takes."""
        if self._file is not None:
            self._file.close()

    def _spill(self) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._directory)  # noqa: SIM115 - lives as long as the marks
        for number, marked in enumerate(self._buckets):
            if marked:
                start = self._file.seek(0, 2)
                self._file.write(marked)
                self._spilled[number].append((start, len(marked)))
                marked.clear()
        self._bytes = 0
