"""Lines of flow logs: what a flow of an interface is in the words of EC2. Used by ``flow_logs``.

Source: https://docs.aws.amazon.com/vpc/latest/userguide/flow-log-records.html.
"""

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Literal

import msgspec

from pileus.base.config import Config, api_address, s3_address
from pileus.hostapi.observation import FlowObservation
from pileus.records import NetworkInterface, PrefixList, Subnet, Vpc
from pileus.records.flow_log import version_of
from pileus.records.routing import Lookup, route_kind, route_table_of, routes_of

_ABSENT = "-"
_TCP = 6
_FIN, _SYN, _RST, _ACK = 1, 2, 4, 16
# Ways of outgoing traffic that the documentation numbers; those by "instances built on the Nitro System" have their own.
_BY_KIND = {
    "local": "1",
    "nat": "1",
    "interface": "1",
    "peering": "4",
    "endpoint": "7",
    "internet": "8",
    "egress-only": "8",
    "carrier": "8",
}


class Flow(msgspec.Struct):
    """The packets of one flow in one aggregation interval, as far as they are told. Times are Unix seconds."""

    seen: FlowObservation
    packets: int
    bytes: int
    start: int
    end: int
    flags: int

    @classmethod
    def of(cls, seen: FlowObservation) -> "Flow":
        """The first of it."""
        return cls(seen, seen.packets, seen.bytes, seen.start, seen.end, seen.flags)

    def add(self, more: FlowObservation) -> None:
        """More packets of the same flow."""
        self.packets += more.packets
        self.bytes += more.bytes
        self.start = min(self.start, more.start)
        self.end = max(self.end, more.end)
        self.flags |= more.flags


def flow_key(seen: FlowObservation) -> tuple[object, ...]:
    """What is the same for all packets of a flow."""
    return (
        seen.ingress,
        seen.accepted,
        seen.source,
        seen.destination,
        seen.source_port,
        seen.destination_port,
        seen.protocol,
        seen.packet_source,
        seen.packet_destination,
    )


class Scribe:
    """Writes the lines of a flow log with some fields about one interface."""

    def __init__(self, view: Lookup, config: Config, interface: NetworkInterface, fields: Sequence[str]) -> None:
        self._fields = fields
        self._view = view
        self._subnet = view.get(Subnet, interface.subnet_id)
        self._constant = {"version": str(version_of(fields)), **_of_interface(config, interface, self._subnet)}
        region = config.region(interface.region)
        self._known = {s3_address(region): "S3", api_address(region): "AMAZON"}
        self._pools = [ip_network(pool) for pool in region.public_pool]
        self._own = frozenset(interface.private_addresses)
        self._prefixes = [ip_network(cidr) for cidr in (*interface.ipv4_prefixes, *interface.ipv6_prefixes)]
        self._primary = {4: interface.private_address, 6: next(iter(interface.ipv6_addresses), "")}
        self._routes: Sequence[tuple[_Network, str]] | None = None

    def flow(self, flow: Flow) -> str:
        """The line of a flow."""
        seen = flow.seen
        source, destination = self._ends(seen)
        values = {
            **self._constant,
            "srcaddr": source,
            "dstaddr": destination,
            "srcport": str(seen.source_port),
            "dstport": str(seen.destination_port),
            "protocol": str(seen.protocol),
            "packets": str(flow.packets),
            "bytes": str(flow.bytes),
            "start": str(flow.start),
            "end": str(flow.end),
            "action": "ACCEPT" if seen.accepted else "REJECT",
            "log-status": "OK",
            "tcp-flags": str(_flags(flow)),
            "type": "IPv6" if ":" in seen.source else "IPv4",
            "pkt-srcaddr": seen.packet_source or seen.source,
            "pkt-dstaddr": seen.packet_destination or seen.destination,
            "flow-direction": "ingress" if seen.ingress else "egress",
        }
        if "pkt-src-aws-service" in self._fields:
            values["pkt-src-aws-service"] = self._service(values["pkt-srcaddr"])
        if "pkt-dst-aws-service" in self._fields:
            values["pkt-dst-aws-service"] = self._service(values["pkt-dstaddr"])
        if "traffic-path" in self._fields and not seen.ingress:
            values["traffic-path"] = self._path(values["pkt-dstaddr"])
        return self._line(values)

    def status(self, status: Literal["NODATA", "SKIPDATA"], start: int, end: int) -> str:
        """The line of an interval in which nothing was seen, or not all that was could be kept."""
        return self._line({**self._constant, "start": str(start), "end": str(end), "log-status": status})

    def _ends(self, seen: FlowObservation) -> tuple[str, str]:
        """Source and destination as records show them.

        At the interface's own end its primary address stands for every address that is not its own, and where traffic
        comes in for its other IPv4 addresses, too: see "Flow log limitations" in the VPC user guide.
        """
        if not seen.ingress:
            return (seen.source if self._is_own(seen.source) else self._instead_of(seen.source)), seen.destination
        if ":" in seen.destination and self._is_own(seen.destination):
            return seen.source, seen.destination
        return seen.source, self._instead_of(seen.destination)

    def _is_own(self, address: str) -> bool:
        return address in self._own or any(ip_address(address) in prefix for prefix in self._prefixes)

    def _instead_of(self, address: str) -> str:
        return self._primary[6 if ":" in address else 4] or address

    def _line(self, values: Mapping[str, str]) -> str:
        return " ".join(values.get(name) or _ABSENT for name in self._fields)

    def _service(self, address: str) -> str:
        if address in self._known:
            return self._known[address]
        public = ":" not in address and any(ip_address(address) in pool for pool in self._pools)
        return "EC2" if public else _ABSENT

    def _path(self, address: str) -> str:
        """The number of the way that traffic to an address takes, by the most specific route as it is now."""
        if self._routes is None:
            self._routes = self._ways()
        wanted = ip_address(address)
        for network, kind in self._routes:
            if wanted.version == network.version and wanted in network:
                return _BY_KIND.get(kind, _ABSENT)
        return _ABSENT

    def _ways(self) -> Sequence[tuple["_Network", str]]:
        if self._subnet is None or self._view.get(Vpc, self._subnet.vpc_id) is None:
            return ()
        found: list[tuple[_Network, str]] = []
        for route in routes_of(self._view, route_table_of(self._view, self._subnet)):
            kind = route_kind(self._view, self._subnet.vpc_id, route.target)
            found.extend((ip_network(cidr), kind) for cidr in self._destinations(route.destination))
        return sorted(found, key=lambda way: -way[0].prefixlen)

    def _destinations(self, destination: str) -> Sequence[str]:
        if not destination.startswith("pl-"):
            return (destination,)
        prefix_list = self._view.get(PrefixList, destination)
        return prefix_list.cidrs if prefix_list is not None else ()


_Network = IPv4Network | IPv6Network


def _of_interface(config: Config, interface: NetworkInterface, subnet: Subnet | None) -> dict[str, str]:
    """The fields that are the same for everything that an interface does."""
    region = config.region(interface.region)
    edge = "localzone" if interface.zone in region.local_zones else ""
    edge = "wavelength" if interface.zone in region.wavelength_zones else edge
    zone_id = subnet.zone_id if subnet is not None else ""
    return {
        "account-id": interface.account,
        "interface-id": interface.id,
        "vpc-id": interface.vpc_id,
        "subnet-id": interface.subnet_id,
        "instance-id": interface.instance_id or "",
        "region": interface.region,
        "az-id": "" if edge else zone_id,
        "sublocation-type": edge,
        "sublocation-id": zone_id if edge else "",
    }


def _flags(flow: Flow) -> int:
    """The flags that are reported: SYN, FIN and RST, and ACK together with SYN."""
    if flow.seen.protocol != _TCP:
        return 0
    flags = flow.flags & (_FIN | _SYN | _RST)
    return flags | (flow.flags & _ACK) if flags & _SYN else flags
