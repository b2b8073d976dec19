"""The PROXY protocol, version 2: who is really at the other end of a connection that somebody else hands on.

Source: haproxy's proxy-protocol.txt; the type of a VPC endpoint's id is the one that AWS's load balancers use.
"""

import ipaddress
import struct

import msgspec

_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_VERSION_AND_COMMAND = 0x21  # version 2, PROXY
_TCP4, _TCP6 = 0x11, 0x21
_VPC = 0xE0  # the first of those left to applications
_AWS, _ENDPOINT_ID = 0xEA, b"\1"

FIXED_SIZE = 16
"""Bytes of the part that says how long the rest is."""
LONGEST_REST = 512


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where a connection comes from and where it went to; ``vpc`` and ``endpoint`` ids, empty when there is none."""

    source: str
    source_port: int
    destination: str
    destination_port: int
    vpc: str = ""
    endpoint: str = ""


def encode(origin: Origin) -> bytes:
    """The header that goes before a connection's bytes."""
    addresses = [ipaddress.ip_address(text) for text in (origin.source, origin.destination)]
    family = _TCP4 if addresses[0].version == 4 else _TCP6
    rest = b"".join(address.packed for address in addresses)
    rest += struct.pack(">HH", origin.source_port, origin.destination_port)
    if origin.vpc:
        rest += _entry(_VPC, origin.vpc.encode())
    if origin.endpoint:
        rest += _entry(_AWS, _ENDPOINT_ID + origin.endpoint.encode())
    return _SIGNATURE + struct.pack(">BBH", _VERSION_AND_COMMAND, family, len(rest)) + rest


def rest_size(fixed: bytes) -> int:
    """How many bytes follow the fixed part. Raises ValueError when this is no such header."""
    command, family, size = struct.unpack(">BBH", fixed[12:])
    known = fixed[:12] == _SIGNATURE and command == _VERSION_AND_COMMAND and family in {_TCP4, _TCP6}
    if not known or size > LONGEST_REST:
        raise ValueError("not a PROXY header")
    return size


def decode(fixed: bytes, rest: bytes) -> Origin:
    """What the header says. Raises ValueError."""
    width = 4 if fixed[13] == _TCP4 else 16
    try:
        source, destination = (ipaddress.ip_address(rest[at : at + width]) for at in (0, width))
        ports = struct.unpack(">HH", rest[2 * width : 2 * width + 4])
        entries = dict(_entries(rest[2 * width + 4 :]))
        return Origin(
            source=str(source),
            source_port=ports[0],
            destination=str(destination),
            destination_port=ports[1],
            vpc=entries.get(_VPC, b"").decode("ascii"),
            endpoint=entries.get(_AWS, b"").removeprefix(_ENDPOINT_ID).decode("ascii"),
        )
    except struct.error as error:
        raise ValueError("a PROXY header that is cut short") from error


def _entry(kind: int, value: bytes) -> bytes:
    return struct.pack(">BH", kind, len(value)) + value


def _entries(data: bytes) -> list[tuple[int, bytes]]:
    found: list[tuple[int, bytes]] = []
    while data:
        kind, size = struct.unpack(">BH", data[:3])
        found.append((kind, data[3 : 3 + size]))
        data = data[3 + size :]
    return found
