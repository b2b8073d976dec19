"""Keeps the host's network as its spec says. One loop: rules, interfaces and listeners change together."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

from msgspec.structs import replace

from pileus.agent.loop import Loop, Signal
from pileus.agent.reports import Board
from pileus.base.clock import Clock
from pileus.drivers.errors import DriverError, PermanentError, RetryableError
from pileus.drivers.network.interface import Network
from pileus.hostapi.network_spec import (
    AclSpec,
    GroupSpec,
    InterfaceSpec,
    NetworkSpec,
    PrefixListSpec,
    RouteTableSpec,
    SubnetSpec,
    VpcSpec,
)

_Part = TypeVar("_Part")


class NetworkService(Protocol):
    """Something that listens inside of networks: the metadata service, the relay to the API."""

    async def leave(self, spec: NetworkSpec) -> None:
        """Stops listening where this network has no place for it."""
        ...

    async def enter(self, spec: NetworkSpec) -> None:
        """Listens wherever this network, which is there, has a place for it. Raises DriverError."""
        ...


class NetworkKeeper:
    """The host's network. ``held`` are the interfaces that guests have: those that are to go, go after that."""

    def __init__(
        self,
        network: Network,
        services: Sequence[NetworkService],
        held: Callable[[], frozenset[str]],
        board: Board,
        clock: Clock,
    ) -> None:
        self._network = network
        self._services = services
        self._held = held
        self._board = board
        self._clock = clock
        self._wanted: tuple[int, NetworkSpec] | None = None
        self._applied: tuple[int, NetworkSpec] | None = None
        self._damaged = self._lost = False
        self._settled = Signal()
        self._loop: Loop | None = None

    def accept(self, revision: int, spec: NetworkSpec) -> None:
        """Takes a new spec."""
        self._wanted = (revision, spec)
        self.wake()

    def wake(self) -> None:
        """Looks again: the spec, or a guest whose interfaces are held, changed."""
        if self._loop is None:
            self._loop = Loop("network", self._pass, self._clock)
        else:
            self._loop.wake()

    async def ready(self, interfaces: frozenset[str]) -> None:
        """Waits until the spec that is the newest now is applied, or a newer one.

        Raises RetryableError when what is applied doesn't list the interfaces.
        """
        while self._wanted is None:
            await self._settled.wait()
        revision, _ = self._wanted
        while self._applied is None or self._applied[0] < revision:
            await self._settled.wait()
        if missing := interfaces - _taps(self._applied[1]):
            raise RetryableError(f"interfaces {', '.join(sorted(missing))} are not in the host's spec")

    async def survey(self) -> None:
        """Looks whether what was applied is still there, and repairs it when something took it away."""
        if self._applied is None:
            return
        _, applied = self._applied
        if not _taps(applied) <= (await self._network.observe()).interfaces:
            self._damaged = self._lost = True
            self.wake()

    async def close(self) -> None:
        """Stops the loop; packets flow on."""
        if self._loop is not None:
            await self._loop.stop()

    async def _pass(self) -> None:
        if self._wanted is None:
            return
        revision, spec = self._wanted
        previous = NetworkSpec() if self._applied is None else self._applied[1]
        target = keep_interfaces(spec, previous, self._held())
        if self._applied is None or self._damaged or target != previous:
            self._damaged = True  # until the change is through
            try:
                await self._change(target)
            except DriverError as error:
                self._board.put_network(revision, ready=False)
                if isinstance(error, PermanentError):  # nothing but another spec helps, but half of a host is worse
                    raise RetryableError(str(error)) from error
                raise
        self._damaged = self._lost = False
        self._applied = (revision, target)
        self._board.put_network(revision, ready=True)
        self._settled.fire()

    async def _change(self, target: NetworkSpec) -> None:
        """Listeners leave a VPC before it goes, since they would keep its namespace, and enter one once it is there.

        What something took away is made anew, and so are they.
        """
        for service in self._services:
            await service.leave(NetworkSpec() if self._lost else target)
        await self._network.apply(target)
        for service in self._services:
            await service.enter(target)


def keep_interfaces(spec: NetworkSpec, previous: NetworkSpec, held: frozenset[str]) -> NetworkSpec:
    """``spec`` and, as they were in ``previous``, the ``held`` interfaces that it no longer has.

    Addresses that were given to another interface meanwhile are that one's; an interface without its primary one goes.
    """
    lost = held & _interface_ids(previous) - _interface_ids(spec)
    if not lost:
        return spec
    vpcs = {vpc.vpc_id: vpc for vpc in spec.vpcs}
    public = frozenset(address.public for vpc in spec.vpcs for one in vpc.interfaces for address in one.addresses)
    for vpc in previous.vpcs:
        present = vpcs.get(vpc.vpc_id)
        if interfaces := tuple(_what_is_left(vpc, present, public, lost)):
            vpcs[vpc.vpc_id] = _with_interfaces(present, vpc, interfaces)
    return replace(spec, vpcs=tuple(vpcs.values()))


def _what_is_left(
    previous: VpcSpec, present: VpcSpec | None, public: frozenset[str | None], lost: frozenset[str]
) -> Iterator[InterfaceSpec]:
    """The lost interfaces of a VPC, without the addresses that others have now."""
    others = () if present is None else present.interfaces
    taken = {address.address for one in others for address in one.addresses} | {ip for one in others for ip in one.ipv6}
    prefixes = {prefix for one in others for prefix in one.prefixes}
    for interface in previous.interfaces:
        if interface.interface_id not in lost or interface.private_address in taken:
            continue
        yield replace(
            interface,
            addresses=tuple(
                replace(each, public=None, public_names=()) if each.public in public else each
                for each in interface.addresses
                if each.address not in taken
            ),
            ipv6=tuple(address for address in interface.ipv6 if address not in taken),
            prefixes=tuple(prefix for prefix in interface.prefixes if prefix not in prefixes),
        )


def _with_interfaces(vpc: VpcSpec | None, previous: VpcSpec, interfaces: tuple[InterfaceSpec, ...]) -> VpcSpec:
    """The VPC with some of its previous interfaces, and with what those name: groups, subnet, route table, ACL."""
    nothing_managed = {"nat_gateways": (), "endpoints": (), "captures": ()}
    base = replace(previous, interfaces=(), groups=(), **nothing_managed) if vpc is None else vpc
    groups = _missing(
        previous.groups, base.groups, _group_id, {group for interface in interfaces for group in interface.groups}
    )
    subnets = _missing(
        previous.subnets, base.subnets, _subnet_id, {interface.subnet for interface in interfaces}
    )  # fmt: skip
    tables = _missing(
        previous.route_tables, base.route_tables, _table_id, {subnet.route_table for subnet in subnets}
    )  # fmt: skip
    lists = {rule.prefix_list or "" for group in groups for rule in (*group.ingress, *group.egress)}
    return replace(
        base,
        interfaces=base.interfaces + interfaces,
        groups=base.groups + groups,
        subnets=base.subnets + subnets,
        route_tables=base.route_tables + tuple(_without_targets(table) for table in tables),
        acls=base.acls + _missing(previous.acls, base.acls, _acl_id, {subnet.acl for subnet in subnets}),
        prefix_lists=base.prefix_lists + _missing(previous.prefix_lists, base.prefix_lists, _list_id, lists),
    )


def _missing(
    previous: Iterable[_Part], present: Iterable[_Part], identify: Callable[[_Part], str], named: Collection[str]
) -> tuple[_Part, ...]:
    """The previous parts that are named and not present."""
    here = {identify(part) for part in present}
    return tuple(part for part in previous if identify(part) in named and identify(part) not in here)


def _without_targets(table: RouteTableSpec) -> RouteTableSpec:
    """What it routed to may be gone."""
    return replace(
        table,
        routes=tuple(replace(route, kind="blackhole", target="") if route.target else route for route in table.routes),
    )


def _group_id(group: GroupSpec) -> str:
    return group.group_id


def _subnet_id(subnet: SubnetSpec) -> str:
    return subnet.subnet_id


def _table_id(table: RouteTableSpec) -> str:
    return table.route_table_id


def _acl_id(acl: AclSpec) -> str:
    return acl.acl_id


def _list_id(prefix_list: PrefixListSpec) -> str:
    return prefix_list.prefix_list_id


def _taps(spec: NetworkSpec) -> frozenset[str]:
    """The interfaces that a guest is to have."""
    return frozenset(
        interface.interface_id for vpc in spec.vpcs for interface in vpc.interfaces if interface.kind == "guest"
    )


def _interface_ids(spec: NetworkSpec) -> frozenset[str]:
    return frozenset(interface.interface_id for vpc in spec.vpcs for interface in vpc.interfaces)
