"""What the modules of the ruleset have in common: their results, and how interfaces and addresses appear in sets."""

import ipaddress
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from pileus.drivers.network.linux.names import owned, tap_name
from pileus.drivers.network.linux.nft import Chain, Elements
from pileus.hostapi.network_spec import InterfaceSpec, VpcSpec

FAMILIES = (4, 6)
NFPROTO = {4: "ipv4", 6: "ipv6"}
WORD = {4: "ip", 6: "ip6"}
ADDRESS = {4: "ipv4_addr", 6: "ipv6_addr"}
ANYWHERE = {4: "0.0.0.0/0", 6: "::/0"}

PROTOCOLS = {"1": "icmp", "6": "tcp", "17": "udp", "58": "icmpv6"}


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """Some of a table's sets, maps and chains, by name."""

    elements: Mapping[str, Elements] = {}
    chains: Mapping[str, Chain] = {}


def word(resource_id: str) -> str:
    """An id as a part of a chain's or set's name."""
    return resource_id.replace("-", "_")


def link(interface: InterfaceSpec) -> str:
    """The interface's link, quoted."""
    return f'"{tap_name(interface.interface_id)}"'


def family(address: str) -> int:
    """4 or 6: of an address or CIDR."""
    return 6 if ":" in address else 4


def plain(interface: InterfaceSpec, version: int) -> list[str]:
    """The interface's single addresses of a family."""
    return [one for one in owned(interface) if "/" not in one and family(one) == version]


def prefixes(interface: InterfaceSpec, version: int) -> list[str]:
    """Its delegated prefixes of a family."""
    return [one for one in interface.prefixes if family(one) == version]


def addresses(values: Iterable[str], version: int) -> dict[str, str]:
    """Addresses and CIDRs of one family as elements of an interval set, which must not overlap."""
    networks = (ipaddress.ip_network(value, strict=False) for value in values if family(value) == version)
    if version == 6:
        return dict.fromkeys(map(_shown, ipaddress.collapse_addresses(n for n in networks if n.version == 6)), "")
    return dict.fromkeys(map(_shown, ipaddress.collapse_addresses(n for n in networks if n.version == 4)), "")


def _shown(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> str:
    return str(network.network_address) if network.num_addresses == 1 else str(network)


def set_of(kind: str, values: Iterable[str], *, interval: bool = False) -> Elements:
    """A set of nft's type ``kind``."""
    declaration = f"type {kind}; flags interval" if interval else f"type {kind}"
    return Elements(declaration=declaration, elements=dict.fromkeys(values, ""))


def map_of(kind: str, values: Mapping[str, str]) -> Elements:
    """A map of nft's type ``kind``, e.g. ``ifname : verdict``."""
    return Elements(declaration=f"type {kind}", elements=values)


def service(protocol: str, low: int, high: int) -> str:
    """What a rule's protocol and ports (ICMP: type and code) mean in nft's words: "" for everything."""
    name = PROTOCOLS.get(protocol, protocol)
    if name == "-1":
        return ""
    if name in ("tcp", "udp") and (low, high) != (-1, -1):
        return f"{name} dport {low}-{high}" if low != high else f"{name} dport {low}"
    if name in ("icmp", "icmpv6") and low != -1:
        return f"{name} type {low}" + (f" {name} code {high}" if high != -1 else "")
    return f"meta l4proto {name}"


def suits(protocol: str, version: int) -> bool:
    """Whether the protocol exists in the family: each has an ICMP of its own."""
    return PROTOCOLS.get(protocol, protocol) != ("icmp" if version == 6 else "icmpv6")


def subnet_links(vpc: VpcSpec) -> Iterator[tuple[str, list[str]]]:
    """Each subnet's id with the links of its interfaces."""
    for subnet in vpc.subnets:
        yield subnet.subnet_id, [link(nic) for nic in vpc.interfaces if nic.subnet == subnet.subnet_id]
