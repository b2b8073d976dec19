"""The cloud's edge: the namespace between the VPCs and the host, which routes public addresses and nothing else.

It has no address of its own, so there is nothing in it to talk to. It is joined to the host by one veth, whose host end
has the pool's first usable address and the routes to the pool.
"""

import ipaddress
from collections.abc import Iterable, Mapping

from pileus.drivers.errors import PermanentError
from pileus.drivers.network.linux import links, nft
from pileus.drivers.network.linux.links import Address, Link, Neighbour, Route, State
from pileus.drivers.network.linux.names import (
    EDGE_LINK,
    HOST_LINK,
    LOWER_MAC,
    NEXT_HOP,
    TRANSIT,
    UPPER_MAC,
    VETH_PREFIX,
    Pools,
    transit,
    veth_name,
)
from pileus.drivers.network.linux.namespace import ROUTER_SETTINGS, Namespace, write_settings
from pileus.drivers.network.linux.nft import Chain, Table
from pileus.drivers.network.linux.uplink import Uplink

# A packet's source must be what is routed to the link that it came from: a VPC can't send from another's address.
_SETTINGS = tuple((f"ipv4/conf/{scope}/rp_filter", "1") for scope in ("all", "default"))


def table(host: str, resolver: str, *, has_uplink: bool) -> Table:
    """The edge's filter: anybody may go to guests (whose groups decide), and to the host only in answer.

    ``host``: its address. ``resolver``: the one as which the VPCs' resolvers appear, where there is an uplink.
    """
    outside = (
        f'oifname "{HOST_LINK}" ip saddr {TRANSIT} meta l4proto {{ tcp, udp }} th dport 53 accept',
        f'oifname "{HOST_LINK}" ip saddr {TRANSIT} drop',
        # Link-local, loopback, multicast: what the host's own network may trust its neighbours with.
        f'oifname "{HOST_LINK}" ip daddr {{ {host}, 0.0.0.0/8, 127.0.0.0/8, 169.254.0.0/16, 224.0.0.0/3 }} drop',
        f'oifname "{HOST_LINK}" accept',
    )
    return Table(
        name="inet edge",
        elements={},
        chains={
            "input": Chain(hook="type filter hook input priority filter; policy drop;", rules=()),
            "forward": Chain(
                hook="type filter hook forward priority filter; policy drop;",
                rules=(
                    "ct state vmap { established : accept, related : accept, invalid : drop }",
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


def wanted(
    host: str,
    pools: Pools,
    vpcs: Iterable[str],
    public: Mapping[str, str],
    transits: Mapping[str, str],
    *,
    has_uplink: bool,
) -> State:
    """The edge's links, neighbours and routes. ``public``: address → VPC id. ``transits``: transit address → veth."""
    veths = {vpc_id: veth_name(vpc_id) for vpc_id in vpcs}
    ends = (HOST_LINK, *veths.values())
    return State(
        links=frozenset(
            {Link(HOST_LINK, LOWER_MAC, ""), *(Link(name, UPPER_MAC, vpc_id) for vpc_id, name in veths.items())}
        ),
        neighbours=frozenset(Neighbour(NEXT_HOP, end, UPPER_MAC if end == HOST_LINK else LOWER_MAC) for end in ends),
        routes=frozenset(
            {
                Route("default", HOST_LINK, NEXT_HOP) if has_uplink else Route("default", ""),
                Route(host, HOST_LINK, NEXT_HOP),
                *(Route(str(pool), "") for pool in pools),
                *(Route(address, veths[vpc_id], NEXT_HOP) for address, vpc_id in public.items()),
                *(Route(address, veth, NEXT_HOP) for address, veth in transits.items() if veth in ends),
            }
        ),
    )


def wanted_on_host(link: str, host: str, pools: Pools) -> State:
    """The host's end: one link, one address, one route for each pool."""
    return State(
        links=frozenset({Link(link, UPPER_MAC, "")}),
        addresses=frozenset({Address(host, link)}),
        neighbours=frozenset({Neighbour(NEXT_HOP, link, LOWER_MAC)}),
        routes=frozenset(Route(str(pool), link, NEXT_HOP) for pool in pools),
    )


class Edge:
    """The edge of the cloud ``name``, and its link on the host. ``uplink``: the way on from the host, if there is one."""

    def __init__(self, name: str, pools: Pools, uplink: Uplink | None) -> None:
        self._namespace = Namespace(f"{name}-edge")
        self._host = Namespace(None)
        self._link = f"{name}-edge"
        self._address, self._resolver = str(pools[0][1]), str(pools[0][2])
        self._uplink = uplink
        self._applied: State | None = None
        self._pools: Pools | None = None
        """What the host is known to route here."""

    async def open(self, pools: Pools) -> None:
        """Makes the edge, its filter and the way to the host."""
        self.doubt()
        await self._namespace.create()
        tables = [table(self._address, self._resolver, has_uplink=self._uplink is not None)]
        await self._namespace.run("nft", "--file", "-", stdin=nft.replace(tables).encode())
        await self._namespace.call(lambda: write_settings((*ROUTER_SETTINGS, *_SETTINGS)))
        # Without one local address, be it lo's, the kernel takes no next hop for valid.
        await self._namespace.ip(["link set lo up"])
        await self._join_host()
        await self._route_host(pools)

    async def connect(self, vpc_id: str, vpc: Namespace) -> None:
        """Makes the veth to a VPC's namespace in one step; one that has lost its other end is made anew."""
        assert vpc.name is not None, "a VPC has a namespace of its own"
        name = veth_name(vpc_id)
        if name in (await self._observe()).link_names():
            await self._namespace.ip([f"link delete {name}"])
        await self._namespace.ip(
            [
                f"link add {name} address {UPPER_MAC} type veth"
                f" peer name {EDGE_LINK} address {LOWER_MAC} netns {vpc.name}"
            ]
        )
        self._applied = None

    async def apply(self, pools: Pools, vpcs: Iterable[str], public: Mapping[str, str]) -> None:
        """Routes the public addresses (address → VPC id) to their VPCs, whose veths exist; unused veths go."""
        has_uplink = self._uplink is not None
        transits = await self._transits() if has_uplink else {}
        target = wanted(self._address, pools, vpcs, public, transits, has_uplink=has_uplink)
        if target == self._applied and pools == self._pools:
            return
        self._applied = None
        await self._namespace.ip(links.change(await self._observe(), target))
        if pools != self._pools:
            await self._route_host(pools)
        self._applied = target

    def doubt(self) -> None:
        """What was applied may have been changed: the next ``apply`` looks again."""
        self._applied = self._pools = None

    async def observe(self) -> frozenset[str]:
        """The public addresses that are routed to a VPC. A difference from what was applied makes ``apply`` look again."""
        if not self._namespace.exists():
            self.doubt()
            return frozenset()
        found = await self._observe()
        if self._applied is not None and found != self._applied:
            self.doubt()
        routed = (route.destination for route in found.routes if route.link.startswith(VETH_PREFIX))
        return frozenset(address for address in routed if ipaddress.IPv4Address(address) not in TRANSIT)

    async def destroy(self) -> None:
        """Removes the edge and all that was made on the host."""
        self.doubt()
        if self._uplink is not None:
            await self._uplink.destroy()
        found = await links.observe(self._host, lambda name: name == self._link)
        await self._host.ip(links.change(found, State()))
        if self._namespace.exists():
            await self._namespace.ip(links.change(await self._observe(), State()))
        await self._namespace.delete()

    async def _join_host(self) -> None:
        """The veth to the host. If either end is missing, the other one belongs to an edge that is gone."""
        above = self._link in (await links.observe(self._host, lambda name: name == self._link)).link_names()
        below = HOST_LINK in (await self._observe()).link_names()
        if above and below:
            return
        if above:
            await self._host.ip([f"link delete {self._link}"])
        await self._host.ip(
            [
                f"link add {self._link} address {UPPER_MAC} type veth"
                f" peer name {HOST_LINK} address {LOWER_MAC} netns {self._namespace.name}"
            ]
        )

    async def _route_host(self, pools: Pools) -> None:
        await self._check_overlap(pools)
        found = await links.observe(self._host, lambda name: name == self._link)
        await self._host.ip(links.change(found, wanted_on_host(self._link, self._address, pools)))
        if self._uplink is not None:
            await self._uplink.open(self._link, pools)
        self._pools = pools

    async def _transits(self) -> dict[str, str]:
        """Transit address → veth of a VPC."""
        (answer,) = await self._namespace.show("link show")
        return {transit(link["ifindex"]): link["ifname"] for link in answer if link["ifname"].startswith(VETH_PREFIX)}

    async def _observe(self) -> State:
        return await links.observe(self._namespace, lambda name: name == HOST_LINK or name.startswith(VETH_PREFIX))

    async def _check_overlap(self, pools: Pools) -> None:
        """Refuses to take over a route that the host has already."""
        (routes,) = await self._host.show("route show")
        for route in routes:
            if route["dst"] == "default" or route.get("dev") == self._link:
                continue
            network = ipaddress.IPv4Network(route["dst"])
            for pool in pools:
                if network.overlaps(pool):
                    raise PermanentError(f"the pool {pool} overlaps the host's route to {network}")
