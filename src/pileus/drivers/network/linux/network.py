"""The driver ``linux``. Everything it makes begins with the cloud's name, so that several clouds share a machine."""

import asyncio
import socket
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from pileus.base.process import ProcessError
from pileus.drivers.errors import PermanentError, RetryableError
from pileus.drivers.network.interface import NetworkState
from pileus.drivers.network.linux import names, namespace, ruleset
from pileus.drivers.network.linux.edge import Edge
from pileus.drivers.network.linux.uplink import Uplink
from pileus.drivers.network.linux.vpc import Vpc
from pileus.hostapi.network_spec import NetworkSpec

_OTHERS_MAY_ENTER = 0o001


class LinuxNetwork:
    """Implements ``pileus.drivers.network.interface.Network`` in the network namespace of the process ("the host").

    Args:
        root: a directory for dnsmasq's files. Its user must be able to enter it; /run is the place for it.
        name: of the cloud; two clouds on a machine have different ones, and different pools.
        pool: the public addresses as CIDRs, used where a spec names none. The first two usable addresses of the
            first are the host's and the resolvers'; network and broadcast addresses are to be handed out neither.
        uplink: the host's link through which guests with a public address reach what lies beyond the host. None: they
            reach other guests only.
        resolvers: of the host's network; with an uplink, dnsmasq asks them for names that are not the VPC's.
    """

    def __init__(
        self,
        root: Path,
        name: str = "pileus",
        pool: tuple[str, ...] = ("203.0.113.0/24",),
        uplink: str | None = None,
        resolvers: tuple[str, ...] = (),
    ) -> None:
        self._root = root
        self._name = names.check_cloud(name)
        self._pools = names.pools(pool)
        self._upstream = resolvers if uplink else ()
        self._edge = Edge(name, self._pools, Uplink(name, uplink) if uplink else None)
        self._vpcs: dict[str, Vpc] = {}
        self._homes: dict[str, str] = {}
        """Interface id → VPC id, as last applied."""
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
                await self._edge.open(self._pools)
                self._find_vpcs()

    async def close(self) -> None:
        """Lets go; there is nothing that this process holds open."""

    async def apply(self, spec: NetworkSpec) -> None:
        """Makes it so. VPCs first, then the routes to their public addresses, then the VPCs that are no more.

        Raises:
            PermanentError: the spec is malformed or contradicts itself.
            RetryableError: a program failed; what it left is repaired by the next call.
        """
        pools = names.pools(spec.pool) or self._pools
        names.check(spec, pools)
        async with self._lock:
            with _driver_errors():
                for vpc in spec.vpcs:
                    await self._vpc(vpc.vpc_id).apply(vpc)
                self._homes = {nic.interface_id: vpc.vpc_id for vpc in spec.vpcs for nic in vpc.interfaces}
                public = {address: vpc.vpc_id for vpc in spec.vpcs for address in ruleset.public_addresses(vpc)}
                await self._edge.apply(pools, [vpc.vpc_id for vpc in spec.vpcs], public)
                for vpc_id in self._vpcs.keys() - {vpc.vpc_id for vpc in spec.vpcs}:
                    await self._vpcs[vpc_id].remove()
                    del self._vpcs[vpc_id]

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
            RetryableError: the interface is not there, or its tap is in use.
        """
        if interface_id not in self._homes:
            raise RetryableError(f"{interface_id} is not on this host")
        with _driver_errors():
            return await self._vpcs[self._homes[interface_id]].open_tap(interface_id)

    async def listen(self, vpc_id: str, address: str, port: int) -> socket.socket:
        """A listening socket in the VPC. Guests reach 169.254.169.254:80 only; the peer's address is the true one.

        The socket keeps the namespace alive: close it when the VPC goes.

        Raises:
            RetryableError: the VPC is not there, or somebody listens already.
        """
        if vpc_id not in self._vpcs:
            raise RetryableError(f"{vpc_id} is not on this host")
        with _driver_errors():
            return await self._vpcs[vpc_id].listen(address, port)

    async def destroy(self) -> None:
        """Removes every VPC, the edge, and what was made on the host."""
        async with self._lock:
            with _driver_errors():
                self._find_vpcs()
                for vpc in self._vpcs.values():
                    await vpc.remove()
                self._vpcs.clear()
                await self._edge.destroy()
                if self._root.exists():
                    self._root.rmdir()

    def _find_vpcs(self) -> None:
        """Takes up the VPCs whose namespaces or dnsmasq directories exist, whoever made them."""
        prefix = f"{self._name}-"
        found = [name.removeprefix(prefix) for name in namespace.names(f"{prefix}vpc-")]
        kept = [path.name for path in self._root.glob("vpc-*")]
        for vpc_id in (*found, *kept):
            self._vpc(vpc_id)

    def _vpc(self, vpc_id: str) -> Vpc:
        if vpc_id not in self._vpcs:
            self._vpcs[vpc_id] = Vpc(
                vpc_id,
                name=f"{self._name}-{vpc_id}",
                directory=self._root / vpc_id,
                upstream=self._upstream,
                connect=self._edge.connect,
            )
        return self._vpcs[vpc_id]

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
