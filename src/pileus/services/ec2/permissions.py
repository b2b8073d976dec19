"""Permissions of security groups: the request's and the answer's nested form, and rules, one peer each.

See https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_IpPermission.html.
"""

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from ipaddress import IPv4Network, IPv6Network
from typing import Any, Protocol

from pileus.base.ids import new_id
from pileus.operations.tags import tag_set
from pileus.records import SecurityGroup
from pileus.records.routing import Lookup
from pileus.records.security_group import SecurityGroupRule, peering_status
from pileus.services.ec2.arns import arn
from pileus.services.ec2.errors import InvalidParameterCombination, InvalidParameterValue, MissingParameter

_NAMED = {"1": "icmp", "6": "tcp", "17": "udp", "58": "icmpv6"}
_PORTS = frozenset({"tcp", "udp"})
_ICMP = frozenset({"icmp", "icmpv6"})
_MAX_PROTOCOL = 255
_MAX_PORT = 65535


class FindPeers(Protocol):
    """Finds what permissions name as peers; see ``permission_peers.Peers``."""

    def group(self, pair: Mapping[str, Any]) -> dict[str, str]:
        """The fields of a rule whose peer is the group that a UserIdGroupPair names."""
        ...

    def prefix_list(self, id_: str | None) -> str:
        """The id of a prefix list that is there."""
        ...


def canonical_protocol(text: str | None) -> str:
    """``tcp``, ``udp``, ``icmp``, ``icmpv6``, ``-1`` or a number. Raises InvalidParameterValue."""
    if not text:
        raise MissingParameter("ipProtocol")
    protocol = _NAMED.get(text.lower(), text.lower())
    if protocol == "all":
        return "-1"
    if protocol in _PORTS or protocol in _ICMP or protocol == "-1":
        return protocol
    if protocol.isascii() and protocol.isdecimal() and int(protocol) <= _MAX_PROTOCOL:
        return str(int(protocol))
    raise InvalidParameterValue(f"Invalid value '{text}' for IP protocol. Unknown protocol.")


def canonical_ports(protocol: str, first: int | None, last: int | None) -> tuple[int, int]:
    """The port range (ICMP: type and code) of a rule; (-1, -1) where the protocol has none.

    Raises:
        InvalidParameterValue: a bound is missing, out of range, or they are the wrong way round.
    """
    if protocol in _PORTS:
        if first is None or last is None:
            raise InvalidParameterValue(
                "Invalid value 'Must specify both from and to ports with TCP/UDP.' for portRange."
            )
        for port in (first, last):
            if not 0 <= port <= _MAX_PORT:
                raise InvalidParameterValue(
                    f"Invalid value '{port}' for portRange. TCP/UDP port ({port}) out of range."
                )
        if first > last:
            raise InvalidParameterValue(
                f"Invalid value '{first}-{last}' for portRange. Invalid TCP/UDP port range ({first}:{last})"
            )
        return first, last
    if protocol in _ICMP:
        kind, code = -1 if first is None else first, -1 if last is None else last
        if not (-1 <= kind <= 255 and -1 <= code <= 255):
            raise InvalidParameterValue(f"Invalid value '{kind}:{code}' for ICMP type/code.")
        if kind == -1 and code != -1:
            raise InvalidParameterValue("Invalid value for ICMP code: ICMP code must be -1 when the type is -1.")
        return kind, code
    return -1, -1


def canonical_cidr(text: str) -> str:
    """An IPv4 CIDR with its host bits cleared, as EC2 keeps it. Raises InvalidParameterValue."""
    return _canonical(text, IPv4Network)


def canonical_cidr6(text: str) -> str:
    """The same for IPv6."""
    return _canonical(text, IPv6Network)


def _canonical(text: str, network: type[IPv4Network | IPv6Network]) -> str:
    length = text.partition("/")[2]
    if length.isascii() and length.isdecimal():
        with suppress(ValueError):
            return str(network(text, strict=False))
    raise InvalidParameterValue(f"CIDR block {text} is malformed")


_DESCRIPTION = re.compile(r"[A-Za-z0-9. _\-:/()#,@\[\]+=&;{}!$*]{0,255}")


def check_description(text: str | None) -> str | None:
    """A rule's description. Raises InvalidParameterValue when it is not one that EC2 takes."""
    if text is not None and not _DESCRIPTION.fullmatch(text):
        raise InvalidParameterValue(
            "Invalid rule description. Valid descriptions are strings less than 256 characters from the following set: "
            " a-zA-Z0-9. _-:/()#,@[]+=&;{}!$*"
        )
    return text or None


def parse_permissions(
    group: SecurityGroup,
    permissions: Iterable[Mapping[str, Any]],
    *,
    egress: bool,
    peers: FindPeers,
    tags: Mapping[str, str],
) -> list[SecurityGroupRule]:
    """The rules that a list of IpPermissions means, each with a fresh id."""
    rules: list[SecurityGroupRule] = []
    for permission in permissions:
        protocol = canonical_protocol(permission.get("IpProtocol"))
        first, last = canonical_ports(protocol, permission.get("FromPort"), permission.get("ToPort"))
        named = list(_peers(permission, peers))
        if not named:
            raise InvalidParameterCombination(
                "The request must contain at least one of: ipRanges, ipv6Ranges, prefixListIds, groups"
            )
        rules.extend(
            SecurityGroupRule(
                id=new_id("sgr"),
                account=group.account,
                region=group.region,
                egress=egress,
                protocol=protocol,
                from_port=first,
                to_port=last,
                tags=tags,
                **peer,
            )
            for peer in named
        )
    return rules


def _peers(permission: Mapping[str, Any], peers: FindPeers) -> Iterable[dict[str, Any]]:
    for entry in permission.get("IpRanges", ()):
        cidr = canonical_cidr(entry.get("CidrIp") or "")
        yield {"cidr": cidr, "description": check_description(entry.get("Description"))}
    for entry in permission.get("Ipv6Ranges", ()):
        cidr = canonical_cidr6(entry.get("CidrIpv6") or "")
        yield {"cidr6": cidr, "description": check_description(entry.get("Description"))}
    for entry in permission.get("UserIdGroupPairs", ()):
        yield {**peers.group(entry), "description": check_description(entry.get("Description"))}
    for entry in permission.get("PrefixListIds", ()):
        prefix_list = peers.prefix_list(entry.get("PrefixListId"))
        yield {"prefix_list_id": prefix_list, "description": check_description(entry.get("Description"))}


def draw_permissions(view: Lookup, rules: Iterable[SecurityGroupRule]) -> list[dict[str, Any]]:
    """Rules in the nested form, those of one protocol and port range together."""
    grouped: dict[tuple[str, int, int], dict[str, Any]] = {}
    for rule in rules:
        permission = grouped.setdefault((rule.protocol, rule.from_port, rule.to_port), _permission(rule))
        described = {"Description": rule.description} if rule.description else {}
        if rule.cidr:
            permission["IpRanges"].append({"CidrIp": rule.cidr, **described})
        elif rule.cidr6:
            permission["Ipv6Ranges"].append({"CidrIpv6": rule.cidr6, **described})
        elif rule.group_id:
            permission["UserIdGroupPairs"].append({**draw_peer_group(view, rule), **described})
        elif rule.prefix_list_id:
            permission["PrefixListIds"].append({"PrefixListId": rule.prefix_list_id, **described})
    return list(grouped.values())


def draw_peer_group(view: Lookup, rule: SecurityGroupRule) -> dict[str, Any]:
    """The group that a rule names: its owner and, if it is in another VPC, the way there."""
    group = {"GroupId": rule.group_id, "UserId": rule.group_account}
    status = peering_status(view, rule)
    if status is None:
        return group
    return {
        **group,
        "VpcId": rule.group_vpc_id,
        "VpcPeeringConnectionId": rule.peering_id,
        "PeeringStatus": status,
    }


def _permission(rule: SecurityGroupRule) -> dict[str, Any]:
    permission: dict[str, Any] = {
        "IpProtocol": rule.protocol,
        "IpRanges": [],
        "Ipv6Ranges": [],
        "UserIdGroupPairs": [],
        "PrefixListIds": [],
    }
    if rule.protocol in _PORTS or rule.protocol in _ICMP:
        permission |= {"FromPort": rule.from_port, "ToPort": rule.to_port}
    return permission


def draw_rule(view: Lookup, group: SecurityGroup, rule: SecurityGroupRule) -> dict[str, Any]:
    """A rule by itself, as DescribeSecurityGroupRules has it."""
    return {
        "SecurityGroupRuleId": rule.id,
        "SecurityGroupRuleArn": arn(rule, "security-group-rule"),
        "GroupId": group.id,
        "GroupOwnerId": group.account,
        "IsEgress": rule.egress,
        "IpProtocol": rule.protocol,
        "FromPort": rule.from_port,
        "ToPort": rule.to_port,
        "CidrIpv4": rule.cidr,
        "CidrIpv6": rule.cidr6,
        "PrefixListId": rule.prefix_list_id,
        "ReferencedGroupInfo": draw_peer_group(view, rule) if rule.group_id else None,
        "Description": rule.description,
        "Tags": tag_set(rule.tags),
    }


def spelled(rule: SecurityGroupRule) -> str:
    """A rule as error messages of EC2 spell it."""
    peer = rule.cidr or rule.cidr6 or rule.group_id or rule.prefix_list_id
    if rule.protocol == "-1":
        return f"peer: {peer}, ALL, ALLOW"
    return f"peer: {peer}, {rule.protocol.upper()}, from port: {rule.from_port}, to port: {rule.to_port}, ALLOW"
