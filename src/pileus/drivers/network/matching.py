"""Whether a packet matches the rules of groups and ACLs of a network spec. Part of the model in ``reachability``."""

from collections.abc import Iterable
from ipaddress import ip_address, ip_network
from typing import NamedTuple

from pileus.hostapi.network_spec import AclEntrySpec, InterfaceSpec, RuleSpec, SubnetSpec, VpcSpec

ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58
_NUMBERS = {"icmp": ICMP, "tcp": TCP, "udp": UDP, "icmpv6": ICMPV6}


class Packet(NamedTuple):
    """What rules look at. ``port`` is the destination port, or the ICMP type; the ICMP code is 0.

    ``back`` names the VPC that a gateway endpoint's answer belongs to, whose private addresses mean nothing elsewhere.
    """

    source: str
    destination: str
    protocol: int
    source_port: int
    port: int
    back: str = ""


def protocol_number(protocol: str) -> int:
    """The IANA number of a protocol that is named, or written as a number."""
    return _NUMBERS[protocol] if protocol in _NUMBERS else int(protocol)


def passes_groups(vpc: VpcSpec, interface: InterfaceSpec, packet: Packet, direction: str) -> bool:
    """Whether one rule of one of the interface's groups allows it."""
    peer = packet.source if direction == "ingress" else packet.destination
    return any(
        _is_peer(vpc, rule, peer) and _is_service(rule, packet)
        for group in vpc.groups
        if group.group_id in interface.groups
        for rule in (group.ingress if direction == "ingress" else group.egress)
    )


def passes_acl(vpc: VpcSpec, subnet: SubnetSpec, packet: Packet, direction: str) -> bool:
    """Whether the first entry of the subnet's ACL that matches allows it."""
    peer = packet.source if direction == "ingress" else packet.destination
    for acl in vpc.acls:
        if acl.acl_id == subnet.acl:
            for entry in acl.ingress if direction == "ingress" else acl.egress:
                if _is_in(peer, (entry.cidr,)) and _is_service(entry, packet):
                    return entry.allow
    return False


def _is_peer(vpc: VpcSpec, rule: RuleSpec, address: str) -> bool:
    if rule.group is not None:
        return any(_is_in(address, group.members) for group in vpc.groups if group.group_id == rule.group)
    if rule.prefix_list is not None:
        return any(_is_in(address, one.cidrs) for one in vpc.prefix_lists if one.prefix_list_id == rule.prefix_list)
    return rule.cidr is not None and _is_in(address, (rule.cidr,))


def _is_in(address: str, cidrs: Iterable[str]) -> bool:
    parsed = ip_address(address)
    networks = (ip_network(cidr, strict=False) for cidr in cidrs)
    return any(parsed.version == network.version and parsed in network for network in networks)


def _is_service(rule: RuleSpec | AclEntrySpec, packet: Packet) -> bool:
    if rule.protocol == "-1":
        return True
    number = protocol_number(rule.protocol)
    if number != packet.protocol:
        return False
    if number in (ICMP, ICMPV6):
        return rule.from_port in (-1, packet.port) and (rule.from_port == -1 or rule.to_port in (-1, 0))
    if number in (TCP, UDP) and (rule.from_port, rule.to_port) != (-1, -1):
        return rule.from_port <= packet.port <= rule.to_port
    return True
