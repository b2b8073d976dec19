"""Network access control lists."""

from typing import TYPE_CHECKING, Any

from pileus.operations.context import Context
from pileus.operations.filters import absent
from pileus.operations.listing import Listing
from pileus.operations.tags import tag_set
from pileus.records import NetworkAcl
from pileus.services.ec2.resources import NETWORK_ACL
from pileus.services.ec2.service import ec2

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import DescribeNetworkAclsRequestTypeDef


def _draw(_: Context, acl: NetworkAcl) -> dict[str, Any]:
    return {
        "NetworkAclId": acl.id,
        "VpcId": acl.vpc_id,
        "OwnerId": acl.account,
        "IsDefault": acl.is_default,
        "Entries": [
            {
                "RuleNumber": entry.number,
                "Egress": entry.egress,
                "RuleAction": entry.action,
                "Protocol": entry.protocol,
                "CidrBlock": entry.cidr,
            }
            for entry in acl.entries
        ],
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
        "entry.cidr": lambda _, acl: [entry.cidr for entry in acl.entries],
        "entry.egress": lambda _, acl: [str(entry.egress).lower() for entry in acl.entries],
        "entry.icmp.code": absent,
        "entry.icmp.type": absent,
        "entry.ipv6-cidr": absent,
        "entry.port-range.from": absent,
        "entry.port-range.to": absent,
        "entry.protocol": lambda _, acl: [entry.protocol for entry in acl.entries],
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
