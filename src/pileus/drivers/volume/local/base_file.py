"""Writes a complete base: a sparse raw file, or an encrypted qcow2 file that holds only what is not zeros. Called by ``bases``.

The encrypted one has clusters of a block's size, so that each block is one cluster, and is not extended any more.
"""

import os
import struct
import threading
from pathlib import Path
from typing import Literal, Protocol

from pileus.drivers.volume.local import qcow2
from pileus.drivers.volume.local.luks import Container
from pileus.engines.blocks.interface import BLOCK

_BITS = 19
_COUNTS = BLOCK // 2
_ENTRIES = BLOCK // 8
_COPIED = 1 << 63  # the cluster is referred to once


class BaseFile(Protocol):
    """A base being written. Not there under its own name before all is written; threads may put at the same time."""

    def put(self, index: int, data: bytes) -> None:
        """Writes a block. Raises OSError."""
        ...

    def finish(self) -> None:
        """Writes the rest; everything is on the disk itself when this returns. Raises OSError."""
        ...


def file_format(encrypted: bool) -> Literal["raw", "qcow2"]:
    """What a base's file is."""
    return "qcow2" if encrypted else "raw"


def create(path: Path, size: int, key: bytes | None) -> "_Raw | _Encrypted":
    """Makes an empty file of ``size`` bytes, encrypted under ``key`` if there is one. Raises OSError."""
    return _Raw(path, size) if key is None else _Encrypted(path, size, Container(key))


class _File:
    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.fchmod(self._descriptor, 0o644)  # QEMU's tools read it as nobody; its directory is closed to others

    def __enter__(self) -> "BaseFile":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def put(self, index: int, data: bytes) -> None:
        raise NotImplementedError

    def finish(self) -> None:
        os.fsync(self._descriptor)

    def _write(self, offset: int, data: bytes) -> None:
        while data:
            written = os.pwrite(self._descriptor, data, offset)
            offset, data = offset + written, data[written:]


class _Raw(_File):
    def __init__(self, path: Path, size: int) -> None:
        super().__init__(path)
        os.ftruncate(self._descriptor, size)

    def put(self, index: int, data: bytes) -> None:
        self._write(index * BLOCK, data)


class _Encrypted(_File):
    def __init__(self, path: Path, size: int, container: Container) -> None:
        super().__init__(path)
        self._size = size
        self._container = container
        self._layout = qcow2.plan(
            size, _BITS, _ENTRIES * BLOCK, len(container.header), most_clusters=-(-size // BLOCK) + 1024
        )
        self._next = self._layout.end + self._layout.l1_size  # the L2 tables come first
        self._places: dict[int, int] = {}
        self._placing = threading.Lock()

    def put(self, index: int, data: bytes) -> None:
        with self._placing:
            cluster, self._next = self._next, self._next + 1
            self._places[index] = cluster
        self._write(cluster * BLOCK, self._container.encrypt(cluster * BLOCK, data.ljust(BLOCK, b"\0")))

    def finish(self) -> None:
        layout = self._layout
        for table in range(layout.l1_size):
            entries = bytearray(BLOCK)
            for number in range(_ENTRIES):
                if (cluster := self._places.get(table * _ENTRIES + number)) is not None:
                    struct.pack_into(">Q", entries, number * 8, _COPIED | cluster * BLOCK)
            self._write((layout.end + table) * BLOCK, bytes(entries))
        tables = [_COPIED | (layout.end + table) * BLOCK for table in range(layout.l1_size)]
        self._write(layout.l1 * BLOCK, struct.pack(f">{len(tables)}Q", *tables))
        self._write(layout.encryption * BLOCK, self._container.header)
        blocks = [(2 + number) * BLOCK for number in range(layout.count_blocks)]
        self._write(BLOCK, struct.pack(f">{len(blocks)}Q", *blocks))
        for number, place in enumerate(blocks):
            used = max(0, min(_COUNTS, self._next - number * _COUNTS))
            self._write(place, (struct.pack(">H", 1) * used).ljust(BLOCK, b"\0"))
        os.ftruncate(self._descriptor, self._next * BLOCK)
        self._write(0, qcow2.header(self._size, layout, features=0, encryption=len(self._container.header)))
        super().finish()
