"""Keeps the host's network as its spec says. One loop: rules, interfaces and listeners change together."""

from collections.abc import Callable
from typing import Protocol

from msgspec.structs import replace

from pileus.agent.loop import Loop, Signal
from pileus.agent.reports import Board
from pileus.base.clock import Clock
from pileus.drivers.errors import DriverError, PermanentError, RetryableError
from pileus.drivers.network.interface import Network
from pileus.hostapi.network_spec import InterfaceSpec, NetworkSpec, VpcSpec


class VpcService(Protocol):
    """Something that listens inside VPCs: the metadata service."""

    async def listen_in(self, vpcs: frozenset[str]) -> None:
        """Listens in exactly these VPCs."""
        ...


class NetworkKeeper:
    """The host's network. ``held`` are the interfaces of guests that are being stopped: they go last."""

    def __init__(
        self, network: Network, service: VpcService, held: Callable[[], frozenset[str]], board: Board, clock: Clock
    ) -> None:
        self._network = network
        self._service = service
        self._held = held
        self._board = board
        self._clock = clock
        self._wanted: tuple[int, NetworkSpec] | None = None
        self._applied: tuple[int, NetworkSpec] | None = None
        self._damaged = False
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
        """Waits until the newest spec is applied. Raises RetryableError when it doesn't list the interfaces."""
        while self._wanted is None or self._applied is None or self._applied[0] != self._wanted[0]:
            await self._settled.wait()
        if missing := interfaces - _interface_ids(self._applied[1]):
            raise RetryableError(f"interfaces {', '.join(sorted(missing))} are not in the host's spec")

    async def survey(self) -> None:
        """Looks whether what was applied is still there, and repairs it when something took it away."""
        if self._applied is None:
            return
        _, applied = self._applied
        if not _interface_ids(applied) <= (await self._network.observe()).interfaces:
            self._damaged = True
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
                await self._change(previous, target)
            except DriverError as error:
                self._board.put_network(revision, ready=False)
                if isinstance(error, PermanentError):  # nothing but another spec helps, but half of a host is worse
                    raise RetryableError(str(error)) from error
                raise
        self._damaged = False
        self._applied = (revision, target)
        self._board.put_network(revision, ready=True)
        self._settled.fire()

    async def _change(self, previous: NetworkSpec, target: NetworkSpec) -> None:
        """Listeners leave a VPC before it goes, since they would keep its namespace, and enter one once it is there."""
        vpcs = _vpc_ids(target)
        await self._service.listen_in(vpcs & _vpc_ids(previous))
        await self._network.apply(target)
        await self._service.listen_in(vpcs)


def keep_interfaces(spec: NetworkSpec, previous: NetworkSpec, held: frozenset[str]) -> NetworkSpec:
    """``spec`` and, as they were in ``previous``, the ``held`` interfaces that it no longer has."""
    lost = held & _interface_ids(previous) - _interface_ids(spec)
    if not lost:
        return spec
    vpcs = {vpc.vpc_id: vpc for vpc in spec.vpcs}
    for vpc in previous.vpcs:
        if interfaces := tuple(interface for interface in vpc.interfaces if interface.interface_id in lost):
            vpcs[vpc.vpc_id] = _with_interfaces(vpcs.get(vpc.vpc_id), vpc, interfaces)
    return replace(spec, vpcs=tuple(vpcs.values()))


def _with_interfaces(vpc: VpcSpec | None, previous: VpcSpec, interfaces: tuple[InterfaceSpec, ...]) -> VpcSpec:
    """The VPC with some of its previous interfaces, and with the groups that those are in."""
    base = replace(previous, interfaces=(), groups=()) if vpc is None else vpc
    groups = {
        group.group_id for interface in interfaces for group in previous.groups if group.group_id in interface.groups
    }
    groups -= {group.group_id for group in base.groups}
    return replace(
        base,
        interfaces=base.interfaces + interfaces,
        groups=base.groups + tuple(group for group in previous.groups if group.group_id in groups),
    )


def _interface_ids(spec: NetworkSpec) -> frozenset[str]:
    return frozenset(interface.interface_id for vpc in spec.vpcs for interface in vpc.interfaces)


def _vpc_ids(spec: NetworkSpec) -> frozenset[str]:
    return frozenset(vpc.vpc_id for vpc in spec.vpcs)
