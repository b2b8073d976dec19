"""What a VPC's namespace lets pass and translates: the spec as nftables tables. Pure, and the same for equal specs.

A packet's way from guest to guest: ``antispoof`` (is it the tap's own MAC and address?), ``forward`` (is it tracked?),
the sender's egress chain, ``ingress``, the receiver's ingress chain. A group's rules stand once, however many
interfaces have the group; an interface is one element in each of a few maps.
"""

import hashlib
import ipaddress
from collections.abc import Iterable, Iterator

from pileus.drivers.network.linux.names import EDGE_LINK, METADATA, METADATA_PORT, TAP_PREFIX, resolvers, tap_name
from pileus.drivers.network.linux.nft import Chain, Elements, Table
from pileus.hostapi.network_spec import GroupSpec, InterfaceSpec, RuleSpec, VpcSpec

TABLE, ARP_TABLE = "inet vpc", "arp vpc"
_NUMBERS = {"1": "icmp", "6": "tcp", "17": "udp", "58": "icmpv6"}
_DHCP = "udp sport 68 udp dport 67"


def tables(vpc: VpcSpec) -> tuple[Table, Table]:
    """The VPC's filter and translation, and its filter of ARP."""
    return _packets(vpc), _arp(vpc)


def public_addresses(vpc: VpcSpec) -> dict[str, str]:
    """Public → private address, of the interfaces that may talk to the internet."""
    return {
        interface.public_address: interface.private_address
        for interface in vpc.interfaces
        if interface.public_address is not None and interface.to_internet
    }


def _packets(vpc: VpcSpec) -> Table:
    inward = public_addresses(vpc)
    unchecked = (nic for nic in vpc.interfaces if not nic.source_dest_check)
    known = frozenset(group.group_id for group in vpc.groups)
    return Table(
        name=TABLE,
        elements={
            "bindings": _bindings(vpc),
            "senders": _senders(vpc.interfaces),
            "unchecked": _senders(unchecked),
            "translated": Elements(declaration="type ipv4_addr", elements=dict.fromkeys(inward.values(), "")),
            "inward": Elements(declaration="type ipv4_addr : ipv4_addr", elements=inward),
            "outward": Elements(
                declaration="type ipv4_addr : ipv4_addr",
                elements={private: public for public, private in inward.items()},
            ),
            "egress": _verdicts(vpc.interfaces, "out", known),
            "ingress": _verdicts(vpc.interfaces, "in", known),
            **_members(vpc.groups),
        },
        chains={**_frame(vpc), **_group_chains(vpc.groups), **_union_chains(vpc.interfaces, known)},
    )


def _frame(vpc: VpcSpec) -> dict[str, Chain]:
    """The chains that are the same in every VPC."""
    dns = ", ".join(resolvers(vpc))
    return {
        "antispoof": Chain(
            hook="type filter hook prerouting priority raw; policy drop;",
            rules=(
                f'iifname {{ "lo", "{EDGE_LINK}" }} accept',
                "iifname . ether saddr . ip saddr @bindings accept",
                "meta nfproto ipv4 iifname . ether saddr @unchecked accept",
                f"iifname . ether saddr @senders ip saddr 0.0.0.0 ip daddr 255.255.255.255 {_DHCP} accept",
            ),
        ),
        # What the namespace itself offers to its guests. The source is checked once more, for here a guest whose
        # source_dest_check is off must not pass as another one.
        "input": Chain(
            hook="type filter hook input priority filter; policy drop;",
            rules=(
                f'iifname "{TAP_PREFIX}*" {_DHCP} accept',
                "iifname . ether saddr . ip saddr @bindings goto offered",
                f'iifname "{EDGE_LINK}" ct state established accept',  # what dnsmasq has asked beyond the edge
            ),
        ),
        "offered": Chain(
            rules=(
                f"ip daddr {{ {dns} }} meta l4proto {{ tcp, udp }} th dport 53 accept",
                f"ip daddr {METADATA} tcp dport {METADATA_PORT} accept",
            )
        ),
        "forward": Chain(
            hook="type filter hook forward priority filter; policy drop;",
            rules=(
                "ct state vmap { established : accept, related : accept, invalid : drop }",
                f'iifname "{EDGE_LINK}" ct status dnat goto arrive',
                "iifname vmap @egress",
            ),
        ),
        "arrive": Chain(rules=(f'oifname "{EDGE_LINK}" ip saddr @translated accept', "oifname vmap @ingress")),
        "translate_in": Chain(
            hook="type nat hook prerouting priority dstnat;",
            rules=(f'iifname "{EDGE_LINK}" dnat ip to ip daddr map @inward',),
        ),
        "translate_out": Chain(
            hook="type nat hook postrouting priority srcnat;",
            rules=(f'oifname "{EDGE_LINK}" snat ip to ip saddr map @outward',),
        ),
    }


def _arp(vpc: VpcSpec) -> Table:
    return Table(
        name=ARP_TABLE,
        elements={"bindings": _bindings(vpc), "senders": _senders(vpc.interfaces)},
        chains={
            "input": Chain(
                hook="type filter hook input priority filter; policy drop;",
                rules=(
                    "iifname . arp saddr ether . arp saddr ip @bindings accept",
                    # A probe whether an address is free (RFC 5227), which the kernel answers for its own ones only.
                    "iifname . arp saddr ether @senders arp saddr ip 0.0.0.0 accept",
                ),
            )
        },
    )


def _bindings(vpc: VpcSpec) -> Elements:
    return Elements(
        declaration="type ifname . ether_addr . ipv4_addr",
        elements={f'"{tap_name(nic.interface_id)}" . {nic.mac} . {nic.private_address}': "" for nic in vpc.interfaces},
    )


def _senders(interfaces: Iterable[InterfaceSpec]) -> Elements:
    return Elements(
        declaration="type ifname . ether_addr",
        elements={f'"{tap_name(nic.interface_id)}" . {nic.mac}': "" for nic in interfaces},
    )


def _verdicts(interfaces: Iterable[InterfaceSpec], direction: str, known: frozenset[str]) -> Elements:
    chains = {tap_name(nic.interface_id): _chain_of(_groups(nic, known), direction) for nic in interfaces}
    return Elements(
        declaration="type ifname : verdict",
        elements={f'"{tap}"': f"goto {chain}" for tap, chain in chains.items() if chain},
    )


def _groups(interface: InterfaceSpec, known: frozenset[str]) -> tuple[str, ...]:
    """The interface's groups in a fixed order. One that the spec does not describe lets nothing pass."""
    return tuple(sorted(known.intersection(interface.groups)))


def _chain_of(groups: tuple[str, ...], direction: str) -> str:
    """The chain for a union of groups: the group's own when it is one, "" when there is none."""
    if len(groups) < 2:
        return "".join(f"{direction}_{_word(group)}" for group in groups)
    return f"{direction}_all_{hashlib.sha256(' '.join(groups).encode()).hexdigest()[:16]}"


def _union_chains(interfaces: Iterable[InterfaceSpec], known: frozenset[str]) -> dict[str, Chain]:
    unions = sorted({groups for nic in interfaces if len(groups := _groups(nic, known)) > 1})
    return {
        _chain_of(groups, direction): Chain(rules=tuple(f"jump {direction}_{_word(group)}" for group in groups))
        for groups in unions
        for direction in ("out", "in")
    }


def _group_chains(groups: Iterable[GroupSpec]) -> dict[str, Chain]:
    chains: dict[str, Chain] = {}
    for group in groups:
        word = _word(group.group_id)
        chains[f"out_{word}"] = Chain(rules=tuple(_rules(group.egress, "daddr", "goto arrive")))
        chains[f"in_{word}"] = Chain(rules=tuple(_rules(group.ingress, "saddr", "accept")))
    return chains


def _members(groups: tuple[GroupSpec, ...]) -> dict[str, Elements]:
    """A set of addresses for every group that a rule refers to."""
    members = {group.group_id: group.members for group in groups}
    referred = {rule.group for group in groups for rule in (*group.ingress, *group.egress) if rule.group is not None}
    return {
        f"members_{_word(group)}": Elements(
            declaration="type ipv4_addr", elements={address: "" for address in members.get(group, ()) if "." in address}
        )
        for group in sorted(referred)
    }


def _rules(rules: Iterable[RuleSpec], peer: str, verdict: str) -> Iterator[str]:
    for rule in rules:
        match = _match(rule, peer)
        if match is not None:
            yield f"{match} {verdict}".lstrip()


def _match(rule: RuleSpec, peer: str) -> str | None:
    """The rule's condition; None for one that is about IPv6, which guests do not have."""
    protocol = _NUMBERS.get(rule.protocol, rule.protocol)
    if protocol == "icmpv6" or (rule.cidr is not None and ":" in rule.cidr):
        return None
    return " ".join(part for part in (_peer(rule, peer), _service(protocol, rule.from_port, rule.to_port)) if part)


def _peer(rule: RuleSpec, peer: str) -> str:
    if rule.group is not None:
        return f"ip {peer} @members_{_word(rule.group)}"
    network = ipaddress.IPv4Network(rule.cidr or "0.0.0.0/0", strict=False)
    return f"ip {peer} {network}" if network.prefixlen else ""


def _service(protocol: str, low: int, high: int) -> str:
    if protocol == "-1":
        return ""
    if protocol in ("tcp", "udp") and (low, high) != (-1, -1):
        return f"{protocol} dport {low}-{high}" if low != high else f"{protocol} dport {low}"
    if protocol == "icmp" and low != -1:
        return f"icmp type {low}" + (f" icmp code {high}" if high != -1 else "")
    return f"meta l4proto {protocol}"


def _word(resource_id: str) -> str:
    return resource_id.replace("-", "_")
