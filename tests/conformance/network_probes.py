"""Many connections tried at once between the guests of a network lab, each with real packets."""

import select
import socket
import struct
import threading
import time
from collections.abc import Iterable, Sequence
from itertools import count
from typing import NamedTuple

from network_lab import inside

_ICMP = {socket.AF_INET: (socket.IPPROTO_ICMP, 8, 0), socket.AF_INET6: (socket.IPPROTO_ICMPV6, 128, 129)}
_idents = count(1000)


class Probe(NamedTuple):
    """One attempt: from a namespace ("" for the thread's own), ``protocol`` tcp, udp or icmp (of the address's family)."""

    namespace: str
    destination: str
    protocol: str
    port: int = 0


class Echo:
    """Answers UDP on the ports, and accepts TCP, in namespaces that are added."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._thread = threading.Thread(target=self._answer, daemon=True)
        self._closing = False
        self._thread.start()

    def add(self, namespace: str, ports: Iterable[int]) -> None:
        """Serves in one more namespace."""
        for port in ports:
            udp = inside(namespace, lambda port=port: _bound(socket.SOCK_DGRAM, port))
            tcp = inside(namespace, lambda port=port: _bound(socket.SOCK_STREAM, port))
            tcp.listen(512)
            for made in (udp, tcp):
                made.setblocking(False)
                self._sockets[made.fileno()] = made
                self._poll.register(made.fileno(), select.EPOLLIN)

    def close(self) -> None:
        """Stops it."""
        self._closing = True
        self._thread.join()
        for one in self._sockets.values():
            one.close()
        self._poll.close()

    def _answer(self) -> None:
        while not self._closing:
            for descriptor, _ in self._poll.poll(0.2):
                one = self._sockets[descriptor]
                try:
                    if one.type == socket.SOCK_DGRAM:
                        one.sendmsg(*_answer_of(one))
                    else:
                        one.accept()[0].close()
                except OSError:
                    continue


def reached(probes: Sequence[Probe], seconds: float) -> list[bool]:
    """For each probe, whether an answer came within the time."""
    started = [(_start(probe)) for probe in probes]
    poll = select.poll()
    waiting = {one[0].fileno(): (number, one) for number, one in enumerate(started) if one is not None}
    results = [False] * len(probes)
    for descriptor, (number, _) in waiting.items():
        poll.register(descriptor, select.POLLOUT if probes[number].protocol == "tcp" else select.POLLIN)
    deadline = time.monotonic() + seconds
    while waiting and (left := deadline - time.monotonic()) > 0:
        for descriptor, _ in poll.poll(left * 1000):
            number, (opened, ident) = waiting[descriptor]
            told = _outcome(opened, probes[number].protocol, ident)
            if told is None:
                continue
            results[number] = told
            poll.unregister(descriptor)
            del waiting[descriptor]
    for one in started:
        if one is not None:
            one[0].close()
    return results


def _start(probe: Probe) -> tuple[socket.socket, int] | None:
    family = socket.AF_INET6 if ":" in probe.destination else socket.AF_INET
    ident = next(_idents) % 60000

    def begin() -> tuple[socket.socket, int] | None:
        if probe.protocol == "icmp":
            made = socket.socket(family, socket.SOCK_RAW, _ICMP[family][0])
        else:
            made = socket.socket(family, socket.SOCK_STREAM if probe.protocol == "tcp" else socket.SOCK_DGRAM)
        made.setblocking(False)
        if probe.protocol == "tcp":
            made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        try:
            made.connect((probe.destination, probe.port))
        except BlockingIOError:
            return made, ident
        except OSError:
            made.close()
            return None
        try:
            if probe.protocol == "udp":
                made.send(b"anybody?")
            elif probe.protocol == "icmp":
                made.send(_echo_request(family, ident))
        except OSError:
            made.close()
            return None
        return made, ident

    return inside(probe.namespace, begin) if probe.namespace else begin()


def _outcome(opened: socket.socket, protocol: str, ident: int) -> bool | None:
    """What came; None when it was nothing about this probe."""
    if protocol == "tcp":
        return opened.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    try:
        packet = opened.recv(2048)
    except OSError:
        return False
    if protocol == "udp":
        return True
    message = packet[(packet[0] & 15) * 4 :] if opened.family == socket.AF_INET else packet
    is_answer = message[0] == _ICMP[opened.family][2] and message[4:6] == struct.pack(">H", ident)
    return True if is_answer else None


def _echo_request(family: int, ident: int) -> bytes:
    """With its checksum for IPv4; for IPv6 the kernel computes it."""
    message = struct.pack(">BBHHH", _ICMP[family][1], 0, 0, ident, 1)
    total = sum(struct.unpack(">4H", message))
    checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    return message[:2] + struct.pack(">H", checksum) + message[4:]


def _bound(kind: int, port: int) -> socket.socket:
    """For both families. UDP answers from the address that was asked."""
    made = socket.socket(socket.AF_INET6, kind)
    made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if kind == socket.SOCK_DGRAM:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    made.bind(("::", port))
    return made


def _answer_of(one: socket.socket) -> tuple[list[bytes], list[tuple[int, int, bytes]], int, tuple[object, ...]]:
    """What ``sendmsg`` needs to answer the datagram that is waiting, from the address that it came to."""
    data, ancillary, _, peer = one.recvmsg(2048, 256)
    info = [(level, kind, value) for level, kind, value in ancillary if kind == socket.IPV6_PKTINFO]
    return [data], info, 0, peer
