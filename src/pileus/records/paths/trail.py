"""What is written down on a packet's way: the components that it passes, and what stops it."""

from collections.abc import Mapping

from pileus.records.network_acl import AclEntry
from pileus.records.network_interface import NetworkInterface
from pileus.records.paths.filters import deciding_entry, groups_of, passing_rule, rules_of
from pileus.records.paths.model import Direction, Packet, Reason, Step, is_private, is_shared
from pileus.records.paths.routes import functions
from pileus.records.route_table import Route, RouteTable
from pileus.records.routing import Lookup, network_acl_of
from pileus.records.subnet import Subnet

Parts = Mapping[str, str | tuple[str, ...]]


class Trail:
    """The filters that a packet passes. ``tracked``: the interfaces whose groups remember what this packet answers.

    Attributes:
        steps, reasons: as they come. passed: the interfaces that it has passed.
    """

    def __init__(self, view: Lookup, tracked: frozenset[str] | None) -> None:
        self._view = view
        self._is_answer = tracked is not None
        self._tracked = tracked or frozenset()
        self._length: int | None = None
        self.steps: list[Step] = []
        self.reasons: list[Reason] = []
        self.passed: frozenset[str] = frozenset()

    @property
    def open_steps(self) -> tuple[Step, ...]:
        """The steps before whatever has stopped the packet first."""
        return tuple(self.steps if self._length is None else self.steps[: self._length])

    def _check_outside(self, packet: Packet, address: str, gateway: str, direction: Direction) -> None:
        """Addresses that nobody on the internet has do not pass its gateways."""
        suffix, field = ("INGRESS", "SOURCE") if direction == "ingress" else ("EGRESS", "DESTINATION")
        family = "RFC1918" if is_private(address) else "RFC6598" if is_shared(address) else None
        if family is not None:
            self._stop(
                f"IGW_{field}_ADDRESS_NOT_IN_{family}_{suffix}",
                packet,
                direction=direction,
                parts={"InternetGateway": gateway},
                shown={"Address": address},
            )

    def _check_alive(self, interface: NetworkInterface, packet: Packet) -> None:
        if functions(self._view, interface):
            return
        if interface.instance_id is not None:
            self._stop("BAD_STATE", packet, parts={"Component": interface.instance_id}, shown={"State": "stopped"})
        else:
            self._stop("BAD_STATE_ATTACHMENT", packet, parts={"NetworkInterface": interface.id})

    def _filter(self, interface: NetworkInterface, packet: Packet, direction: Direction) -> None:
        """Past the interface's security groups."""
        self.passed |= {interface.id}
        if self._tracks(interface):
            return
        found = passing_rule(self._view, interface, packet, direction)
        if found is not None:
            group, rule = found
            self._add(Step(component=group.id, rule=rule, vpc=interface.vpc_id))
            return
        groups = groups_of(self._view, interface)
        bare = not any(rules_of(self._view, groups, direction))
        self._stop(
            "SG_HAS_NO_RULES" if bare else "ENI_SG_RULES_MISMATCH",
            packet,
            direction=direction,
            parts={
                "NetworkInterface": interface.id,
                "SecurityGroups": tuple(group.id for group in groups),
                "Subnet": interface.subnet_id,
                "Vpc": interface.vpc_id,
            }
            | ({"SecurityGroup": groups[0].id} if len(groups) == 1 else {}),
        )

    def _tracks(self, interface: NetworkInterface) -> bool:
        """Whether the interface has seen the packet that this one answers."""
        return self._is_answer and interface.id in self._tracked

    def _pass_acl(self, subnet: Subnet, packet: Packet, direction: Direction) -> None:
        acl = network_acl_of(self._view, subnet.id)
        entry = deciding_entry(acl, packet, direction)
        if entry is not None and entry.action == "allow":
            self._add(Step(component=acl.id, acl_entry=entry, vpc=subnet.vpc_id))
            return
        self._stop(
            "SUBNET_ACL_RESTRICTION",
            packet,
            direction=direction,
            parts={"Acl": acl.id, "Subnet": subnet.id, "Vpc": subnet.vpc_id},
            acl_entry=entry,
        )

    def _route_step(self, table: RouteTable, route: Route, subnet: Subnet) -> None:
        self._add(Step(component=table.id, route=route, vpc=subnet.vpc_id))

    def _step(self, interface: NetworkInterface, *, inbound: Packet | None, outbound: Packet | None) -> None:
        """Past an interface."""
        self._add(
            Step(
                component=interface.id,
                inbound=inbound,
                outbound=outbound,
                attached_to=interface.instance_id,
                subnet=interface.subnet_id,
                vpc=interface.vpc_id,
            )
        )

    def _add(self, step: Step) -> None:
        self.steps.append(step)

    def _stop(
        self,
        code: str,
        packet: Packet,
        *,
        parts: Parts,
        direction: Direction | None = None,
        acl_entry: AclEntry | None = None,
        route: Route | None = None,
        shown: Parts | None = None,
    ) -> None:
        """Writes down what stops the packet here."""
        if self._length is None:
            self._length = len(self.steps)
        reason = Reason(
            code=code,
            packet=packet,
            parts=parts,
            direction=direction,
            answer=self._is_answer,
            acl_entry=acl_entry,
            route=route,
            shown=shown or {},
        )
        if reason not in self.reasons:
            self.reasons.append(reason)

    def _subnet(self, subnet_id: str) -> Subnet:
        subnet = self._view.get(Subnet, subnet_id)
        assert subnet is not None, f"{subnet_id} has interfaces, but is not there"
        return subnet
