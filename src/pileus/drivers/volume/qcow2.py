"""What a qcow2 file says of itself in its header, read without starting a process. Called by ``local``.

Source: QEMU, docs/interop/qcow2.txt, "Header".
"""

import struct
from collections.abc import Iterator
from pathlib import Path

import msgspec

_HEADER = struct.Struct(">4sIQIIQ")
_MAGIC = b"QFI\xfb"


class Qcow2Header(msgspec.Struct, frozen=True, kw_only=True):
    """``virtual_size`` in bytes; ``backing`` is the file below this one, None at the bottom of a chain."""

    virtual_size: int
    backing: Path | None


def read_header(path: Path) -> Qcow2Header:
    """Reads the header of the qcow2 file at ``path``.

    Raises:
        OSError: the file can't be read.
        ValueError: it is not qcow2, or it is cut short.
    """
    with path.open("rb") as file:
        start = file.read(_HEADER.size)
        if len(start) < _HEADER.size:
            raise ValueError(f"{path} is too short for a qcow2 file")
        magic, _version, backing_offset, backing_length, _cluster_bits, size = _HEADER.unpack(start)
        if magic != _MAGIC:
            raise ValueError(f"{path} is not a qcow2 file")
        if not backing_offset:
            return Qcow2Header(virtual_size=size, backing=None)
        file.seek(backing_offset)
        name = file.read(backing_length)
    if len(name) < backing_length:
        raise ValueError(f"{path} is cut short")
    return Qcow2Header(virtual_size=size, backing=Path(name.decode()))


def chain(top: Path) -> Iterator[Path]:
    """The files of a disk, top first. Raises what ``read_header`` raises."""
    below: Path | None = top
    while below is not None:
        yield below
        below = read_header(below).backing
