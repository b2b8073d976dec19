"""A packet's way through the records, from where it stands up to where it arrives or is stopped.

A filter that stops it is written down and the packet goes on, so that all of them are named; where there is no way on,
the walk ends. Addresses are translated as gateways do it. An answer passes the security groups of those that the first
packet has passed, for they remember it, and goes back through the NAT gateways that have sent it.
"""

from collections.abc import Callable

import msgspec
from msgspec.structs import replace

from pileus.records.nat_gateway import NatGateway
from pileus.records.network_interface import NetworkInterface
from pileus.records.paths.filters import owns
from pileus.records.paths.model import Packet, Step
from pileus.records.paths.routes import (
    best_route,
    functions,
    gateway_of,
    interface_at,
    is_of,
    public_of,
    public_owner,
)
from pileus.records.paths.trail import Trail
from pileus.records.peering import Peering
from pileus.records.route_table import Route, RouteTable
from pileus.records.routing import Lookup, route_kind, route_table_of
from pileus.records.subnet import Subnet
from pileus.records.vpc import Vpc
from pileus.records.vpc_endpoint import VpcEndpoint

_LONGEST = 12
"""How many gateways and interfaces a packet passes before it is taken to go in circles."""


class Translation(msgspec.Struct, frozen=True, kw_only=True):
    """What a NAT gateway remembers: the interface, what it has received, what it has sent on."""

    interface: str
    before: Packet
    after: Packet


class Walk(Trail):
    """One packet's way. ``goal`` is the id of a gateway, peering or endpoint at which it would have arrived.

    ``forward`` is the walk that this one answers.

    Attributes:
        steps, reasons: as they come. end: the id of the interface or gateway at which it has arrived, and None when it
            was lost. packet: as it was last.
    """

    def __init__(
        self, view: Lookup, account: str, region: str, *, goal: str | None = None, forward: "Walk | None" = None
    ) -> None:
        super().__init__(view, forward.passed if forward is not None else None)
        self._account = account
        self._region = region
        self._goal = goal
        self._translations: list[Translation] = list(forward.translations) if forward is not None else []
        self._hops = 0
        self.end: str | None = None
        self.packet: Packet | None = None

    @property
    def translations(self) -> tuple[Translation, ...]:
        """What NAT gateways on the way remember, the first one first."""
        return tuple(self._translations)

    def send(self, interface: NetworkInterface, packet: Packet) -> None:
        """The guest behind an interface sends the packet."""
        self._step(interface, inbound=None, outbound=packet)
        self._check_alive(interface, packet)
        if interface.source_dest_check and not owns(interface, packet.source):
            self._stop(
                "ENI_SOURCE_DEST_CHECK_RESTRICTION",
                packet,
                direction="egress",
                parts={"NetworkInterface": interface.id},
                shown={"Addresses": tuple(one.address for one in interface.addresses), "PacketField": "source-address"},
            )
        self._filter(interface, packet, "egress")
        subnet = self._subnet(interface.subnet_id)
        self._depart(subnet, packet)

    def enter(self, packet: Packet, gateway_id: str | None) -> None:
        """The packet comes from the internet to a public address. ``gateway_id``: the gateway that it came by, if known."""
        found = public_owner(self._view, self._account, self._region, packet.destination)
        interface, address = found if found is not None else (None, None)
        gateway = gateway_of(self._view, interface.vpc_id, carrier=address.carrier) if interface and address else None
        known = gateway or gateway_id
        if interface is None or address is None or gateway is None or gateway_id not in {None, gateway}:
            self._stop(
                "IGW_PRIVATE_IP_ASSOCIATION_FOR_INGRESS",
                packet,
                direction="ingress",
                parts={"InternetGateway": known} if known else {},
                shown={"Address": packet.destination},
            )
            return
        self._check_outside(packet, packet.source, gateway, "ingress")
        inward = replace(packet, destination=address.address)
        self._add(Step(component=gateway, inbound=packet, outbound=inward, vpc=interface.vpc_id))
        if not functions(self._view, interface):
            self._stop(
                "IGW_PRIVATE_IP_ASSOCIATION_FOR_INGRESS",
                packet,
                direction="ingress",
                parts={"InternetGateway": gateway, "NetworkInterface": interface.id},
                shown={"Address": packet.destination},
            )
        self._deliver(interface.vpc_id, inward, None)

    def appear(self, vpc_id: str, packet: Packet) -> None:
        """The packet comes into a VPC by a peering or an endpoint."""
        self._deliver(vpc_id, packet, None)

    def _depart(self, subnet: Subnet, packet: Packet) -> None:
        """The packet is in a subnet and looks for its way."""
        self._hops += 1
        table = route_table_of(self._view, subnet)
        parts = {"Vpc": subnet.vpc_id, "Subnet": subnet.id, "RouteTable": table.id}
        if self._hops > _LONGEST:
            self._stop("NO_POSSIBLE_DESTINATION", packet, parts=parts)
            return
        route = best_route(self._view, table, packet.destination)
        if route is None:
            self._stop("NO_ROUTE_TO_DESTINATION", packet, parts=parts, shown={"Address": packet.destination})
            return
        kind = route_kind(self._view, subnet.vpc_id, route.target)
        if kind == "blackhole":
            state = {"State": "blackhole"}
            self._stop("BAD_STATE_ROUTE", packet, parts=parts, route=route, shown=state)
            return
        if kind == "local":
            self._deliver(subnet.vpc_id, packet, subnet, lambda: self._route_step(table, route, subnet))
            return
        ways: dict[str, Callable[[Subnet, RouteTable, Route, Packet], None]] = {
            "interface": self._to_interface,
            "nat": self._to_nat,
            "peering": self._to_peering,
            "endpoint": self._to_endpoint,
            "internet": self._to_internet,
            "carrier": self._to_internet,
        }
        if kind in ways:
            ways[kind](subnet, table, route, packet)
        else:  # an egress-only gateway knows IPv6 only
            self._stop("NO_POSSIBLE_DESTINATION", packet, parts=parts, route=route)

    def _deliver(
        self, vpc_id: str, packet: Packet, origin: Subnet | None, routed: Callable[[], None] = lambda: None
    ) -> None:
        """To whoever in the VPC has the destination address. ``routed`` adds the step of the route table."""
        interface = interface_at(self._view, vpc_id, packet.destination)
        if interface is None:
            self._stop("NO_POSSIBLE_DESTINATION", packet, parts={"Vpc": vpc_id}, shown={"Address": packet.destination})
            return
        self._cross(origin, interface, packet, routed)
        self._arrive(interface, packet)

    def _cross(
        self, origin: Subnet | None, interface: NetworkInterface, packet: Packet, routed: Callable[[], None]
    ) -> None:
        """From a subnet, or from outside of all, to an interface: past the network ACLs at their borders."""
        if origin is not None and origin.id == interface.subnet_id:
            return
        if origin is not None:
            self._pass_acl(origin, packet, "egress")
        routed()
        self._pass_acl(self._subnet(interface.subnet_id), packet, "ingress")

    def _arrive(self, interface: NetworkInterface, packet: Packet) -> None:
        nat = next(iter(self._view.list(NatGateway, interface_id=interface.id)), None)
        if nat is not None and interface.interface_type == "nat_gateway":
            self._undo(nat, interface, packet)
            return
        self._filter(interface, packet, "ingress")
        self._step(interface, inbound=packet, outbound=None)
        self._check_alive(interface, packet)
        self.packet, self.end = packet, interface.id

    def _undo(self, nat: NatGateway, interface: NetworkInterface, packet: Packet) -> None:
        """A packet for a NAT gateway itself goes on only as the answer to one that it has sent."""
        last = self._translations.pop() if self._translations else None
        if last is None or last.interface != interface.id or not _answers(packet, last.after):
            self._stop("NO_POSSIBLE_DESTINATION", packet, parts={"NatGateway": nat.id, "Vpc": nat.vpc_id})
            return
        onward = replace(packet, destination=last.before.source, destination_port=last.before.source_port)
        self._add(_nat_step(nat, packet, onward))
        self._depart(self._subnet(interface.subnet_id), onward)

    def _to_interface(self, subnet: Subnet, table: RouteTable, route: Route, packet: Packet) -> None:
        """By an interface that is a router: it sends on what it receives, by the routes of its own subnet."""
        interface = self._view.get(NetworkInterface, route.target)
        assert interface is not None, "else the route were a black hole"
        self._cross(subnet, interface, packet, lambda: self._route_step(table, route, subnet))
        self._filter(interface, packet, "ingress")
        if owns(interface, packet.destination):
            self._step(interface, inbound=packet, outbound=None)
            self._check_alive(interface, packet)
            self.packet, self.end = packet, interface.id
            return
        self._step(interface, inbound=packet, outbound=packet)
        self._check_alive(interface, packet)
        if interface.source_dest_check:
            self._stop(
                "ENI_SOURCE_DEST_CHECK_RESTRICTION",
                packet,
                direction="ingress",
                parts={"NetworkInterface": interface.id},
                shown={
                    "Addresses": tuple(one.address for one in interface.addresses),
                    "PacketField": "destination-address",
                },
            )
            return
        self._filter(interface, packet, "egress")
        self._depart(self._subnet(interface.subnet_id), packet)

    def _to_nat(self, subnet: Subnet, table: RouteTable, route: Route, packet: Packet) -> None:
        nat = self._view.get(NatGateway, route.target)
        interface = self._view.get(NetworkInterface, nat.interface_id) if nat is not None else None
        assert nat is not None, "else the route were a black hole"
        assert interface is not None, "an available NAT gateway has an interface"
        self._cross(subnet, interface, packet, lambda: self._route_step(table, route, subnet))
        if self._is_answer:
            # It takes the answer for a first packet and sends it from its own address: nobody waits for that.
            self._stop(
                "NGW_SOURCE_ADDRESS_REASSIGN", packet, parts={"NatGateway": nat.id, "Vpc": nat.vpc_id}, route=route
            )
            return
        onward = replace(packet, source=interface.private_address)
        self._add(_nat_step(nat, packet, onward))
        self._translations.append(Translation(interface=interface.id, before=packet, after=onward))
        self._depart(self._subnet(interface.subnet_id), onward)

    def _to_peering(self, subnet: Subnet, table: RouteTable, route: Route, packet: Packet) -> None:
        peering = self._view.get(Peering, route.target)
        assert peering is not None, "else the route were a black hole"
        here, there = peering.vpc_ids if peering.vpc_ids[0] == subnet.vpc_id else reversed(peering.vpc_ids)
        home, other = self._view.get(Vpc, here), self._view.get(Vpc, there)
        self._pass_acl(subnet, packet, "egress")
        self._route_step(table, route, subnet)
        parts = {"VpcPeeringConnection": peering.id, "SourceVpc": here, "DestinationVpc": there}
        if other is not None and not is_of(other, packet.destination):
            cidrs = tuple(cidr for _, cidr in other.cidrs)
            shown = {"Cidrs": cidrs, "PacketField": "destination-address"}
            self._stop("PCX_REQUIRES_ADDRESS_IN_VPC_CIDR", packet, parts=parts, shown=shown)
            return
        if home is not None and not is_of(home, packet.source):
            cidrs = tuple(cidr for _, cidr in home.cidrs)
            shown = {"Cidrs": cidrs, "PacketField": "source-address"}
            self._stop("PCX_REQUIRES_ADDRESS_IN_VPC_CIDR", packet, parts=parts, shown=shown)
            return
        self._add(Step(component=peering.id, inbound=packet, outbound=packet, source_vpc=here, destination_vpc=there))
        if self._goal == peering.id:
            self.packet, self.end = packet, peering.id
        elif other is None or other.account != self._account:
            self._stop("NO_POSSIBLE_DESTINATION", packet, parts=parts)
        else:
            self._deliver(there, packet, None)

    def _to_endpoint(self, subnet: Subnet, table: RouteTable, route: Route, packet: Packet) -> None:
        endpoint = self._view.get(VpcEndpoint, route.target)
        assert endpoint is not None, "else the route were a black hole"
        self._pass_acl(subnet, packet, "egress")
        self._route_step(table, route, subnet)
        if packet.protocol != "tcp":
            self._stop(
                "VPCE_GATEWAY_PROTOCOL_RESTRICTION", packet, parts={"VpcEndpoint": endpoint.id, "Vpc": subnet.vpc_id}
            )
        self._add(Step(component=endpoint.id, inbound=packet, outbound=packet, vpc=subnet.vpc_id))
        self.packet, self.end = packet, endpoint.id

    def _to_internet(self, subnet: Subnet, table: RouteTable, route: Route, packet: Packet) -> None:
        """By an internet gateway or a carrier gateway, which translate the private address to its public one."""
        carrier = route.target.startswith("cagw-")
        self._pass_acl(subnet, packet, "egress")
        self._route_step(table, route, subnet)
        self._check_outside(packet, packet.destination, route.target, "egress")
        sender = interface_at(self._view, subnet.vpc_id, packet.source)
        public = public_of(sender, packet.source, carrier=carrier) if sender is not None else None
        if public is None:
            self._stop(
                "IGW_PUBLIC_IP_ASSOCIATION_FOR_EGRESS",
                packet,
                direction="egress",
                parts={"InternetGateway": route.target, "Vpc": subnet.vpc_id}
                | ({"NetworkInterface": sender.id} if sender is not None else {}),
                shown={"Address": packet.source},
            )
        outward = replace(packet, source=public) if public is not None else packet
        self._add(Step(component=route.target, inbound=packet, outbound=outward, vpc=subnet.vpc_id))
        owner = public_owner(self._view, self._account, self._region, packet.destination)
        if owner is not None and self._goal != route.target and public is not None:
            self.enter(outward, None)
        else:
            self.packet, self.end = outward, route.target


def _nat_step(nat: NatGateway, inbound: Packet, outbound: Packet) -> Step:
    return Step(component=nat.id, inbound=inbound, outbound=outbound, subnet=nat.subnet_id, vpc=nat.vpc_id)


def _answers(packet: Packet, sent: Packet) -> bool:
    return packet == sent.answered()
