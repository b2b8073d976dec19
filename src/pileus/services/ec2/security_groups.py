"""Security groups: making, listing and deleting them."""

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from pileus.base.errors import ServiceError
from pileus.base.ids import new_id
from pileus.operations.context import Context
from pileus.operations.listing import Listing
from pileus.operations.tags import tag_set, tags_for
from pileus.records import NetworkInterface, SecurityGroup, Vpc
from pileus.records.security_group import SecurityGroupRule, group_name_scope
from pileus.services.ec2.arns import arn
from pileus.services.ec2.defaults import default_egress
from pileus.services.ec2.errors import (
    DependencyViolation,
    Duplicate,
    InvalidParameterValue,
    MissingParameter,
    NotFound,
)
from pileus.services.ec2.permissions import draw_permissions
from pileus.services.ec2.resources import SECURITY_GROUP, VPC
from pileus.services.ec2.service import ec2
from pileus.services.ec2.vpc_quotas import SECURITY_GROUPS as SECURITY_GROUPS_QUOTA
from pileus.store import ClaimTaken

if TYPE_CHECKING:
    from collections.abc import Callable

    from types_boto3_ec2.type_defs import (
        CreateSecurityGroupRequestTypeDef,
        DeleteSecurityGroupRequestTypeDef,
        DescribeSecurityGroupsRequestTypeDef,
    )

    from pileus.operations.filters import Value

_NAME = re.compile(r"[A-Za-z0-9 ._\-:/()#,@\[\]+=&;{}!$*]{1,255}")


class CannotDelete(ServiceError):
    """The default group stays as long as its VPC."""

    code = "CannotDelete"


class VpcIdNotSpecified(ServiceError):
    """No VPC is named, and there is no default one."""

    code = "VPCIdNotSpecified"


def default_vpc(context: Context) -> Vpc:
    """The caller's default VPC. Raises VpcIdNotSpecified."""
    for vpc in context.view.list(Vpc, account=context.account, region=context.region):
        if vpc.is_default:
            return vpc
    raise VpcIdNotSpecified("No default VPC for this user")


def group_named(context: Context, name: str, vpc_id: str) -> SecurityGroup:
    """The caller's group of this name in a VPC. Raises InvalidGroup.NotFound."""
    for group in context.view.list(SecurityGroup, vpc_id=vpc_id, name=name):
        if group.account == context.account:
            return group
    raise NotFound(f"The security group '{name}' does not exist in VPC '{vpc_id}'", code="InvalidGroup.NotFound")


def group_of(context: Context, params: Mapping[str, Any]) -> SecurityGroup:
    """The group that a call names by GroupId, or in the default VPC by GroupName."""
    if params.get("GroupId"):
        return SECURITY_GROUP.one(context, params["GroupId"])
    if params.get("GroupName"):
        return _default_group_named(context, params["GroupName"])
    raise MissingParameter("groupName or groupId")


def _draw(context: Context, group: SecurityGroup) -> dict[str, Any]:
    return {
        "GroupId": group.id,
        "GroupName": group.name,
        "Description": group.description,
        "OwnerId": group.account,
        "VpcId": group.vpc_id,
        "SecurityGroupArn": arn(group, "security-group"),
        "IpPermissions": draw_permissions(context.view, (rule for rule in group.rules if not rule.egress)),
        "IpPermissionsEgress": draw_permissions(context.view, (rule for rule in group.rules if rule.egress)),
        "Tags": tag_set(group.tags),
    }


def _rules(
    pick: "Callable[[SecurityGroupRule], str | None]", *, egress: bool
) -> "Callable[[Context, SecurityGroup], Value]":
    """A filter field over the rules of one direction."""
    return lambda _, group: [
        text for rule in group.rules if rule.egress == egress for text in [pick(rule)] if text is not None
    ]


def _peer_names(context: Context, rules: Iterable[SecurityGroupRule]) -> list[str]:
    peers = (context.view.get(SecurityGroup, rule.group_id) for rule in rules if rule.group_id)
    return [peer.name for peer in peers if peer]


_RULE_FIELDS: "Mapping[str, Callable[[SecurityGroupRule], str | None]]" = {
    "cidr": lambda rule: rule.cidr,
    "from-port": lambda rule: str(rule.from_port),
    "group-id": lambda rule: rule.group_id,
    "ipv6-cidr": lambda rule: rule.cidr6,
    "prefix-list-id": lambda rule: rule.prefix_list_id,
    "protocol": lambda rule: rule.protocol,
    "to-port": lambda rule: str(rule.to_port),
    "user-id": lambda rule: rule.group_account,
}

SECURITY_GROUPS = Listing(
    kind=SecurityGroup,
    member="SecurityGroups",
    draw=_draw,
    cached=lambda group: all(rule.peering_id is None for rule in group.rules),
    ids="GroupIds",
    find=SECURITY_GROUP.find,
    exclusive=True,
    filters={
        "description": lambda _, group: group.description,
        "group-id": lambda _, group: group.id,
        "group-name": lambda _, group: group.name,
        "owner-id": lambda _, group: group.account,
        "vpc-id": lambda _, group: group.vpc_id,
        **{f"ip-permission.{name}": _rules(pick, egress=False) for name, pick in _RULE_FIELDS.items()},
        **{f"egress.ip-permission.{name}": _rules(pick, egress=True) for name, pick in _RULE_FIELDS.items()},
        "ip-permission.group-name": lambda c, group: _peer_names(c, (r for r in group.rules if not r.egress)),
        "egress.ip-permission.group-name": lambda c, group: _peer_names(c, (r for r in group.rules if r.egress)),
    },
)


@ec2.reads("DescribeSecurityGroups")
def describe_security_groups(context: Context, params: "DescribeSecurityGroupsRequestTypeDef") -> dict[str, Any]:
    """The caller's security groups."""
    named = [_default_group_named(context, name).id for name in params.get("GroupNames", ())]
    return SECURITY_GROUPS.answer(context, {**params, "GroupIds": [*params.get("GroupIds", ()), *named]})


def _default_group_named(context: Context, name: str) -> SecurityGroup:
    return group_named(context, name, default_vpc(context).id)


@ec2.writes("CreateSecurityGroup", resources=("security-group:*", "vpc:VpcId"), taggable=("security-group",))
def create_security_group(context: Context, params: "CreateSecurityGroupRequestTypeDef") -> dict[str, Any]:
    """A new group that lets everything out and nothing in."""
    name, description = params["GroupName"].rstrip(" "), params["Description"]
    _check_texts(name, description)
    vpc_id = params.get("VpcId")
    vpc = VPC.one(context, vpc_id) if vpc_id else default_vpc(context)
    SECURITY_GROUPS_QUOTA.check(len(context.view.list(SecurityGroup, account=context.account, region=context.region)))
    id_ = new_id("sg")
    try:
        context.tx.claim(group_name_scope(vpc.id), name, id_)
    except ClaimTaken as taken:
        raise Duplicate(
            f"The security group '{name}' already exists for VPC '{vpc.id}'", code="InvalidGroup.Duplicate"
        ) from taken
    group = context.tx.put(
        SecurityGroup(
            id=id_,
            account=context.account,
            region=context.region,
            vpc_id=vpc.id,
            name=name,
            description=description,
            rules=default_egress(vpc),
            tags=tags_for(params, "security-group"),
        )
    )
    return {"GroupId": group.id, "SecurityGroupArn": arn(group, "security-group"), "Tags": tag_set(group.tags)}


def _check_texts(name: str, description: str) -> None:
    if name == "default":
        raise InvalidParameterValue("Cannot use reserved security group name: default")
    if name.startswith("sg-"):
        raise InvalidParameterValue(
            f"Value ({name}) for parameter GroupName is invalid. Group names may not be in the format sg-*"
        )
    if not _NAME.fullmatch(name):
        raise InvalidParameterValue(
            f"Value ({name}) for parameter GroupName is invalid. Character sets beyond ASCII are not supported, "
            "or it is empty or longer than 255 characters."
        )
    if not _NAME.fullmatch(description):
        raise InvalidParameterValue(
            f"Value ({description}) for parameter GroupDescription is invalid. Character sets beyond ASCII are not "
            "supported, or it is empty or longer than 255 characters."
        )


@ec2.writes("DeleteSecurityGroup", resources=("security-group:GroupId",))
def delete_security_group(context: Context, params: "DeleteSecurityGroupRequestTypeDef") -> dict[str, Any]:
    """Removes a group that nothing uses. Rules of groups in peer VPCs that name it become stale."""
    group = group_of(context, params)
    if group.name == "default":
        raise CannotDelete(f'the specified group: "{group.id}" name: "default" cannot be deleted by a user')
    referring = [
        other
        for other in context.view.list(SecurityGroup, referenced=group.id)
        if other.id != group.id and other.vpc_id == group.vpc_id
    ]
    if referring or context.view.list(NetworkInterface, groups=group.id):
        raise DependencyViolation(f"resource {group.id} has a dependent object")
    context.tx.release(group_name_scope(group.vpc_id), group.name)
    context.tx.delete(group)
    return {"Return": True, "GroupId": group.id}
