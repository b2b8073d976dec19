"""Network access control lists: making, listing and deleting them, and which subnets they stand before."""

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from pileus.base.ids import new_id
from pileus.operations.context import Context
from pileus.operations.listing import Listing
from pileus.operations.tags import tag_set, tags_for
from pileus.records import NetworkAcl
from pileus.records.network_acl import AclAssociation, AclEntry, entry_order
from pileus.services.ec2.defaults import closing_entries
from pileus.services.ec2.errors import DependencyViolation, InvalidParameterValue, MalformedId, NotFound
from pileus.services.ec2.network_acl_entries import draw_entry, has_ports, has_type
from pileus.services.ec2.resources import NETWORK_ACL, VPC
from pileus.services.ec2.service import ec2
from pileus.services.ec2.vpc_quotas import NETWORK_ACLS_PER_VPC

if TYPE_CHECKING:
    from collections.abc import Sequence

    from types_boto3_ec2.type_defs import (
        CreateNetworkAclRequestTypeDef,
        DeleteNetworkAclRequestTypeDef,
        DescribeNetworkAclsRequestTypeDef,
        ReplaceNetworkAclAssociationRequestTypeDef,
    )

_NAMES = {"1": "icmp", "6": "tcp", "17": "udp"}


def _draw(_: Context, acl: NetworkAcl) -> dict[str, Any]:
    return {
        "NetworkAclId": acl.id,
        "VpcId": acl.vpc_id,
        "OwnerId": acl.account,
        "IsDefault": acl.is_default,
        "Entries": [draw_entry(entry) for entry in sorted(acl.entries, key=entry_order)],
        "Associations": [
            {
                "NetworkAclAssociationId": association.id,
                "NetworkAclId": acl.id,
                "SubnetId": association.subnet_id,
            }
            for association in acl.associations
        ],
        "Tags": tag_set(acl.tags),
    }


def _protocol_texts(entry: AclEntry) -> "Sequence[str]":
    """A protocol as filters may name it."""
    name = _NAMES.get(entry.protocol)
    return (entry.protocol,) if name is None else (entry.protocol, name)


NETWORK_ACLS = Listing(
    kind=NetworkAcl,
    member="NetworkAcls",
    draw=_draw,
    ids="NetworkAclIds",
    find=NETWORK_ACL.find,
    filters={
        "association.association-id": lambda _, acl: [association.id for association in acl.associations],
        "association.network-acl-id": lambda _, acl: [acl.id for _ in acl.associations],
        "association.subnet-id": lambda _, acl: [association.subnet_id for association in acl.associations],
        "default": lambda _, acl: acl.is_default,
        "entry.cidr": lambda _, acl: [entry.cidr for entry in acl.entries if entry.cidr],
        "entry.egress": lambda _, acl: [str(entry.egress).lower() for entry in acl.entries],
        "entry.icmp.code": lambda _, acl: [str(entry.to_port) for entry in acl.entries if has_type(entry)],
        "entry.icmp.type": lambda _, acl: [str(entry.from_port) for entry in acl.entries if has_type(entry)],
        "entry.ipv6-cidr": lambda _, acl: [entry.cidr6 for entry in acl.entries if entry.cidr6],
        "entry.port-range.from": lambda _, acl: [str(entry.from_port) for entry in acl.entries if has_ports(entry)],
        "entry.port-range.to": lambda _, acl: [str(entry.to_port) for entry in acl.entries if has_ports(entry)],
        "entry.protocol": lambda _, acl: [text for entry in acl.entries for text in _protocol_texts(entry)],
        "entry.rule-action": lambda _, acl: [entry.action for entry in acl.entries],
        "entry.rule-number": lambda _, acl: [str(entry.number) for entry in acl.entries],
        "network-acl-id": lambda _, acl: acl.id,
        "owner-id": lambda _, acl: acl.account,
        "vpc-id": lambda _, acl: acl.vpc_id,
    },
)


@ec2.reads("DescribeNetworkAcls")
def describe_network_acls(context: Context, params: "DescribeNetworkAclsRequestTypeDef") -> dict[str, Any]:
    """The caller's network ACLs."""
    return NETWORK_ACLS.answer(context, params)


@ec2.writes("CreateNetworkAcl", resources=("network-acl:*", "vpc:VpcId"), idempotent=True, taggable=("network-acl",))
def create_network_acl(context: Context, params: "CreateNetworkAclRequestTypeDef") -> dict[str, Any]:
    """A list that denies everything, and stands before no subnet yet."""
    vpc = VPC.one(context, params["VpcId"])
    NETWORK_ACLS_PER_VPC.check(len(context.view.list(NetworkAcl, vpc_id=vpc.id)))
    acl = context.tx.put(
        NetworkAcl(
            id=new_id("acl"),
            account=context.account,
            region=context.region,
            vpc_id=vpc.id,
            is_default=False,
            entries=tuple(closing_entries(ipv6=bool(vpc.ipv6_blocks))),
            tags=tags_for(params, "network-acl"),
        )
    )
    return {"NetworkAcl": _draw(context, acl), "ClientToken": params.get("ClientToken")}


@ec2.writes("DeleteNetworkAcl", resources=("network-acl:NetworkAclId",))
def delete_network_acl(context: Context, params: "DeleteNetworkAclRequestTypeDef") -> dict[str, Any]:
    """Removes a list that stands before no subnet. The default one goes with its VPC."""
    acl = NETWORK_ACL.one(context, params["NetworkAclId"])
    if acl.is_default:
        raise InvalidParameterValue(f"cannot delete default network ACL {acl.id}")
    if acl.associations:
        raise DependencyViolation(f"The networkAcl '{acl.id}' has dependencies and cannot be deleted.")
    context.tx.delete(acl)
    return {}


@ec2.writes("ReplaceNetworkAclAssociation", resources=("network-acl:NetworkAclId",))
def replace_network_acl_association(
    context: Context, params: "ReplaceNetworkAclAssociationRequestTypeDef"
) -> dict[str, Any]:
    """Puts another list before a subnet, and the association gets another id. The same list again changes nothing."""
    acl = NETWORK_ACL.one(context, params["NetworkAclId"])
    before, association = _associated(context, params["AssociationId"])
    if before.vpc_id != acl.vpc_id:
        raise InvalidParameterValue(
            f"The networkAcl '{acl.id}' and the subnet '{association.subnet_id}' belong to different networks."
        )
    if before.id == acl.id:
        return {"NewAssociationId": association.id}
    new = replace(association, id=new_id("aclassoc"))
    context.tx.put(replace(before, associations=tuple(one for one in before.associations if one != association)))
    context.tx.put(replace(acl, associations=(*acl.associations, new)))
    return {"NewAssociationId": new.id}


def _associated(context: Context, id_: str) -> tuple[NetworkAcl, AclAssociation]:
    """The association of this id and its list. Raises MalformedId, NotFound."""
    if not id_.startswith("aclassoc-"):
        raise MalformedId(f'Invalid id: "{id_}" (expecting "aclassoc-...")', code="InvalidAssociationID.Malformed")
    for acl in context.view.list(NetworkAcl, association_ids=id_, account=context.account, region=context.region):
        for association in acl.associations:
            if association.id == id_:
                return acl, association
    raise NotFound(f"The association ID '{id_}' does not exist", code="InvalidAssociationID.NotFound")
