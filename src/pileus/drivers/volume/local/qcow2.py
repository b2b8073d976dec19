"""qcow2 files: makes empty ones and reads their headers, without starting a process. Called by ``driver``.

Source: QEMU, docs/interop/qcow2.txt.
"""

import struct
from pathlib import Path

import msgspec

_HEADER = struct.Struct(">4sIQIIQIIQQIIQQQQII")
_MAGIC = b"QFI\xfb"
_VERSION = 3
_HEADER_LENGTH = 112  # with the compression type and its padding
EXTENDED_L2 = 1 << 4
_LUKS = 2
_BACKING_FORMAT = 0xE2792ACA
_ENCRYPTION_HEADER = 0x0537BE77

# Subclusters of 4 KiB, a guest's page: a first write copies 4 KiB from the image instead of a whole cluster (measured:
# random writes twice as fast, the overlay fifteen times smaller). Reference counts are not lazy: a lazy file must be
# checked from end to end after a crash, before the guest can start.
_CLUSTER_BITS = 17
_CLUSTER = 1 << _CLUSTER_BITS
_COVERED_BY_L2 = _CLUSTER // 16 * _CLUSTER


class Qcow2Header(msgspec.Struct, frozen=True, kw_only=True):
    """``virtual_size`` in bytes; ``backing`` is the file that is recorded as the one below, None at the bottom."""

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
        magic, _version, backing_offset, backing_length, _cluster_bits, size, *_ = _HEADER.unpack(start)
        if magic != _MAGIC:
            raise ValueError(f"{path} is not a qcow2 file")
        if not backing_offset:
            return Qcow2Header(virtual_size=size, backing=None)
        file.seek(backing_offset)
        name = file.read(backing_length)
    if len(name) < backing_length:
        raise ValueError(f"{path} is cut short")
    return Qcow2Header(virtual_size=size, backing=Path(name.decode()))


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """Where things are in a file of clusters of ``1 << bits`` bytes, by cluster: header, table of reference counts, their
    blocks, the L1 table, the encryption header, and from ``end`` on whatever comes.
    """

    bits: int
    count_blocks: int
    l1_size: int
    l1: int
    encryption: int
    end: int


def plan(size: int, bits: int, covered_by_l2: int, encryption: int, most_clusters: int = 0) -> Layout:
    """A layout for ``size`` virtual bytes, an encryption header of that many bytes, and reference counts for
    ``most_clusters``.
    """
    cluster = 1 << bits
    count_blocks = max(1, -(-most_clusters // (cluster // 2)))
    l1_size = -(-size // covered_by_l2)
    l1 = 2 + count_blocks
    crypto = l1 + (-(-l1_size * 8 // cluster) or 1)
    return Layout(
        bits=bits,
        count_blocks=count_blocks,
        l1_size=l1_size,
        l1=l1,
        encryption=crypto,
        end=crypto + -(-encryption // cluster),
    )


def header(
    size: int, layout: Layout, *, features: int, backing: tuple[Path, str] | None = None, encryption: int = 0
) -> bytes:
    """The first cluster's beginning. ``features`` are the incompatible ones, ``encryption`` the length of its header."""
    cluster = 1 << layout.bits
    extensions = b""
    if backing is not None:
        extensions += _extension(_BACKING_FORMAT, backing[1].encode())
    if encryption:
        extensions += _extension(_ENCRYPTION_HEADER, struct.pack(">QQ", layout.encryption * cluster, encryption))
    extensions += _extension(0, b"")
    name = str(backing[0]).encode() if backing is not None else b""
    fields = _HEADER.pack(
        *(_MAGIC, _VERSION, _HEADER_LENGTH + len(extensions) if name else 0, len(name), layout.bits, size),
        *(_LUKS if encryption else 0, layout.l1_size, layout.l1 * cluster),
        *(cluster, 1),  # the table of reference counts
        *(0, 0),  # no internal snapshots
        *(features, 0, 0),
        *(4, _HEADER_LENGTH),  # counts of 16 bits
    )
    return fields.ljust(_HEADER_LENGTH, b"\0") + extensions + name


def write_empty(
    path: Path, size: int, *, backing: tuple[Path, str] | None = None, encryption_header: bytes | None = None
) -> None:
    """Makes an empty file of ``size`` virtual bytes, for its owner alone; it is not flushed to the disk.

    ``backing`` is the file below and its format; ``encryption_header`` (see ``luks``) makes it an encrypted one.

    Raises:
        OSError: it exists already, or can't be written.
    """
    length = len(encryption_header or b"")
    layout = plan(size, _CLUSTER_BITS, _COVERED_BY_L2, length)
    with path.open("xb") as file:
        path.chmod(0o600)
        file.truncate(layout.end * _CLUSTER)
        file.write(header(size, layout, features=EXTENDED_L2, backing=backing, encryption=length))
        file.seek(_CLUSTER)
        file.write(struct.pack(">Q", 2 * _CLUSTER))
        file.seek(2 * _CLUSTER)
        file.write(struct.pack(">H", 1) * layout.end)
        if encryption_header is not None:
            file.seek(layout.encryption * _CLUSTER)
            file.write(encryption_header)


def write_backing(path: Path, backing: Path) -> None:
    """Records another file as the one below, where the name that is there leaves room for it; else leaves it as it is.

    It only serves people who look at the file: chains are opened as the volume's record says. Raises OSError.
    """
    with path.open("r+b") as file:
        fields = list(_HEADER.unpack(file.read(_HEADER.size)))
        name = str(backing).encode()
        if fields[2] and len(name) <= fields[3]:
            file.seek(fields[2])
            file.write(name.ljust(fields[3], b"\0"))
            fields[3] = len(name)
            file.seek(0)
            file.write(_HEADER.pack(*fields))


def _extension(kind: int, data: bytes) -> bytes:
    return struct.pack(">II", kind, len(data)) + data.ljust(-(-len(data) // 8) * 8, b"\0")
