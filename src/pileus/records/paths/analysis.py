"""An answer to a question: of all packets that it could mean, one that gets there and back, or the one that gets farthest."""

from collections.abc import Iterator, Sequence
from itertools import islice, product

import msgspec

from pileus.records.network_interface import NetworkInterface
from pileus.records.paths.candidates import SOME_PORT, SOURCE_PORT, edges, outside, within
from pileus.records.paths.ends import End, addresses_of, destination_of, end_of
from pileus.records.paths.filters import is_in
from pileus.records.paths.model import Answer, Packet, Question, Reason
from pileus.records.paths.routes import destinations
from pileus.records.paths.walk import Walk
from pileus.records.peering import Peering
from pileus.records.prefix_list import PrefixList
from pileus.records.route_table import RouteTable
from pileus.records.routing import Lookup, route_table_of
from pileus.records.subnet import Subnet
from pileus.records.vpc import Vpc

_MOST_TRIALS = 600
FILTERS = frozenset({"ENI_SG_RULES_MISMATCH", "SG_HAS_NO_RULES", "SUBNET_ACL_RESTRICTION"})
"""The codes of what rules stop, and rules can let pass."""


class Cloud(msgspec.Struct, frozen=True, kw_only=True):
    """What is around the VPCs: the region, its public addresses (CIDRs), and those at which its own services answer."""

    region: str
    pools: tuple[str, ...] = ()
    services: tuple[str, ...] = ()


def analyse(view: Lookup, cloud: Cloud, question: Question) -> Answer:
    """Looks for a way that a packet and its answer can take.

    Raises:
        UnknownEnd: the source or the destination is not there.
    """
    source, destination = end_of(view, question.source), destination_of(view, question)
    best: Answer | None = None
    for sender, packet in islice(_trials(view, question, source, destination), _MOST_TRIALS):
        answer = _Trial(view, cloud, question, destination).run(source, sender, packet)
        if answer.reachable:
            return answer
        if best is None or _length(answer) > _length(best):
            best = answer
    assert best is not None, "there is always a packet to try"
    return best


def _length(answer: Answer) -> int:
    return len(answer.forward) + len(answer.back)


def _trials(
    view: Lookup, question: Question, source: End, destination: End
) -> Iterator[tuple[NetworkInterface | None, Packet]]:
    """The packets that the question could mean, each with the interface that sends it."""
    near = (*source.interfaces, *destination.interfaces)
    addresses, ports = edges(view, near)
    asked = question.at_source
    received = question.at_destination
    for sender in source.interfaces or (None,):
        if sender is not None:
            own: Sequence[str] = (sender.private_address,)
        else:
            own = (received.source,) if received.source else _addresses(view, source, addresses)
        if destination.interfaces:
            there: Sequence[str] = addresses_of(destination.interfaces, public_first=source.kind == "internet")
        else:
            there = (received.destination,) if received.destination else _addresses(view, destination, addresses)
        for sending, receiving, port in product(
            (asked.source,) if asked.source else own,
            (asked.destination,) if asked.destination else there,
            _ports(question, ports),
        ):
            yield (
                sender,
                Packet(
                    source=sending,
                    destination=receiving,
                    protocol=question.protocol,
                    source_port=_source_port(question),
                    destination_port=port,
                ),
            )


def _addresses(view: Lookup, end: End, known: Sequence[str]) -> Sequence[str]:
    """The addresses that somebody behind a gateway could have."""
    if end.kind == "peering" and end.gateway is not None:
        peering = view.get(Peering, end.gateway)
        vpcs = [view.get(Vpc, name) for name in (peering.vpc_ids if peering is not None else ())]
        return tuple(within(known, [cidr for vpc in vpcs if vpc is not None for _, cidr in vpc.cidrs]))
    if end.kind == "endpoint":
        return tuple(within(known, _service_cidrs(view, end)))
    return tuple(outside(known))


def _service_cidrs(view: Lookup, end: End) -> Iterator[str]:
    """What the routes to a gateway endpoint are for."""
    for table in view.list(RouteTable, targets=end.gateway or ""):
        for route in table.routes:
            if route.target == end.gateway:
                yield from destinations(view, route)
    for prefix_list in view.list(PrefixList, account="AWS"):
        yield from prefix_list.cidrs


def _ports(question: Question, known: Sequence[int]) -> Sequence[int]:
    bounds = question.at_source.destination_ports or question.at_destination.destination_ports
    if bounds is None:
        return tuple(dict.fromkeys((SOME_PORT, *known)))
    low, high = bounds
    return tuple(dict.fromkeys((low, *(port for port in known if low <= port <= high), high)))


def _source_port(question: Question) -> int:
    bounds = question.at_source.source_ports or question.at_destination.source_ports or (0, 65535)
    return SOURCE_PORT if bounds[0] <= SOURCE_PORT <= bounds[1] else bounds[0]


class _Trial:
    """One packet there, and its answer back."""

    def __init__(self, view: Lookup, cloud: Cloud, question: Question, destination: End) -> None:
        self._view = view
        self._cloud = cloud
        self._question = question
        self._destination = destination

    def run(self, source: End, sender: NetworkInterface | None, packet: Packet) -> Answer:
        """What becomes of the packet that ``sender`` sends, or that comes by the source's gateway."""
        there = self._walk()
        if sender is not None:
            there.send(sender, packet)
        elif source.kind == "internet":
            there.enter(packet, source.gateway)
        else:
            there.appear(self._far_vpc(source), packet)
        reasons = [*there.reasons, *self._misses(there, sender, packet)]
        back = self._walk(there)
        # An answer to what only filters stop is looked at too, so that all of them are named.
        if there.end is not None and there.packet is not None and all(one.code in FILTERS for one in reasons):
            self._go_back(there.end, there.packet.answered(), sender, back)
            reasons += back.reasons
            if not back.reasons and not self._came_home(back, source, sender, packet):
                reasons.append(_lost(back, packet.answered()))
        reasons += self._restrictions(there, back, packet, any_yet=bool(reasons))
        return Answer(
            asked=packet,
            forward=there.open_steps,
            back=back.open_steps if not there.reasons else (),
            reasons=tuple(reasons),
        )

    def _walk(self, forward: Walk | None = None) -> Walk:
        return Walk(
            self._view,
            self._question.account,
            self._cloud.region,
            goal=self._destination.gateway if forward is None else self._question.source,
            forward=forward,
        )

    def _far_vpc(self, source: End) -> str:
        """The VPC that a packet from a peering or endpoint comes into: the destination's."""
        if self._destination.vpc_id is not None:
            return self._destination.vpc_id
        if source.vpc_id is not None:
            return source.vpc_id
        peering = self._view.get(Peering, source.gateway or "")
        assert peering is not None, "else there were no such end"
        for vpc_id in peering.vpc_ids:
            vpc = self._view.get(Vpc, vpc_id)
            address = self._question.at_source.destination
            if vpc is not None and address and any(is_in(address, cidr) for _, cidr in vpc.cidrs):
                return vpc_id
        return peering.vpc_ids[1]

    def _go_back(self, end: str, answer: Packet, sender: NetworkInterface | None, back: Walk) -> None:
        receiver = self._view.get(NetworkInterface, end) if end.startswith("eni-") else None
        if receiver is not None:
            back.send(receiver, answer)
        elif end.startswith(("igw-", "cagw-")):
            back.enter(answer, None)
        elif sender is not None:
            back.appear(sender.vpc_id, answer)

    def _misses(self, there: Walk, sender: NetworkInterface | None, packet: Packet) -> Iterator[Reason]:
        """Why the packet, though nothing has lost it, is not where it should be."""
        if there.end is None:
            return
        target = self._destination
        interfaces = {interface.id for interface in target.interfaces}
        if target.kind == "address":
            unowned = any(is_in(packet.destination, cidr) for cidr in self._cloud.pools)
            if there.end.startswith(("igw-", "cagw-")) and unowned and packet.destination not in self._cloud.services:
                shown = {"Address": packet.destination}
                yield Reason(
                    code="NO_POSSIBLE_DESTINATION", packet=packet, parts={"InternetGateway": there.end}, shown=shown
                )
        elif interfaces and there.end not in interfaces:
            yield Reason(code="NO_POSSIBLE_DESTINATION", packet=packet, parts={"Component": there.end})
        elif target.gateway is not None and there.end != target.gateway:
            yield self._no_way_to(target.gateway, sender, packet)

    def _no_way_to(self, gateway: str, sender: NetworkInterface | None, packet: Packet) -> Reason:
        """Why the sender's routes do not lead to a gateway."""
        subnet = self._view.get(Subnet, sender.subnet_id) if sender is not None else None
        if subnet is None:
            return Reason(code="NO_POSSIBLE_DESTINATION", packet=packet, parts={"Component": gateway})
        table = route_table_of(self._view, subnet)
        parts = {"Vpc": subnet.vpc_id, "Subnet": subnet.id, "RouteTable": table.id}
        for route in table.routes:
            if route.target == gateway:
                matches = any(is_in(packet.destination, cidr) for cidr in destinations(self._view, route))
                code = "MORE_SPECIFIC_ROUTE" if matches else "CANNOT_ROUTE"
                return Reason(code=code, packet=packet, parts=parts, route=route)
        return Reason(code="NO_ROUTE_TO_DESTINATION", packet=packet, parts=parts, shown={"Address": packet.destination})

    def _came_home(self, back: Walk, source: End, sender: NetworkInterface | None, packet: Packet) -> bool:
        if back.packet != packet.answered() or back.end is None:
            return False
        if sender is not None:
            return back.end == sender.id
        return back.end == source.gateway

    def _restrictions(self, there: Walk, back: Walk, packet: Packet, *, any_yet: bool) -> Iterator[Reason]:
        """The filters of the question that the way does not keep to."""
        passed = {name for step in (*there.steps, *back.steps) for name in (step.component, step.attached_to)}
        missed = tuple(name for name in self._question.through if name not in passed)
        barred = tuple(name for name in self._question.around if name in passed)
        kept = there.packet is None or self._question.at_destination.holds(there.packet)
        if missed or barred or (not kept and not any_yet):
            parts = {"Component": (*missed, *barred)[0]} if missed or barred else {}
            yield Reason(code="COMPONENT_FILTER_RESTRICTION", packet=packet, parts=parts)


def _lost(back: Walk, answer: Packet) -> Reason:
    """The answer has come to somebody else, or under another name."""
    end = {"Component": back.end} if back.end is not None else {}
    return Reason(code="NO_POSSIBLE_DESTINATION", packet=answer, parts=end, answer=True)
