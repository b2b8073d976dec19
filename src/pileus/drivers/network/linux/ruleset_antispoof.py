"""Who may claim to be whom: sources by link, ARP, neighbour discovery, and what the namespace itself offers to guests."""

import ipaddress
from collections.abc import Iterable
from functools import lru_cache

from pileus.drivers.network.linux.names import (
    EDGE_LINK,
    GATEWAY6,
    METADATA,
    METADATA6,
    METADATA_PORT,
    NEXT_HOP6,
    PEERING_PREFIX,
    RESOLVER6,
    TAP_PREFIX,
    owned,
    resolvers,
    subnets,
    table_number,
)
from pileus.drivers.network.linux.nft import Chain, Elements, Table
from pileus.drivers.network.linux.ruleset_parts import (
    ADDRESS,
    FAMILIES,
    WORD,
    Parts,
    addresses,
    link,
    map_of,
    plain,
    prefixes,
    set_of,
)
from pileus.hostapi.network_spec import InterfaceSpec, VpcSpec

_DHCP, _DHCP6 = "udp sport 68 udp dport 67", "udp sport 546 udp dport 547"
_NEVER = {
    # Link-local (the metadata service), loopback, multicast, this network: no router passes such a source on.
    4: "{ 0.0.0.0/8, 127.0.0.0/8, 169.254.0.0/16, 224.0.0.0/3 }",
    6: "{ ::/127, fe80::/10, ff00::/8, fd00:a9fe:a9fe::/48, fd00:ec2::/32 }",
}
_LINK_LOCAL_TARGET = "@th,64,10 0x3fa"
_ON_LINK = "ip6 daddr { fe80::/10, ff02::/16 }"
_ROUTERS = ", ".join(f"{int(ipaddress.IPv6Address(one)):#034x}" for one in (GATEWAY6, NEXT_HOP6))
"""As ``@th,64,128`` has the target of an advertisement."""


def parts(vpc: VpcSpec) -> Parts:
    """Everything of it; sets are named ``bindings4`` and so on."""
    marks = {one.subnet_id: f"{table_number(one.route_table):#x}" for one in vpc.subnets}
    known = subnets(vpc)
    return Parts(
        elements={
            **_sets(vpc.interfaces),
            "marks": map_of("ifname : mark", {link(nic): marks[nic.subnet] for nic in vpc.interfaces}),
            "ipv6_links": set_of(
                "ifname", [link(nic) for nic in vpc.interfaces if known[nic.subnet].ipv6_cidr is not None]
            ),
        },
        chains={**_ANTISPOOF, **_zones(vpc), **_offers(vpc)},
    )


@lru_cache(maxsize=256)
def _sets(interfaces: tuple[InterfaceSpec, ...]) -> dict[str, Elements]:
    made: dict[str, Elements] = {}
    for version in FAMILIES:
        address = ADDRESS[version]
        made[f"bindings{version}"] = set_of(
            f"ifname . ether_addr . {address}",
            [f"{link(nic)} . {nic.mac} . {one}" for nic in interfaces for one in plain(nic, version)],
        )
        made[f"delegated{version}"] = set_of(
            f"ifname . ether_addr . {address}",
            [f"{link(nic)} . {nic.mac} . {one}" for nic in interfaces for one in prefixes(nic, version)],
            interval=True,
        )
        made[f"forwarders_own{version}"] = set_of(
            f"ifname . {address}",
            [
                f"{link(nic)} . {one}"
                for nic in interfaces
                if is_forwarder(nic)
                for one in (*plain(nic, version), *prefixes(nic, version))
            ],
            interval=True,
        )
        made[f"forwarded{version}"] = set_of(
            address,
            addresses((one for nic in interfaces if is_forwarder(nic) for one in owned(nic)), version),
            interval=True,
        )
    made["senders"] = _senders(interfaces)
    made["unchecked"] = _senders(nic for nic in interfaces if nic.kind == "nat" or is_forwarder(nic))
    forwarders = [link(nic) for nic in interfaces if is_forwarder(nic)]
    made["forwarders"] = set_of("ifname", forwarders)
    made["routed"] = Elements(declaration="typeof fib daddr . mark oifname", elements=dict.fromkeys(forwarders, ""))
    return made


def is_forwarder(interface: InterfaceSpec) -> bool:
    """Whether a guest may forward: a NAT or firewall instance."""
    return interface.kind == "guest" and not interface.source_dest_check


_ANTISPOOF = {
    "antispoof": Chain(
        hook="type filter hook prerouting priority raw; policy drop;",
        rules=(
            f'iifname {{ "lo", "{EDGE_LINK}" }} accept',
            f'iifname "{PEERING_PREFIX}*" accept',  # the other VPC has seen to it
            "meta mark set iifname map @marks",
            # Guests are neither routers nor DHCP servers, and advertise nobody's addresses but link-local ones.
            "udp sport . udp dport { 67 . 68, 547 . 546 } drop",
            "icmpv6 type { nd-router-advert, nd-redirect } drop",
            f"icmpv6 type nd-neighbor-advert @th,64,128 {{ {_ROUTERS} }} drop",
            f"icmpv6 type nd-neighbor-advert {_LINK_LOCAL_TARGET} {_ON_LINK} iifname . ether saddr @senders accept",
            "icmpv6 type nd-neighbor-advert drop",
            *(
                rule
                for version in FAMILIES
                for rule in (
                    f"iifname . ether saddr . {WORD[version]} saddr @bindings{version} accept",
                    f"iifname . ether saddr . {WORD[version]} saddr @delegated{version} accept",
                    f"iifname . ether saddr @unchecked {WORD[version]} saddr != {_NEVER[version]} accept",
                )
            ),
            f"iifname . ether saddr @senders ip saddr 0.0.0.0 ip daddr 255.255.255.255 {_DHCP} accept",
            "iifname . ether saddr @senders iifname @ipv6_links ip6 saddr { ::, fe80::/10 } goto link_local",
        ),
    ),
    "link_local": Chain(
        rules=(
            "icmpv6 type { nd-router-solicit, nd-neighbor-solicit } ip6 hoplimit 255 accept",
            f"ip6 saddr fe80::/10 ip6 daddr {{ ff02::1:2, fe80::/10 }} {_DHCP6} accept",
        )
    ),
}


def _zones(vpc: VpcSpec) -> dict[str, Chain]:
    """Connections through a guest that forwards are tracked twice: apart by the address at the far side of each pass."""
    if not any(map(is_forwarder, vpc.interfaces)):
        return {"zones": Chain(hook=_ZONES_HOOK, rules=())}
    return {
        "zones": Chain(
            hook=_ZONES_HOOK,
            rules=("iifname @forwarders goto zones_from", "fib daddr . mark oifname @routed goto zones_to"),
        ),
        # A packet of one that forwards to another one that forwards has no far side that answers would share.
        "zones_from": Chain(
            rules=(
                "iifname . ip saddr @forwarders_own4 goto zones_own",
                "iifname . ip6 saddr @forwarders_own6 goto zones_own",
                *(
                    f"fib daddr . mark oifname @routed {WORD[version]} daddr != @forwarded{version} return"
                    for version in FAMILIES
                ),
                *(f"ct zone set jhash {WORD[version]} daddr {_HASH}" for version in FAMILIES),
            )
        ),
        "zones_own": Chain(rules=("fib daddr . mark oifname @routed goto zones_to",)),
        "zones_to": Chain(
            rules=(
                *(f"{WORD[version]} daddr @forwarded{version} return" for version in FAMILIES),
                *(f"ct zone set jhash {WORD[version]} saddr {_HASH}" for version in FAMILIES),
            )
        ),
    }


_ZONES_HOOK = "type filter hook prerouting priority raw + 5; policy accept;"
_HASH = "mod 65535 seed 0x1 offset 1"


def _offers(vpc: VpcSpec) -> dict[str, Chain]:
    """What the namespace itself offers to its guests: DHCP, names, metadata.

    The source is checked once more, for here a guest whose source_dest_check is off must not pass as another one.
    """
    dns, dns6 = ", ".join(resolvers(vpc)), RESOLVER6
    return {
        "input": Chain(
            hook="type filter hook input priority filter; policy drop;",
            rules=(
                f'iifname "{TAP_PREFIX}*" {_DHCP} accept',
                f'iifname "{TAP_PREFIX}*" ip6 saddr fe80::/10 {_DHCP6} accept',
                "icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert } ip6 hoplimit 255 accept",
                *(
                    f"iifname . ether saddr . {WORD[version]} saddr @{name}{version} goto offered"
                    for version in FAMILIES
                    for name in ("bindings", "delegated")
                ),
                f'iifname "{EDGE_LINK}" ct state established accept',  # what dnsmasq has asked beyond the edge
            ),
        ),
        "offered": Chain(
            rules=(
                f"ip daddr {{ {dns} }} meta l4proto {{ tcp, udp }} th dport 53 accept",
                f"ip6 daddr {dns6} meta l4proto {{ tcp, udp }} th dport 53 accept",
                f"ip daddr {METADATA} tcp dport {METADATA_PORT} accept",
                f"ip6 daddr {METADATA6} tcp dport {METADATA_PORT} accept",
            )
        ),
    }


def arp_table(name: str, interfaces: tuple[InterfaceSpec, ...]) -> Table:
    """Of ARP, only what is about the sender's own addresses is heard."""
    return Table(name=name, elements=_arp_sets(interfaces), chains=_ARP)


@lru_cache(maxsize=256)
def _arp_sets(interfaces: tuple[InterfaceSpec, ...]) -> dict[str, Elements]:
    sets = _sets(interfaces)
    return {name: sets[name] for name in ("bindings4", "delegated4", "senders")}


_ARP = {
    "input": Chain(
        hook="type filter hook input priority filter; policy drop;",
        rules=(
            "iifname . arp saddr ether . arp saddr ip @bindings4 accept",
            "iifname . arp saddr ether . arp saddr ip @delegated4 accept",
            # A probe whether an address is free (RFC 5227), which the kernel answers for its own ones only.
            "iifname . arp saddr ether @senders arp saddr ip 0.0.0.0 accept",
        ),
    )
}


def _senders(interfaces: Iterable[InterfaceSpec]) -> Elements:
    return set_of("ifname . ether_addr", [f"{link(nic)} . {nic.mac}" for nic in interfaces])
