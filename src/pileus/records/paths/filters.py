"""Whether security groups and network ACLs let a packet pass, and by which of their rules."""

from collections.abc import Iterable, Iterator
from ipaddress import ip_address, ip_network

from pileus.records.network_acl import AclEntry, NetworkAcl
from pileus.records.network_interface import NetworkInterface
from pileus.records.paths.model import Direction, Packet
from pileus.records.prefix_list import PrefixList
from pileus.records.routing import Lookup
from pileus.records.security_group import SecurityGroup, SecurityGroupRule, is_stale

_NUMBERS = {"tcp": "6", "udp": "17", "icmp": "1", "icmpv6": "58"}


def groups_of(view: Lookup, interface: NetworkInterface) -> list[SecurityGroup]:
    """The interface's groups."""
    return [group for name in interface.groups if (group := view.get(SecurityGroup, name)) is not None]


def rules_of(
    view: Lookup, groups: Iterable[SecurityGroup], direction: Direction
) -> Iterator[tuple[SecurityGroup, SecurityGroupRule]]:
    """Their rules for a direction, without those that name a group which is gone or out of reach."""
    for group in groups:
        for rule in group.rules:
            if rule.egress == (direction == "egress") and not is_stale(view, rule):
                yield group, rule


def passing_rule(
    view: Lookup, interface: NetworkInterface, packet: Packet, direction: Direction
) -> tuple[SecurityGroup, SecurityGroupRule] | None:
    """The first rule of the interface's groups that lets the packet pass, with its group."""
    peer = packet.destination if direction == "egress" else packet.source
    for group, rule in rules_of(view, groups_of(view, interface), direction):
        if _is_service(rule, packet) and _is_peer(view, rule, peer):
            return group, rule
    return None


def _is_service(rule: SecurityGroupRule, packet: Packet) -> bool:
    if rule.protocol == "-1":
        return True
    if _number(rule.protocol) != _number(packet.protocol):
        return False
    return rule.from_port == -1 or rule.from_port <= packet.destination_port <= rule.to_port


def _number(protocol: str) -> str:
    return _NUMBERS.get(protocol, protocol)


def _is_peer(view: Lookup, rule: SecurityGroupRule, address: str) -> bool:
    if rule.group_id is not None:
        return _is_member(view, rule.group_id, address)
    if rule.prefix_list_id is not None:
        prefix_list = view.get(PrefixList, rule.prefix_list_id)
        return prefix_list is not None and any(is_in(address, cidr) for cidr in prefix_list.cidrs)
    return rule.cidr is not None and is_in(address, rule.cidr)


def _is_member(view: Lookup, group_id: str, address: str) -> bool:
    """Whether it is a private address of somebody in the group; public ones never are."""
    return any(
        owns(interface, address)
        for interface in view.list(NetworkInterface, groups=group_id)
        if interface.attachment or interface.requester_id
    )


def deciding_entry(acl: NetworkAcl, packet: Packet, direction: Direction) -> AclEntry | None:
    """The first entry that matches the packet, whatever its action; None where none does, which denies it."""
    peer = packet.destination if direction == "egress" else packet.source
    for entry in sorted(acl.entries, key=lambda entry: entry.number):
        if entry.egress != (direction == "egress") or entry.cidr is None or not is_in(peer, entry.cidr):
            continue
        if entry.protocol == "-1" or (
            _number(entry.protocol) == _number(packet.protocol)
            and (entry.from_port == -1 or entry.from_port <= packet.destination_port <= entry.to_port)
        ):
            return entry
    return None


def is_in(address: str, cidr: str) -> bool:
    """Whether an address is in a CIDR; one of the other version of IP never is."""
    return ip_address(address) in ip_network(cidr, strict=False)


def owns(interface: NetworkInterface, address: str) -> bool:
    """Whether it is one of the interface's own private addresses, delegated prefixes included."""
    return address in interface.private_addresses or any(is_in(address, cidr) for cidr in interface.ipv4_prefixes)
