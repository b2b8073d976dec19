"""What is behind an interface that is not a guest's: a namespace of the driver's own, joined to the VPC's by one veth.

The VPC's end has the name and the MAC that a guest's tap would have, so that rules and routes treat all interfaces
alike. The appliance has the interface's MAC and addresses, and sends everything to the subnet's router.
"""

import socket
from collections.abc import Iterable

from pileus.drivers.network.linux import links, nft
from pileus.drivers.network.linux.links import Address, Link, Neighbour, Route, State
from pileus.drivers.network.linux.names import GATEWAY_MAC, NEXT_HOP, NEXT_HOP6, tap_name
from pileus.drivers.network.linux.namespace import ROUTER_SETTINGS, Namespace, write_settings
from pileus.drivers.network.linux.nft import Chain, Table
from pileus.hostapi.network_spec import InterfaceSpec

LINK = "eth0"
_IDLE_SECONDS = 350
_SETTINGS = (
    *((f"ipv4/conf/{scope}/rp_filter", "0") for scope in ("all", "default")),
    # EC2's NAT gateway forgets a connection that was idle so long, and answers what comes later with a reset.
    ("netfilter/nf_conntrack_tcp_timeout_established", str(_IDLE_SECONDS)),
    ("netfilter/nf_conntrack_tcp_loose", "0"),
    ("netfilter/nf_conntrack_tcp_be_liberal", "1"),
)


def wanted(nic: InterfaceSpec) -> State:
    """The appliance's link, and what is on it."""
    hops = (NEXT_HOP, *((NEXT_HOP6,) if nic.ipv6 else ()))
    own = (*(one.address for one in nic.addresses), *nic.ipv6)
    return State(
        links=frozenset({Link(LINK, nic.mac, nic.interface_id)}),
        addresses=frozenset(Address(address, LINK) for address in own),
        neighbours=frozenset(Neighbour(hop, LINK, GATEWAY_MAC) for hop in hops),
        routes=frozenset(Route("default" if hop == NEXT_HOP else "::/0", LINK, hop) for hop in hops),
    )


def table(nic: InterfaceSpec) -> Table:
    """The appliance's rules: a NAT gateway forwards and hides who sends; an endpoint talks TCP itself."""
    if nic.kind == "nat":
        return _nat_gateway(nic)
    return _table(
        {
            "input": Chain(
                hook="type filter hook input priority filter; policy drop;",
                rules=("ct state established,related accept", "meta l4proto tcp accept", _DISCOVERY),
            ),
            "forward": Chain(hook="type filter hook forward priority filter; policy drop;", rules=()),
        }
    )


_DISCOVERY = "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert } accept"


def _nat_gateway(nic: InterfaceSpec) -> Table:
    """What is not an answer and not to be forwarded is for the gateway itself, which talks to nobody.

    The state of TCP connections is judged liberally, so an invalid packet is one of a connection that was forgotten.
    """
    addresses = [one.address for one in nic.addresses]
    shares = ", ".join(f"{number} : {address}" for number, address in enumerate(addresses))
    source = addresses[0] if len(addresses) == 1 else f"numgen inc mod {len(addresses)} map {{ {shares} }}"
    return _table(
        {
            "input": Chain(
                hook="type filter hook input priority filter; policy drop;",
                rules=("ct state established,related accept",),
            ),
            "forward": Chain(
                hook="type filter hook forward priority filter; policy drop;",
                rules=(
                    "ct state invalid meta l4proto tcp reject with tcp reset",
                    "meta nfproto ipv4 ct state new,established,related accept",
                ),
            ),
            "hide": Chain(
                hook="type nat hook postrouting priority srcnat; policy accept;",
                rules=(f'iifname "{LINK}" oifname "{LINK}" snat ip to {source}',),
            ),
        }
    )


def _table(chains: dict[str, Chain]) -> Table:
    return Table(name="inet appliance", elements={}, chains=chains)


class Appliance:
    """The appliance of one interface of the cloud ``cloud``."""

    def __init__(self, cloud: str, interface_id: str) -> None:
        self._id = interface_id
        self._namespace = Namespace(f"{cloud}-{interface_id}")
        self._applied: InterfaceSpec | None = None

    async def connect(self, vpc: Namespace) -> None:
        """Makes the veth to the VPC's namespace, which has no link for the interface; an old one's other end goes."""
        self.doubt()
        await self._namespace.create()
        if LINK in (await self._observe()).link_names():
            await self._namespace.ip([f"link delete {LINK}"])
        await self._namespace.call(lambda: write_settings((*ROUTER_SETTINGS, *_SETTINGS)))
        peer = f"{tap_name(self._id)} address {GATEWAY_MAC} netns {vpc.name}"
        await self._namespace.ip(["link set lo up", f"link add {LINK} type veth peer name {peer}"])

    async def apply(self, nic: InterfaceSpec) -> None:
        """Makes it as the interface is. Its link exists."""
        if nic == self._applied:
            return
        self.doubt()
        await self._namespace.run("nft", "--file", "-", stdin=nft.replace([table(nic)]).encode())
        await self._namespace.ip(links.change(await self._observe(), wanted(nic)))
        self._applied = nic

    def doubt(self) -> None:
        """What was applied may have been changed by others."""
        self._applied = None

    async def works(self, nic: InterfaceSpec) -> bool:
        """Whether it is as it should be, links and rules; otherwise the next ``apply`` looks again."""
        sound = self._namespace.exists() and await self._observe() == wanted(nic) and await self._has_rules()
        if not sound:
            self.doubt()
        return sound

    async def listen(self, address: str, port: int) -> socket.socket:
        """A listening socket. Raises OSError when the address is not the interface's."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return await self._namespace.call(lambda: socket.create_server((address, port), family=family, backlog=128))

    async def remove(self) -> None:
        """Removes everything; the link first, for an open socket would keep the namespace alive."""
        self.doubt()
        if self._namespace.exists() and LINK in (await self._observe()).link_names():
            await self._namespace.ip([f"link delete {LINK}"])
        await self._namespace.delete()

    async def _observe(self) -> State:
        return await links.observe(self._namespace, lambda name: name == LINK)

    async def _has_rules(self) -> bool:
        return f"table {table_name()}".encode() in await self._namespace.run("nft", "list", "tables")


def table_name() -> str:
    """The name of every appliance's nftables table."""
    return _table({}).name


def ids(names: Iterable[str], cloud: str) -> list[str]:
    """The interfaces of the appliances among a cloud's namespaces."""
    prefix = f"{cloud}-"
    return [name.removeprefix(prefix) for name in names if name.startswith(f"{prefix}eni-")]
