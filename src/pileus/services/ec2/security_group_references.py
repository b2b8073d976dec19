"""Security groups across VPCs: who refers to whom, what became stale, and which groups a VPC has."""

from typing import TYPE_CHECKING, Any

from pileus.operations.context import Context
from pileus.operations.listing import Listing
from pileus.operations.paging import Page
from pileus.operations.tags import tag_set
from pileus.records import SecurityGroup
from pileus.records.security_group import is_stale
from pileus.services.ec2.permissions import draw_permissions
from pileus.services.ec2.resources import SECURITY_GROUP, VPC
from pileus.services.ec2.service import ec2

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import (
        DescribeSecurityGroupReferencesRequestTypeDef,
        DescribeStaleSecurityGroupsRequestTypeDef,
        GetSecurityGroupsForVpcRequestTypeDef,
    )


@ec2.reads("DescribeSecurityGroupReferences", resources=("security-group:GroupId",))
def describe_references(context: Context, params: "DescribeSecurityGroupReferencesRequestTypeDef") -> dict[str, Any]:
    """The VPCs at the other end of a peering whose groups name one of the caller's."""
    found: list[dict[str, Any]] = []
    for group in SECURITY_GROUP.find(context, list(dict.fromkeys(params["GroupId"]))):
        ways = {
            (other.vpc_id, rule.peering_id): None
            for other in context.view.list(SecurityGroup, referenced=group.id)
            for rule in other.rules
            if rule.group_id == group.id and rule.peering_id is not None and not is_stale(context.view, rule)
        }
        found.extend(
            {"GroupId": group.id, "ReferencingVpcId": vpc_id, "VpcPeeringConnectionId": peering_id}
            for vpc_id, peering_id in ways
        )
    return {"SecurityGroupReferenceSet": found}


def _draw_stale(context: Context, group: SecurityGroup) -> dict[str, Any]:
    return {
        "GroupId": group.id,
        "GroupName": group.name,
        "Description": group.description,
        "VpcId": group.vpc_id,
        "StaleIpPermissions": _stale(context, group, egress=False),
        "StaleIpPermissionsEgress": _stale(context, group, egress=True),
    }


def _stale(context: Context, group: SecurityGroup, *, egress: bool) -> list[dict[str, Any]]:
    rules = (rule for rule in group.rules if rule.egress == egress and is_stale(context.view, rule))
    drawn = draw_permissions(context.view, rules)
    return [{name: value for name, value in one.items() if name != "Ipv6Ranges"} for one in drawn]


def _of_vpc(context: Context) -> list[SecurityGroup]:
    """The groups of the VPC that the call names. Raises NotFound, MalformedId."""
    vpc = VPC.one(context, context.call.params["VpcId"])
    return list(context.view.list(SecurityGroup, vpc_id=vpc.id))


STALE_GROUPS = Listing(
    kind=SecurityGroup,
    member="StaleSecurityGroupSet",
    draw=_draw_stale,
    cached=False,
    rows=lambda context: [
        group for group in _of_vpc(context) if any(is_stale(context.view, rule) for rule in group.rules)
    ],
    filters={},
    page=Page(least=5, most=255),
)


@ec2.reads("DescribeStaleSecurityGroups", resources=("vpc:VpcId",))
def describe_stale_security_groups(
    context: Context, params: "DescribeStaleSecurityGroupsRequestTypeDef"
) -> dict[str, Any]:
    """Rules with groups of VPCs that are not peers any more, or that are gone."""
    return STALE_GROUPS.answer(context, params)


GROUPS_FOR_VPC = Listing(
    kind=SecurityGroup,
    member="SecurityGroupForVpcs",
    draw=lambda _, group: {
        "Description": group.description,
        "GroupName": group.name,
        "OwnerId": group.account,
        "GroupId": group.id,
        "PrimaryVpcId": group.vpc_id,
        "Tags": tag_set(group.tags),
    },
    cached=False,
    rows=_of_vpc,
    filters={
        "group-id": lambda _, group: group.id,
        "description": lambda _, group: group.description,
        "group-name": lambda _, group: group.name,
        "owner-id": lambda _, group: group.account,
        "primary-vpc-id": lambda _, group: group.vpc_id,
    },
)


@ec2.reads("GetSecurityGroupsForVpc", resources=("vpc:VpcId",))
def get_security_groups_for_vpc(context: Context, params: "GetSecurityGroupsForVpcRequestTypeDef") -> dict[str, Any]:
    """The groups that interfaces in a VPC may have."""
    return GROUPS_FOR_VPC.answer(context, params)
