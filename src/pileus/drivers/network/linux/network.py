"""The driver ``linux``. Everything it makes begins with the cloud's name, so that several clouds share a machine."""

import asyncio
import socket
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pileus.base.config import BgpConfig
from pileus.base.process import ProcessError
from pileus.drivers.errors import PermanentError, RetryableError
from pileus.drivers.network.interface import NetworkState
from pileus.drivers.network.linux import appliance, checks, names, namespace, peering, ruleset
from pileus.drivers.network.linux.appliance import Appliance
from pileus.drivers.network.linux.edge import Edge, Plan
from pileus.drivers.network.linux.uplink import Uplink
from pileus.drivers.network.linux.vpc import Neighbourhood, Vpc
from pileus.hostapi.network_spec import NetworkSpec, PeeringSpec, PoolSpec
from pileus.hostapi.observation import FlowObservation

_OTHERS_MAY_ENTER = 0o001


class LinuxNetwork:
    """Implements ``pileus.drivers.network.interface.Network`` in the network namespace of the process ("the host").

    Args:
        root: a directory for dnsmasq's files. Its user must be able to enter it; /run is the place for it.
        name: of the cloud; two clouds on a machine have different ones, and different pools.
        pools: the public addresses, used where a spec names none. The first two usable addresses of the first are the
            host's and the resolvers'.
        ipv6_pools: likewise.
        uplink: the host's link through which guests with a public address reach what lies beyond the host. None: they
            reach other guests only.
        resolvers: of the host's network; with an uplink, dnsmasq asks them for names that are not the VPC's.
        bgp: whom to tell of pools that are announced with BGP.
    """

    def __init__(
        self,
        root: Path,
        name: str = "pileus",
        pools: tuple[PoolSpec, ...] = (PoolSpec(cidr="203.0.113.0/24"),),
        ipv6_pools: tuple[str, ...] = (),
        uplink: str | None = None,
        resolvers: tuple[str, ...] = (),
        bgp: BgpConfig | None = None,
    ) -> None:
        self._root = root
        self._name = checks.check_cloud(name)
        self._pools, self._ipv6_pools = pools, ipv6_pools
        self._networks = names.pools(pool.cidr for pool in pools)
        self._upstream = resolvers if uplink else ()
        self._edge = Edge(name, pools, ipv6_pools, Uplink(name, uplink, root / "bgp", bgp) if uplink else None)
        self._vpcs: dict[str, Vpc] = {}
        self._appliances: dict[str, Appliance] = {}
        self._spec = NetworkSpec()
        """What was applied last."""
        self._lock = asyncio.Lock()

    async def open(self) -> None:
        """Prepares the host, and finds the VPCs of an earlier process.

        Raises:
            PermanentError: the pool overlaps a route of the host, or dnsmasq could not enter ``root``.
        """
        async with self._lock:
            with _driver_errors():
                self._root.mkdir(parents=True, exist_ok=True, mode=0o755)
                self._check_root()
                await self._edge.open()
                self._find()

    async def close(self) -> None:
        """Lets go; there is nothing that this process holds open."""

    async def apply(self, spec: NetworkSpec) -> None:
        """Makes it so. VPCs first, then the routes to their public addresses, then the VPCs that are no more.

        Raises:
            PermanentError: the spec is malformed or contradicts itself.
            RetryableError: a program failed; what it left is repaired by the next call.
        """
        checks.check(spec, self._networks)
        async with self._lock:
            with _driver_errors():
                for vpc in spec.vpcs:
                    await self._vpc(vpc.vpc_id).create()
                self._spec = spec
                for vpc in spec.vpcs:
                    await self._vpc(vpc.vpc_id).apply(vpc, peering.of(vpc.vpc_id, spec.peerings))
                await self._edge.apply(self._plan(spec))
                await self._remove_others(spec)

    async def observe(self) -> NetworkState:
        """What is there now. Where it is not what was applied, the next ``apply`` repairs it."""
        async with self._lock:
            with _driver_errors():
                routed = await self._edge.observe()
                states = {vpc_id: await vpc.observe() for vpc_id, vpc in self._vpcs.items()}
        empty = frozenset[str]()
        return NetworkState(
            vpcs=frozenset(vpc_id for vpc_id, state in states.items() if state is not None),
            interfaces=empty.union(*(state.interfaces for state in states.values() if state is not None)),
            public_addresses=routed
            & empty.union(*(state.public_addresses for state in states.values() if state is not None)),
        )

    async def open_tap(self, interface_id: str) -> int:
        """A descriptor of the interface's tap; the caller closes it.

        Raises:
            RetryableError: the interface is not there or not a guest's, or its tap is in use.
        """
        with _driver_errors():
            return await self._home(interface_id).open_tap(interface_id)

    async def heard(self, interface_id: str) -> int:
        """How many packets came from behind an interface since its link was made.

        Raises:
            RetryableError: the interface is not there.
        """
        with _driver_errors():
            return await self._home(interface_id).heard(interface_id)

    async def listen(self, place: str, address: str, port: int) -> socket.socket:
        """A listening socket in a VPC (guests reach 169.254.169.254:80 only), at an interface endpoint's address, or at
        that of a service; the peer's address is the true one.

        The socket keeps the namespace alive: close it when the VPC or endpoint goes.

        Raises:
            RetryableError: the place or its address is not there, or somebody listens already.
        """
        with _driver_errors():
            if place == "services":
                return await self._edge.listen(address, port)
            if place in self._vpcs:
                return await self._vpcs[place].listen(address, port)
            for vpc in self._spec.vpcs:
                of_endpoint = {one for entry in vpc.endpoints if entry.endpoint_id == place for one in entry.interfaces}
                for nic in vpc.interfaces:
                    if nic.interface_id in of_endpoint and address in names.owned(nic):
                        return await self._appliance(nic.interface_id).listen(address, port)
        raise RetryableError(f"{place} with {address} is not on this host")

    async def flows(self) -> Sequence[FlowObservation]:
        """What was captured for flow logs in the minute that is over, once."""
        now, found = int(time.time()), list[FlowObservation]()
        async with self._lock:
            with _driver_errors():
                for vpc in self._vpcs.values():
                    found += await vpc.flows(now)
        return found

    async def destroy(self) -> None:
        """Removes every VPC, the edge, and what was made on the host."""
        async with self._lock:
            with _driver_errors():
                self._find()
                await self._remove_others(NetworkSpec())
                await self._edge.destroy()
                if self._root.exists():
                    self._root.rmdir()

    def _plan(self, spec: NetworkSpec) -> Plan:
        return Plan(
            pools=spec.pools or self._pools,
            ipv6_pools=spec.ipv6_pools or self._ipv6_pools,
            services=frozenset(service.address for service in spec.services),
            vpcs=frozenset(vpc.vpc_id for vpc in spec.vpcs),
            public={address: vpc.vpc_id for vpc in spec.vpcs for address in ruleset.public_addresses(vpc)},
            ipv6={cidr: vpc.vpc_id for vpc in spec.vpcs for cidr in vpc.ipv6_cidrs},
        )

    async def _remove_others(self, spec: NetworkSpec) -> None:
        """Removes what is not in the spec."""
        for vpc_id in self._vpcs.keys() - {vpc.vpc_id for vpc in spec.vpcs}:
            await self._vpcs[vpc_id].remove()
            del self._vpcs[vpc_id]
        managed = {nic.interface_id for vpc in spec.vpcs for nic in vpc.interfaces if nic.kind != "guest"}
        for interface_id in self._appliances.keys() - managed:
            await self._appliances[interface_id].remove()
            del self._appliances[interface_id]

    def _find(self) -> None:
        """Takes up the VPCs and appliances whose namespaces or directories exist, whoever made them."""
        prefix = f"{self._name}-"
        found = namespace.names(prefix)
        kept = [path.name for path in self._root.glob("vpc-*")]
        for vpc_id in (*(name.removeprefix(prefix) for name in found if name.startswith(f"{prefix}vpc-")), *kept):
            self._vpc(vpc_id)
        for interface_id in appliance.ids(found, self._name):
            self._appliance(interface_id)

    def _home(self, interface_id: str) -> Vpc:
        for vpc in self._spec.vpcs:
            if any(nic.interface_id == interface_id for nic in vpc.interfaces) and vpc.vpc_id in self._vpcs:
                return self._vpcs[vpc.vpc_id]
        raise RetryableError(f"{interface_id} is not on this host")

    def _vpc(self, vpc_id: str) -> Vpc:
        if vpc_id not in self._vpcs:
            self._vpcs[vpc_id] = Vpc(
                vpc_id,
                name=f"{self._name}-{vpc_id}",
                directory=self._root / vpc_id,
                upstream=self._upstream,
                around=Neighbourhood(
                    to_edge=self._edge.connect, to_peer=self._connect_peers, appliance=self._appliance
                ),
            )
        return self._vpcs[vpc_id]

    def _appliance(self, interface_id: str) -> Appliance:
        if interface_id not in self._appliances:
            self._appliances[interface_id] = Appliance(self._name, interface_id)
        return self._appliances[interface_id]

    async def _connect_peers(self, vpc_id: str, peered: PeeringSpec) -> None:
        """Makes the veth of a peering, as asked by one of its VPCs. The other one has to look again."""
        requester, accepter = self._vpc(peered.requester), self._vpc(peered.accepter)
        await peering.connect(peered, requester.namespace, accepter.namespace)
        (accepter if vpc_id == peered.requester else requester).doubt()

    def _check_root(self) -> None:
        for directory in (self._root, *self._root.resolve().parents):
            if not directory.stat().st_mode & _OTHERS_MAY_ENTER:
                raise PermanentError(f"dnsmasq's user can't enter {directory}; put the network's directory under /run")


@contextmanager
def _driver_errors() -> Generator[None]:
    """What programs and the kernel say, as a driver says it."""
    try:
        yield
    except (ProcessError, OSError) as error:
        raise RetryableError(str(error)) from error
