"""The cloud's edge: the namespace between the VPCs and the host, which routes public addresses and nothing else.

It has no address but those of the cloud's own services, which answer to VPCs alone. It is joined to the host by one
veth, whose host end has the pool's first usable address and the routes to the pools.
"""

import socket
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, ip_network

import msgspec

from pileus.drivers.errors import PermanentError
from pileus.drivers.network.linux import links, nft
from pileus.drivers.network.linux.links import Address, Link, Neighbour, Route, State, destination
from pileus.drivers.network.linux.names import (
    EDGE_LINK,
    HOST6,
    HOST_LINK,
    LOWER_MAC,
    NEXT_HOP,
    NEXT_HOP6,
    TRANSIT,
    UPPER_MAC,
    VETH_PREFIX,
    transit,
    veth_name,
)
from pileus.drivers.network.linux.namespace import ROUTER_SETTINGS, Namespace, write_settings
from pileus.drivers.network.linux.nft import Chain, Elements, Table
from pileus.drivers.network.linux.uplink import Uplink
from pileus.hostapi.network_spec import PoolSpec

# A packet's source must be what is routed to the link that it came from: a VPC can't send from another's address. Of
# IPv6, the rules see to that.
_SETTINGS = tuple((f"ipv4/conf/{scope}/rp_filter", "1") for scope in ("all", "default"))


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What the edge must be.

    Attributes:
        pools, ipv6_pools: all that is routed here. services: addresses of its own.
        vpcs: ids of those that have a veth. public: address → VPC id. ipv6: CIDR → VPC id.
    """

    pools: tuple[PoolSpec, ...]
    ipv6_pools: tuple[str, ...] = ()
    services: frozenset[str] = frozenset()
    vpcs: frozenset[str] = frozenset()
    public: Mapping[str, str] = {}
    ipv6: Mapping[str, str] = {}


def table(host: str, resolver: str, services: Iterable[str] = (), *, has_uplink: bool) -> Table:
    """The edge's filter: anybody may go to guests (whose groups decide), and to the host only in answer.

    ``host``: its address. ``resolver``: the one as which the VPCs' resolvers appear, where there is an uplink.
    """
    outside = (
        f'oifname "{HOST_LINK}" ip saddr {TRANSIT} meta l4proto {{ tcp, udp }} th dport 53 accept',
        f'oifname "{HOST_LINK}" ip saddr {TRANSIT} drop',
        # Link-local, loopback, multicast: what the host's own network may trust its neighbours with.
        f'oifname "{HOST_LINK}" ip daddr {{ {host}, 0.0.0.0/8, 127.0.0.0/8, 169.254.0.0/16, 224.0.0.0/3 }} drop',
        f'oifname "{HOST_LINK}" ip6 daddr {{ {HOST6}, ::/8, fe80::/10, ff00::/8 }} drop',
        f'oifname "{HOST_LINK}" accept',
    )
    return Table(
        name="inet edge",
        elements={"services": Elements(declaration="type ipv4_addr", elements=dict.fromkeys(sorted(services), ""))},
        chains={
            "sources": Chain(
                hook="type filter hook prerouting priority raw; policy accept;",
                rules=("meta nfproto ipv6 fib saddr . iif oif missing drop",),
            ),
            "input": Chain(
                hook="type filter hook input priority filter; policy drop;",
                rules=(
                    "ct state established,related accept",
                    f'iifname "{VETH_PREFIX}*" ip daddr @services meta l4proto tcp accept',
                ),
            ),
            "forward": Chain(
                hook="type filter hook forward priority filter; policy drop;",
                rules=(
                    "ct state vmap { established : accept, related : accept, invalid : drop }",
                    f'oifname "{VETH_PREFIX}*" ip saddr {TRANSIT} drop',
                    f'oifname "{VETH_PREFIX}*" accept',
                    *(outside if has_uplink else ()),
                ),
            ),
            "resolve": Chain(
                hook="type nat hook postrouting priority srcnat;",
                rules=(f'oifname "{HOST_LINK}" ip saddr {TRANSIT} snat ip to {resolver}',),
            ),
        },
    )


def wanted(plan: Plan, host: str, transits: Mapping[str, str], *, has_uplink: bool) -> State:
    """The edge's links, addresses, neighbours and routes. ``transits``: transit address → veth."""
    veths = {vpc_id: veth_name(vpc_id) for vpc_id in plan.vpcs}
    ends = (HOST_LINK, *veths.values())
    return State(
        links=frozenset(
            {Link(HOST_LINK, LOWER_MAC, ""), *(Link(name, UPPER_MAC, vpc_id) for vpc_id, name in veths.items())}
        ),
        addresses=frozenset(Address(address, "lo") for address in plan.services),
        neighbours=frozenset(
            Neighbour(hop, end, UPPER_MAC if end == HOST_LINK else LOWER_MAC)
            for end in ends
            for hop in (NEXT_HOP, NEXT_HOP6)
        ),
        routes=frozenset(
            {
                Route("default", HOST_LINK, NEXT_HOP) if has_uplink else Route("default", ""),
                Route("::/0", HOST_LINK, NEXT_HOP6) if has_uplink else Route("::/0", ""),
                Route(host, HOST_LINK, NEXT_HOP),
                Route(HOST6, HOST_LINK, NEXT_HOP6),
                *(Route(destination(pool), "") for pool in (*(pool.cidr for pool in plan.pools), *plan.ipv6_pools)),
                *(Route(address, veths[vpc_id], NEXT_HOP) for address, vpc_id in plan.public.items()),
                *(Route(destination(cidr), veths[vpc_id], NEXT_HOP6) for cidr, vpc_id in plan.ipv6.items()),
                *(Route(address, veth, NEXT_HOP) for address, veth in transits.items() if veth in ends),
            }
        ),
    )


def wanted_on_host(link: str, host: str, plan: Plan) -> State:
    """The host's end: one link, its addresses, one route for each pool."""
    hops = (NEXT_HOP, NEXT_HOP6)
    return State(
        links=frozenset({Link(link, UPPER_MAC, "")}),
        addresses=frozenset({Address(host, link), Address(HOST6, link)}),
        neighbours=frozenset(Neighbour(hop, link, LOWER_MAC) for hop in hops),
        routes=frozenset(
            {
                *(Route(destination(pool.cidr), link, NEXT_HOP) for pool in plan.pools),
                *(Route(destination(pool), link, NEXT_HOP6) for pool in plan.ipv6_pools),
            }
        ),
    )


class Edge:
    """The edge of the cloud ``name``, and its link on the host. ``uplink``: the way on from the host, if there is one.

    ``pools``: the first one's first two usable addresses are the host's and the resolvers'.
    """

    def __init__(
        self, name: str, pools: tuple[PoolSpec, ...], ipv6_pools: tuple[str, ...], uplink: Uplink | None
    ) -> None:
        self._namespace = Namespace(f"{name}-edge")
        self._host = Namespace(None)
        self._link = f"{name}-edge"
        self._pools, self._ipv6_pools = pools, ipv6_pools
        first = ip_network(pools[0].cidr)
        self._address, self._resolver = str(first[1]), str(first[2])
        self._uplink = uplink
        self._applied: Plan | None = None
        self._links: State | None = None
        """What is known to be there, on links and routes; None where it has to be asked."""
        self._table: Table | None = None
        self._routed: tuple[tuple[PoolSpec, ...], tuple[str, ...]] | None = None
        """What the host is known to route here."""

    async def open(self) -> None:
        """Makes the edge, its filter and the way to the host."""
        self.doubt()
        await self._namespace.create()
        # A filter that is there knows the services that are in use.
        if not await self._has_filter():
            await self._write_filter(())
        await self._namespace.call(lambda: write_settings((*ROUTER_SETTINGS, *_SETTINGS)))
        # Without one local address, be it lo's, the kernel takes no next hop for valid.
        await self._namespace.ip(["link set lo up"])
        await self._join_host()
        await self._route_host(Plan(pools=self._pools, ipv6_pools=self._ipv6_pools))

    async def connect(self, vpc_id: str, vpc: Namespace) -> None:
        """Makes the veth to a VPC's namespace in one step; one that has lost its other end is made anew."""
        assert vpc.name is not None, "a VPC has a namespace of its own"
        name = veth_name(vpc_id)
        self._applied = self._links = None
        if name in (await self._observe()).link_names():
            await self._namespace.ip([f"link delete {name}"])
        await self._namespace.ip(
            [
                f"link add {name} address {UPPER_MAC} type veth"
                f" peer name {EDGE_LINK} address {LOWER_MAC} netns {vpc.name}"
            ]
        )

    async def apply(self, plan: Plan) -> None:
        """Routes what the plan says to VPCs, whose veths exist; unused veths go."""
        if plan == self._applied:
            return
        self._applied = None
        found, self._links = self._links, None
        if found is None:
            found = await self._observe()
        target = wanted(plan, self._address, await self._transits(), has_uplink=self._uplink is not None)
        await self._write_filter(plan.services)
        await self._namespace.ip(links.change(found, target))
        await self._route_host(plan)
        if self._uplink is not None:
            await self._uplink.announce(plan.pools, frozenset(plan.public), frozenset(plan.ipv6))
        self._links = target
        self._applied = plan

    async def listen(self, address: str, port: int) -> socket.socket:
        """A listening socket at a service's address. Raises OSError when it is none."""
        return await self._namespace.call(lambda: socket.create_server((address, port), backlog=128))

    def doubt(self) -> None:
        """What was applied may have been changed: the next ``apply`` looks again."""
        self._applied = self._links = self._table = self._routed = None

    async def observe(self) -> frozenset[str]:
        """The public addresses that are routed to a VPC. A difference from what was applied makes ``apply`` look again."""
        if not self._namespace.exists():
            self.doubt()
            return frozenset()
        found = await self._observe()
        if self._applied is not None and (
            found != self._links
            or not await self._has_filter()
            or (self._uplink is not None and not await self._uplink.announces())
        ):
            self.doubt()
        routed = (
            route.destination for route in found.routes if route.link.startswith(VETH_PREFIX) and ":" not in route.via
        )
        return frozenset(address for address in routed if IPv4Address(address) not in TRANSIT)

    async def destroy(self) -> None:
        """Removes the edge and all that was made on the host."""
        self.doubt()
        if self._uplink is not None:
            await self._uplink.destroy(self._pools)
        found = await self._observe_host()
        await self._host.ip(links.change(found, State()))
        if self._namespace.exists():
            await self._namespace.ip(links.change(await self._observe(), State()))
        await self._namespace.delete()

    async def _write_filter(self, services: Iterable[str]) -> None:
        target = table(self._address, self._resolver, services, has_uplink=self._uplink is not None)
        before, self._table = self._table, None
        script = nft.replace([target]) if before is None else nft.change(before, target)
        if script:
            await self._namespace.run("nft", "--file", "-", stdin=script.encode())
        self._table = target

    async def _has_filter(self) -> bool:
        return b"table inet edge" in await self._namespace.run("nft", "list", "tables")

    async def _join_host(self) -> None:
        """The veth to the host. If either end is missing, the other one belongs to an edge that is gone."""
        above = self._link in (await self._observe_host()).link_names()
        below = HOST_LINK in (await self._observe()).link_names()
        if not (above and below):
            if above:
                await self._host.ip([f"link delete {self._link}"])
            await self._host.ip(
                [
                    f"link add {self._link} address {UPPER_MAC} type veth"
                    f" peer name {HOST_LINK} address {LOWER_MAC} netns {self._namespace.name}"
                ]
            )
        settings = {"disable_ipv6": "0", "addr_gen_mode": "1", "accept_ra": "0"}
        write_settings((f"ipv6/conf/{self._link}/{key}", value) for key, value in settings.items())

    async def _route_host(self, plan: Plan) -> None:
        if self._routed == (plan.pools, plan.ipv6_pools):
            return
        await self._check_overlap(plan)
        found = await self._observe_host()
        await self._host.ip(links.change(found, wanted_on_host(self._link, self._address, plan)))
        if self._uplink is not None:
            await self._uplink.open(self._link, plan.pools, plan.ipv6_pools)
        self._routed = (plan.pools, plan.ipv6_pools)

    async def _transits(self) -> dict[str, str]:
        """Transit address → veth of a VPC."""
        (answer,) = await self._namespace.show("link show")
        return {transit(link["ifindex"]): link["ifname"] for link in answer if link["ifname"].startswith(VETH_PREFIX)}

    async def _observe(self) -> State:
        return await links.observe(self._namespace, lambda name: name == HOST_LINK or name.startswith(VETH_PREFIX))

    async def _observe_host(self) -> State:
        return await links.observe(self._host, lambda name: name == self._link)

    async def _check_overlap(self, plan: Plan) -> None:
        """Refuses to take over a route that the host has already: a pool may be part of the uplink's own network only."""
        (routes,) = await self._host.show("route show")
        (routes6,) = await self._host.show("route show", ipv6=True)
        pools = [(ip_network(pool.cidr), pool.announce == "arp") for pool in plan.pools]
        pools += [(ip_network(pool), False) for pool in plan.ipv6_pools]
        for route in (*routes, *routes6):
            if route["dst"] == "default" or route.get("dev") == self._link:
                continue
            network = ip_network(route["dst"])
            for pool, is_local in pools:
                if pool.version != network.version or not network.overlaps(pool):
                    continue
                is_uplinks = self._uplink is not None and route.get("dev") == self._uplink.link
                if not (is_local and is_uplinks and pool != network and network.supernet_of(pool)):  # pyright: ignore[reportArgumentType]
                    raise PermanentError(f"the pool {pool} overlaps the host's route to {network}")
