"""Who reaches whom in a network spec, as pure functions: the model that drivers are tested against.

It follows one packet, and the answer to it, from interface to interface as EC2's user guide describes each step: source
check, security groups (stateful, per interface), route table, network ACLs (stateless, at the subnet's border), gateways.
Written from the documentation, not from any driver. What is beyond the cloud answers everything.
"""

from ipaddress import ip_address, ip_network
from typing import NamedTuple

from pileus.drivers.network import matching
from pileus.drivers.network.matching import Packet
from pileus.hostapi.network_spec import InterfaceSpec, NetworkSpec, RouteSpec, SubnetSpec, VpcSpec

_HOPS = 16
_ICMP_ANSWERS = {8: 0, 0: 8, 13: 14, 14: 13, 128: 129, 129: 128}
_SOURCE_PORT = 50000
_NOWHERE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "127.0.0.0/8", "fc00::/7", "fe80::/10")
"""Addresses that nobody has beyond the cloud (RFC 1918, 3927, 4193, 4291)."""


class Place(NamedTuple):
    """An interface, and the VPC that it is in."""

    vpc: VpcSpec
    interface: InterfaceSpec

    @property
    def subnet(self) -> SubnetSpec:
        """The interface's subnet."""
        return next(subnet for subnet in self.vpc.subnets if subnet.subnet_id == self.interface.subnet)


class Arrival(NamedTuple):
    """Where a packet came to its end: at an interface, or outside of the cloud (None). ``packet`` as it arrived."""

    place: Place | None
    packet: Packet


def allows(
    spec: NetworkSpec, source: str, destination: str, protocol: str, port: int = -1, *, source_address: str = ""
) -> bool:
    """Whether a connection works: its first packet arrives, and the answer comes back.

    An interface without source_dest_check is taken for a router, which sends on what is not for itself.

    Args:
        source: an interface id, or the address of somebody outside of the cloud.
        destination: the address that the packet is sent to, public or private.
        protocol: ``tcp``, ``udp``, ``icmp``, ``icmpv6`` or a number. port: the destination port, or the ICMP type.
        source_address: the interface's address that is sent from; its first one of the family if not given.
    """
    return _Journey(spec).connects(source, destination, protocol, port, source_address)


def public_addresses(vpc: VpcSpec) -> dict[str, str]:
    """Public → private address, of the interfaces of a VPC that has a gateway to translate by."""
    if not (vpc.internet or vpc.carrier):
        return {}
    return {one.public: one.address for nic in vpc.interfaces for one in nic.addresses if one.public is not None}


def owns(interface: InterfaceSpec, address: str) -> bool:
    """Whether the address is the interface's, by itself or in a delegated prefix."""
    if address in interface.ipv6 or any(one.address == address for one in interface.addresses):
        return True
    return any(_within(address, prefix) for prefix in interface.prefixes)


class _Journey:
    """One connection on its way: what interfaces have let pass, NAT gateways translated, and what left by a gateway."""

    def __init__(self, spec: NetworkSpec) -> None:
        self._spec = spec
        self._tracked: set[tuple[str, str, Packet]] = set()
        self._translated: dict[tuple[str, Packet], str] = {}
        self._left: set[tuple[str, Packet]] = set()
        self._hops = 0

    def connects(self, source: str, destination: str, protocol: str, port: int, source_address: str) -> bool:
        number = matching.protocol_number(protocol)
        sender = next((place for place in self._places() if place.interface.interface_id == source), None)
        own = source if sender is None else source_address or _first_address(sender.interface, destination)
        if not own:
            return False
        packet = Packet(own, destination, number, _SOURCE_PORT, port)
        arrival = self._send(sender, packet, is_answer=False) if sender else self._enter(packet, is_answer=False)
        return arrival is not None and self._answers(arrival, sender, _answer(packet))

    def _answers(self, arrival: Arrival, sender: Place | None, expected: Packet) -> bool:
        """Whether the answer comes back to the sender, and as one to what it asked."""
        self._hops = 0
        answer, place = _answer(arrival.packet), arrival.place
        back = self._send(place, answer, is_answer=True) if place else self._enter(answer, is_answer=True)
        if back is None or back.packet != expected:
            return False
        return (back.place and back.place.interface) == (sender and sender.interface)

    def _send(self, sender: Place, packet: Packet, *, is_answer: bool) -> Arrival | None:
        """From an interface, by the routes of its subnet."""
        self._hops += 1
        nic = sender.interface
        if self._hops > _HOPS or (nic.kind != "nat" and nic.source_dest_check and not owns(nic, packet.source)):
            return None
        if not self._passes_groups(sender, packet, "egress"):
            return None
        route = _route(sender, packet.destination)
        if route is None:
            return None
        receiver = self._next_interface(sender, packet, route)
        if receiver is None:
            return self._leave(sender, packet, route, is_answer=is_answer)
        if receiver.subnet != sender.subnet or receiver.vpc != sender.vpc:
            if not matching.passes_acl(sender.vpc, sender.subnet, packet, "egress"):
                return None
            if not matching.passes_acl(receiver.vpc, receiver.subnet, packet, "ingress"):
                return None
        return self._receive(receiver, packet, is_answer=is_answer)

    def _next_interface(self, sender: Place, packet: Packet, route: RouteSpec) -> Place | None:
        """The interface that the route leads to, when it stays inside of the cloud's private addresses."""
        vpc = sender.vpc
        if route.kind == "local":
            return _owner(vpc, packet.destination)
        if route.kind == "interface":
            return next((Place(vpc, nic) for nic in vpc.interfaces if nic.interface_id == route.target), None)
        if route.kind == "nat":
            gateway = next((nat for nat in vpc.nat_gateways if nat.nat_gateway_id == route.target), None)
            nics = (nic for nic in vpc.interfaces if gateway is not None and nic.interface_id == gateway.interface_id)
            return next((Place(vpc, nic) for nic in nics), None)
        if route.kind == "peering":
            return self._across(sender, packet, route.target)
        return None

    def _across(self, sender: Place, packet: Packet, peering_id: str) -> Place | None:
        """Into the peer VPC: only what is from this VPC's own addresses, and for an interface of the other."""
        if not any(_within(packet.source, cidr) for cidr in (*sender.vpc.cidrs, *sender.vpc.ipv6_cidrs)):
            return None
        for peering in self._spec.peerings:
            ends = {peering.requester, peering.accepter}
            if peering.peering_id == peering_id and sender.vpc.vpc_id in ends:
                (other,) = ends - {sender.vpc.vpc_id}
                place = next((_owner(vpc, packet.destination) for vpc in self._spec.vpcs if vpc.vpc_id == other), None)
                return None if place is None or place.interface.kind == "nat" else place
        return None

    def _leave(self, sender: Place, packet: Packet, route: RouteSpec, *, is_answer: bool) -> Arrival | None:
        """Out of the VPC by a gateway: by the public address, or as IPv6 has it."""
        if route.kind not in ("internet", "egress-only", "carrier", "endpoint"):
            return None
        if not matching.passes_acl(sender.vpc, sender.subnet, packet, "egress"):
            return None
        if route.kind == "endpoint":
            at_s3 = any(one.service == "s3" and one.address == packet.destination for one in self._spec.services)
            return Arrival(None, packet._replace(back=sender.vpc.vpc_id)) if at_s3 else None
        if ":" not in packet.destination:
            outward = {private: public for public, private in public_addresses(sender.vpc).items()}
            if route.kind == "egress-only" or packet.source not in outward:
                return None
            packet = packet._replace(source=outward[packet.source])
        self._left.add((sender.vpc.vpc_id, packet))
        return self._enter(packet, is_answer=is_answer) or self._outside(packet)

    def _outside(self, packet: Packet) -> Arrival | None:
        """Beyond the cloud, unless the address is private, or one of the cloud's own that nobody answers at."""
        own = (*(pool.cidr for pool in self._spec.pools), *self._spec.ipv6_pools, *_NOWHERE)
        services = {service.address for service in self._spec.services}
        is_own = packet.destination not in services and any(_within(packet.destination, cidr) for cidr in own)
        return None if is_own else Arrival(None, packet)

    def _enter(self, packet: Packet, *, is_answer: bool) -> Arrival | None:
        """From a gateway to the interface that has the (public) address; an answer only to what had left by it."""
        for vpc in self._spec.vpcs:
            inside, receiver = self._addressed(vpc, packet)
            if receiver is None:
                continue
            if is_answer and not packet.back and (vpc.vpc_id, _answer(packet)) not in self._left:
                return None
            if ":" in packet.destination and not is_answer and not _is_open_to_internet(receiver):
                return None
            if not matching.passes_acl(vpc, receiver.subnet, inside, "ingress"):
                return None
            return self._receive(receiver, inside, is_answer=is_answer)
        return Arrival(None, packet) if is_answer else None

    def _addressed(self, vpc: VpcSpec, packet: Packet) -> tuple[Packet, Place | None]:
        if packet.back:
            inside = packet._replace(back="")
            return inside, _owner(vpc, packet.destination) if packet.back == vpc.vpc_id else None
        if ":" in packet.destination:
            return packet, _owner(vpc, packet.destination)
        private = public_addresses(vpc).get(packet.destination)
        inside = packet._replace(destination=private or packet.destination)
        return inside, None if private is None else _owner(vpc, private)

    def _receive(self, receiver: Place, packet: Packet, *, is_answer: bool) -> Arrival | None:
        """At an interface: its end, or on its way through a NAT gateway or a router."""
        nic = receiver.interface
        if nic.kind == "nat":
            return self._translate(receiver, packet, is_answer=is_answer)
        if nic.source_dest_check and not owns(nic, packet.destination):
            return None
        if not self._passes_groups(receiver, packet, "ingress"):
            return None
        if owns(nic, packet.destination):
            return Arrival(receiver, packet)
        return self._send(receiver, packet, is_answer=is_answer)

    def _translate(self, gateway: Place, packet: Packet, *, is_answer: bool) -> Arrival | None:
        """By a NAT gateway: out as itself, and answers back to whoever asked. Nobody connects to it."""
        nic = gateway.interface
        if owns(nic, packet.destination):
            asker = self._translated.get((nic.interface_id, packet))
            if asker is None:
                return None
            return self._send(gateway, packet._replace(destination=asker), is_answer=is_answer)
        if ":" in packet.destination:
            return None
        outside = packet._replace(source=nic.private_address)
        self._translated[nic.interface_id, _answer(outside)] = packet.source
        return self._send(gateway, outside, is_answer=is_answer)

    def _passes_groups(self, place: Place, packet: Packet, direction: str) -> bool:
        """By its rules, or as the answer to what passed in the other direction."""
        nic = place.interface
        if nic.kind == "nat":
            return True
        other = "egress" if direction == "ingress" else "ingress"
        if (nic.interface_id, other, _answer(packet)) in self._tracked:
            return True
        if not matching.passes_groups(place.vpc, nic, packet, direction):
            return False
        self._tracked.add((nic.interface_id, direction, packet))
        return True

    def _places(self) -> list[Place]:
        return [Place(vpc, nic) for vpc in self._spec.vpcs for nic in vpc.interfaces]


def _route(place: Place, destination: str) -> RouteSpec | None:
    """The most specific one of the interface's subnet."""
    tables = (table for table in place.vpc.route_tables if table.route_table_id == place.subnet.route_table)
    routes = [route for table in tables for route in table.routes if _within(destination, route.destination)]
    return max(routes, key=lambda route: ip_network(route.destination).prefixlen, default=None)


def _is_open_to_internet(place: Place) -> bool:
    """Whether connections over IPv6 may begin at the internet's side."""
    tables = (table for table in place.vpc.route_tables if table.route_table_id == place.subnet.route_table)
    routes = (route for table in tables for route in table.routes)
    return place.vpc.internet and any(route.kind == "internet" and ":" in route.destination for route in routes)


def _owner(vpc: VpcSpec, address: str) -> Place | None:
    return next((Place(vpc, nic) for nic in vpc.interfaces if owns(nic, address)), None)


def _first_address(interface: InterfaceSpec, destination: str) -> str:
    """Its first address of the destination's family; "" when there is none."""
    if ":" not in destination:
        return interface.private_address
    return next(iter(interface.ipv6), "")


def _answer(packet: Packet) -> Packet:
    if packet.protocol in (matching.ICMP, matching.ICMPV6):
        return packet._replace(
            source=packet.destination, destination=packet.source, port=_ICMP_ANSWERS.get(packet.port, packet.port)
        )
    return packet._replace(
        source=packet.destination, destination=packet.source, source_port=packet.port, port=packet.source_port
    )


def _within(address: str, cidr: str) -> bool:
    network = ip_network(cidr)
    return ip_address(address).version == network.version and ip_address(address) in network
