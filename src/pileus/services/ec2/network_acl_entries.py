"""The entries of network ACLs: adding, replacing and removing them."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from pileus.base.errors import ServiceError
from pileus.operations.context import Context
from pileus.records import NetworkAcl
from pileus.records.network_acl import AclEntry, entry_order
from pileus.services.ec2.errors import (
    InvalidParameterCombination,
    InvalidParameterValue,
    MissingParameter,
    NotFound,
)
from pileus.services.ec2.permissions import canonical_cidr, canonical_cidr6, canonical_ports, canonical_protocol
from pileus.services.ec2.resources import NETWORK_ACL
from pileus.services.ec2.service import ec2
from pileus.services.ec2.vpc_quotas import ACL_RULES_PER_DIRECTION

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import (
        CreateNetworkAclEntryRequestTypeDef,
        DeleteNetworkAclEntryRequestTypeDef,
        ReplaceNetworkAclEntryRequestTypeDef,
    )

MAX_NUMBER = 32766
_NUMBERS = {"icmp": "1", "tcp": "6", "udp": "17", "icmpv6": "58"}
_TCP_UDP = frozenset({"tcp", "udp"})


class EntryAlreadyExists(ServiceError):
    """The list has an entry of this number and direction."""

    code = "NetworkAclEntryAlreadyExists"


def _parsed(params: Mapping[str, Any]) -> AclEntry:
    """The entry that a call describes.

    Raises:
        MissingParameter: without a CIDR, a port range (TCP, UDP), or a type and code (ICMP).
        InvalidParameterValue, InvalidParameterCombination: it is not one that EC2 takes.
    """
    action = params["RuleAction"]
    if action not in {"allow", "deny"}:
        raise InvalidParameterValue(f"Value ({action}) for parameter ruleAction is invalid.")
    protocol = canonical_protocol(params["Protocol"])
    cidr, cidr6 = _cidrs(params)
    first, last = _range(protocol, params, ipv6=cidr6 is not None)
    return AclEntry(
        number=_number(params),
        egress=params["Egress"],
        action=action,
        protocol=_NUMBERS.get(protocol, protocol),
        cidr=cidr,
        cidr6=cidr6,
        from_port=first,
        to_port=last,
    )


def _number(params: Mapping[str, Any]) -> int:
    number = params["RuleNumber"]
    if not 1 <= number <= MAX_NUMBER:
        raise InvalidParameterValue(
            f"Value ({number}) for parameter ruleNumber is invalid. Expecting a value between 1 and {MAX_NUMBER}."
        )
    return number


def _cidrs(params: Mapping[str, Any]) -> tuple[str | None, str | None]:
    cidr, cidr6 = params.get("CidrBlock"), params.get("Ipv6CidrBlock")
    if cidr and cidr6:
        raise InvalidParameterCombination("The parameter cidrBlock cannot be used with the parameter ipv6CidrBlock")
    if cidr:
        return canonical_cidr(cidr), None
    if cidr6:
        return None, canonical_cidr6(cidr6)
    raise MissingParameter("cidrBlock or ipv6CidrBlock")


def _range(protocol: str, params: Mapping[str, Any], *, ipv6: bool) -> tuple[int, int]:
    if protocol in _TCP_UDP:
        ports: Mapping[str, Any] = params.get("PortRange") or {}
        if ports.get("From") is None or ports.get("To") is None:
            raise MissingParameter("portRange")
        return canonical_ports(protocol, ports["From"], ports["To"])
    if protocol == "icmp" or (protocol == "icmpv6" and ipv6):
        icmp: Mapping[str, Any] = params.get("IcmpTypeCode") or {}
        if icmp.get("Type") is None or icmp.get("Code") is None:
            raise MissingParameter("icmpTypeCode")
        return canonical_ports(protocol, icmp["Type"], icmp["Code"])
    return -1, -1


def _without(acl: NetworkAcl, number: int, *, egress: bool) -> tuple[AclEntry, ...]:
    """The list's other entries. Raises NotFound when it has none of this number and direction."""
    kept = tuple(entry for entry in acl.entries if (entry.number, entry.egress) != (number, egress))
    if len(kept) == len(acl.entries):
        raise NotFound(
            f"The network acl entry identified by {number} does not exist.", code="InvalidNetworkAclEntry.NotFound"
        )
    return kept


def _put(context: Context, acl: NetworkAcl, entries: Sequence[AclEntry], added: AclEntry | None = None) -> None:
    if added is not None:
        alike = [entry for entry in entries if entry.egress == added.egress and _family(entry) == _family(added)]
        ACL_RULES_PER_DIRECTION.check(len(alike))
        entries = [*entries, added]
    context.tx.put(replace(acl, entries=tuple(sorted(entries, key=entry_order))))


def _family(entry: AclEntry) -> int:
    return 4 if entry.cidr6 is None else 6


@ec2.writes("CreateNetworkAclEntry", resources=("network-acl:NetworkAclId",))
def create_network_acl_entry(context: Context, params: "CreateNetworkAclEntryRequestTypeDef") -> dict[str, Any]:
    """Adds an entry under a number that is free. The same one again changes nothing, as on EC2."""
    acl, entry = NETWORK_ACL.one(context, params["NetworkAclId"]), _parsed(params)
    if entry in acl.entries:
        return {}
    if any((one.number, one.egress) == (entry.number, entry.egress) for one in acl.entries):
        raise EntryAlreadyExists(f"The network acl entry identified by {entry.number} already exists.")
    _put(context, acl, acl.entries, entry)
    return {}


@ec2.writes("ReplaceNetworkAclEntry", resources=("network-acl:NetworkAclId",))
def replace_network_acl_entry(context: Context, params: "ReplaceNetworkAclEntryRequestTypeDef") -> dict[str, Any]:
    """Puts another entry in the place of one that is there."""
    acl, entry = NETWORK_ACL.one(context, params["NetworkAclId"]), _parsed(params)
    _put(context, acl, _without(acl, entry.number, egress=entry.egress), entry)
    return {}


@ec2.writes("DeleteNetworkAclEntry", resources=("network-acl:NetworkAclId",))
def delete_network_acl_entry(context: Context, params: "DeleteNetworkAclEntryRequestTypeDef") -> dict[str, Any]:
    """Removes an entry. The last one, which denies everything, can't be removed."""
    acl = NETWORK_ACL.one(context, params["NetworkAclId"])
    _put(context, acl, _without(acl, _number(params), egress=params["Egress"]))
    return {}


def draw_entry(entry: AclEntry) -> dict[str, Any]:
    """An entry as DescribeNetworkAcls has it."""
    return {
        "RuleNumber": entry.number,
        "Egress": entry.egress,
        "RuleAction": entry.action,
        "Protocol": entry.protocol,
        "CidrBlock": entry.cidr,
        "Ipv6CidrBlock": entry.cidr6,
        "PortRange": {"From": entry.from_port, "To": entry.to_port} if has_ports(entry) else None,
        "IcmpTypeCode": {"Type": entry.from_port, "Code": entry.to_port} if has_type(entry) else None,
    }


def has_ports(entry: AclEntry) -> bool:
    """Whether its range is one of ports."""
    return entry.protocol in {"6", "17"}


def has_type(entry: AclEntry) -> bool:
    """Whether its range is an ICMP type and code."""
    return entry.protocol == "1" or (entry.protocol == "58" and entry.cidr6 is not None)
