"""Reading what ``ruleset_flows`` made the kernel count, and telling it once. Called by ``vpc``.

Memory is bounded by the sets' sizes: what the kernel forgets, this module forgets too.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from pileus.drivers.network.linux.names import tap_name
from pileus.drivers.network.linux.namespace import Namespace
from pileus.drivers.network.linux.ruleset_flows import FLAGS, IDLE, KINDS, WAYS, flag_name, set_name
from pileus.drivers.network.linux.ruleset_parts import FAMILIES
from pileus.hostapi.network_spec import InterfaceSpec, VpcSpec
from pileus.hostapi.observation import FlowObservation

_PROTOCOLS = {"tcp": 6, "udp": 17}
_Ends = tuple[str, str, int, int]
"""Addresses and ports of packets: source, destination, source port, destination port."""


class Count(NamedTuple):
    """How many packets and bytes (IP headers included) a flow had since the kernel began to count it."""

    packets: int
    bytes: int


class Flow(NamedTuple):
    """What is counted apart: the packets of one flow, one way past one link, accepted or refused."""

    way: str
    link: str
    protocol: int
    ends: _Ends


class Seen(NamedTuple):
    """What the kernel has counted, and for TCP flows the flags that were seen lately: (flag's value, seconds ago)."""

    counts: Mapping[Flow, Count]
    flags: Mapping[_Ends, tuple[tuple[int, int], ...]]


class Capture:
    """One VPC's. ``window``: seconds; flows are told at most once in each."""

    def __init__(self, namespace: Namespace, window: int = 60) -> None:
        self._namespace = namespace
        self._window = max(window, 1)
        self._counts: Mapping[Flow, Count] = {}
        self._since: int | None = None

    async def collect(self, vpc: VpcSpec, now: int) -> list[FlowObservation]:
        """What passed since the window before, when a new one has begun. ``now`` is in Unix seconds.

        Raises:
            ProcessError: the rules are not there.
        """
        if not vpc.captures:
            self._counts, self._since = {}, None
            return []
        since = now - self._window if self._since is None else self._since
        if self._since is not None and now // self._window == since // self._window:
            return []
        listed = await self._namespace.run("nft", "--json", "--numeric", "list", "sets", "inet")
        seen = parse(listed)
        self._since, before, self._counts = now, self._counts, seen.counts
        return list(observations(vpc, before, seen, since, now))


def parse(listed: bytes) -> Seen:
    """What ``nft --json list sets`` says."""
    counts: dict[Flow, Count] = {}
    flags: dict[_Ends, tuple[tuple[int, int], ...]] = {}
    for entry in msgspec.json.decode(listed)["nftables"]:
        found: dict[str, Any] = entry.get("set", {})
        name = found.get("name", "")
        for element in found.get("elem", ()) if name in _COUNTED or name in _FLAGGED else ():
            values, told = element["elem"]["val"]["concat"], element["elem"]
            if name in _FLAGGED:
                source, destination, *ports = values
                ends = source, destination, ports[0], ports[1]
                flags[ends] = (*flags.get(ends, ()), (_FLAGGED[name], IDLE - told.get("expires", IDLE)))
                continue
            way, kind = _COUNTED[name]
            link, source, destination, *rest = values
            ports, protocol = (rest, _PROTOCOLS[kind]) if kind in _PROTOCOLS else ([0, 0], rest[0])
            flow = Flow(way, str(link), protocol, (source, destination, ports[0], ports[1]))
            counts[flow] = Count(told["counter"]["packets"], told["counter"]["bytes"])
    return Seen(counts, flags)


def observations(
    vpc: VpcSpec, before: Mapping[Flow, Count], seen: Seen, start: int, end: int
) -> Iterator[FlowObservation]:
    """What has been counted since ``before``. A flow whose count went back is one that was forgotten and came again."""
    interfaces = {tap_name(nic.interface_id): nic for nic in vpc.interfaces}
    for flow, count in seen.counts.items():
        old = before.get(flow, Count(0, 0))
        if old.packets > count.packets:
            old = Count(0, 0)
        nic = interfaces.get(flow.link)
        if nic is None or count.packets == old.packets:
            continue
        is_ingress = flow.way in ("received", "unreceived")
        source, destination, source_port, port = flow.ends
        flags = 0
        for value, ago in seen.flags.get(flow.ends, ()) if flow.protocol == _PROTOCOLS["tcp"] else ():
            flags |= value if ago <= end - start else 0
        yield FlowObservation(
            interface_id=nic.interface_id,
            ingress=is_ingress,
            accepted=flow.way in ("sent", "received"),
            source=source if is_ingress else _primary(nic, source),
            destination=_primary(nic, destination) if is_ingress else destination,
            source_port=source_port,
            destination_port=port,
            protocol=flow.protocol,
            packets=count.packets - old.packets,
            bytes=count.bytes - old.bytes,
            start=start,
            end=end,
            flags=flags,
            packet_source=source,
            packet_destination=destination,
        )


def _primary(interface: InterfaceSpec, address: str) -> str:
    """The address that flow logs give for the interface: its primary one, in IPv4."""
    return address if ":" in address else interface.private_address


_COUNTED = {set_name(way, kind, version): (way, kind) for way in WAYS for kind in KINDS for version in FAMILIES}
_FLAGGED = {flag_name(flag, version): value for flag, value in FLAGS.items() for version in FAMILIES}
