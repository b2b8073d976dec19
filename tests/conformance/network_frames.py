"""Ethernet frames by hand, for tests of what a guest may claim."""

import socket
import struct
from collections.abc import Iterable

ROUTER_MAC = "02:00:a9:fe:00:01"
ALL_NODES, ALL_NODES_MAC = "ff02::1", "33:33:00:00:00:01"


def frame(source: str, destination: str, kind: int, body: bytes) -> bytes:
    """``source`` and ``destination`` are MACs."""
    return _mac(destination) + _mac(source) + struct.pack(">H", kind) + body


def ipv4(source: str, destination: str, protocol: int, body: bytes) -> bytes:
    """A packet with its checksum."""
    addresses = socket.inet_aton(source) + socket.inet_aton(destination)
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(body), 1, 0, 64, protocol, 0) + addresses
    return head[:10] + struct.pack(">H", _checksum(head)) + head[12:] + body


def ipv6(source: str, destination: str, protocol: int, body: bytes, *, hops: int = 255) -> bytes:
    """A packet; for UDP and ICMP, the checksum at its place in the body is filled in."""
    ends = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, destination)
    place = 2 if protocol == socket.IPPROTO_ICMPV6 else 6
    body = body[:place] + b"\0\0" + body[place + 2 :]
    total = _checksum(ends + struct.pack(">II", len(body), protocol) + body)
    body = body[:place] + struct.pack(">H", total) + body[place + 2 :]
    return struct.pack(">IHBB", 6 << 28, len(body), protocol, hops) + ends + body


def udp(source_port: int, port: int, payload: bytes) -> bytes:
    """A datagram without a checksum."""
    return struct.pack(">4H", source_port, port, 8 + len(payload), 0) + payload


def advertised_neighbour(address: str, mac: str) -> bytes:
    """The ICMPv6 message that says: the address is at the MAC."""
    target = socket.inet_pton(socket.AF_INET6, address)
    return struct.pack(">BBHI", 136, 0, 0, 0x60000000) + target + b"\x02\x01" + _mac(mac)


def advertised_router(mac: str) -> bytes:
    """The ICMPv6 message that says: I am a router."""
    return struct.pack(">BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0) + b"\x01\x01" + _mac(mac)


def heard(sniffer: socket.socket, marks: Iterable[bytes]) -> set[bytes]:
    """Which of the byte strings are in frames that come, until nothing comes any more."""
    wanted, found = set(marks), set[bytes]()
    try:
        while wanted - found:
            data = sniffer.recv(4096)
            found |= {mark for mark in wanted if mark in data}
    except TimeoutError:
        pass
    return found


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def _checksum(data: bytes) -> int:
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
