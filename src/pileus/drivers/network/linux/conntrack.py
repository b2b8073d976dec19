"""Forgetting tracked connections that contradict a VPC's present addresses.

The kernel translates and accepts a tracked connection by its entry, whatever the rules say by now. That is wanted when
rules change, and wrong when an address has another owner: its old connections would go on to the old one.

It is asked over netlink, which says for each entry exactly which one to delete. Source: the kernel's
include/uapi/linux/netfilter/nfnetlink_conntrack.h.
"""

import errno
import ipaddress
import os
import socket
import struct
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

from pileus.drivers.network.linux.names import TRANSIT
from pileus.drivers.network.linux.namespace import Namespace

_NETLINK_NETFILTER, _SUBSYSTEM = 12, 1 << 8
_NEW, _GET, _DELETE = _SUBSYSTEM, _SUBSYSTEM | 1, _SUBSYSTEM | 2
_ERROR, _DONE = 2, 3
_REQUEST, _ACK, _DUMP = 0x001, 0x004, 0x300
_TUPLE_ORIG, _TUPLE_REPLY, _ID, _ZONE = 1, 2, 12, 18
_TUPLE_IP, _TYPE = 1, 0x3FFF
_NESTED = 0x8000
_BUFFER = 1 << 17


class Flow(NamedTuple):
    """Source and destination of a connection's first packet, then of the answers to it; ``key`` names it to the kernel."""

    source: str
    destination: str
    answerer: str
    answered: str
    key: bytes = b""


async def flows(namespace: Namespace) -> list[Flow]:
    """All that the namespace tracks, of both families."""
    return await namespace.call(_dump)


async def forget(namespace: Namespace, doomed: Collection[Flow]) -> None:
    """Deletes the entries. One that is gone already is as good."""
    if doomed:
        await namespace.call(lambda: _delete(doomed))


def stale(tracked: Iterable[Flow], inward: Mapping[str, str], released: Collection[str]) -> list[Flow]:
    """Those flows that go on by an ownership that ended.

    Args:
        inward: the present translation, public → private address.
        released: private addresses whose interface is gone, or another one now.
    """
    return [flow for flow in tracked if _is_stale(flow, inward, released)]


def _is_stale(flow: Flow, inward: Mapping[str, str], released: Collection[str]) -> bool:
    if flow.answerer != flow.destination and inward.get(flow.destination) != flow.answerer:
        return True
    # What went to a gateway endpoint is translated to the namespace's own address, which never has another owner.
    is_translated = flow.answered != flow.source and not _is_transit(flow.answered)
    if is_translated and inward.get(flow.answered) != flow.source:
        return True
    return flow.source in released or flow.answerer in released


def _is_transit(address: str) -> bool:
    return ":" not in address and ipaddress.IPv4Address(address) in TRANSIT


def _dump() -> list[Flow]:
    found: list[Flow] = []
    with _socket() as link:
        for family in (socket.AF_INET, socket.AF_INET6):
            link.send(_message(_GET, _REQUEST | _DUMP, family, b""))
            found += [_flow(family, body) for body in _answers(link)]
    return found


def _delete(doomed: Collection[Flow]) -> None:
    with _socket() as link:
        for flow in doomed:
            family = socket.AF_INET6 if ":" in flow.source else socket.AF_INET
            link.send(_message(_DELETE, _REQUEST | _ACK, family, flow.key))
            try:
                list(_answers(link))
            except FileNotFoundError:
                continue


def _socket() -> socket.socket:
    link = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER)
    link.bind((0, 0))
    link.settimeout(10)
    return link


def _message(kind: int, flags: int, family: int, attributes: bytes) -> bytes:
    body = struct.pack(">BBH", family, 0, 0) + attributes
    return struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0) + body


def _answers(link: socket.socket) -> Iterator[bytes]:
    """The attributes of every entry, up to the end of the answer. Raises OSError when the kernel refuses."""
    while True:
        data = link.recv(_BUFFER)
        while data:
            length, kind = struct.unpack_from("=IH", data)
            if kind == _DONE:
                return
            if kind == _ERROR:
                (code,) = struct.unpack_from("=i", data, 16)
                if code:
                    raise OSError(-code, f"conntrack: {os.strerror(-code)} ({errno.errorcode.get(-code, -code)})")
                return
            if kind == _NEW:
                yield data[20:length]
            data = data[(length + 3) & ~3 :]


def _flow(family: int, body: bytes) -> Flow:
    attributes = dict(_attributes(body))
    there, back = _addresses(family, attributes[_TUPLE_ORIG]), _addresses(family, attributes[_TUPLE_REPLY])
    key = _attribute(_TUPLE_ORIG | _NESTED, attributes[_TUPLE_ORIG])
    key += b"".join(_attribute(kind, attributes[kind]) for kind in (_ID, _ZONE) if kind in attributes)
    return Flow(*there, *back, key)


def _addresses(family: int, body: bytes) -> tuple[str, str]:
    """Source and destination of a tuple."""
    source, destination = (value for _, value in sorted(_attributes(dict(_attributes(body))[_TUPLE_IP])))
    return socket.inet_ntop(family, source), socket.inet_ntop(family, destination)


def _attributes(body: bytes) -> Iterator[tuple[int, bytes]]:
    while len(body) >= 4:
        length, kind = struct.unpack_from("=HH", body)
        yield kind & _TYPE, body[4:length]
        body = body[(length + 3) & ~3 :]


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)
