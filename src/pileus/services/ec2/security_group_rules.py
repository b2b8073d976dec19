"""The rules of security groups: adding, removing, changing and listing them."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from pileus.base.errors import ServiceError
from pileus.operations.context import Context
from pileus.operations.listing import Listing
from pileus.operations.tags import tags_for
from pileus.records import SecurityGroup, Vpc
from pileus.records.security_group import SecurityGroupRule, rule_weight
from pileus.services.ec2.errors import (
    InvalidParameterCombination,
    InvalidParameterValue,
    MalformedId,
    MissingParameter,
    NotFound,
)
from pileus.services.ec2.permission_peers import Peers
from pileus.services.ec2.permissions import (
    canonical_cidr,
    canonical_cidr6,
    canonical_ports,
    canonical_protocol,
    check_description,
    draw_permissions,
    draw_rule,
    parse_permissions,
    spelled,
)
from pileus.services.ec2.resources import SECURITY_GROUP
from pileus.services.ec2.security_groups import default_vpc, group_named, group_of
from pileus.services.ec2.service import ec2
from pileus.services.ec2.vpc_quotas import RULES_PER_GROUP

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import (
        AuthorizeSecurityGroupEgressRequestTypeDef,
        AuthorizeSecurityGroupIngressRequestTypeDef,
        DescribeSecurityGroupRulesRequestTypeDef,
        ModifySecurityGroupRulesRequestTypeDef,
        RevokeSecurityGroupEgressRequestTypeDef,
        RevokeSecurityGroupIngressRequestTypeDef,
        UpdateSecurityGroupRuleDescriptionsEgressRequestTypeDef,
        UpdateSecurityGroupRuleDescriptionsIngressRequestTypeDef,
    )

Rules = Sequence[SecurityGroupRule]


class InvalidPermissionDuplicate(ServiceError):
    """The group has the rule."""

    code = "InvalidPermission.Duplicate"


def _permissions(context: Context, params: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The call's IpPermissions, whether it gives them nested or flat."""
    nested = params.get("IpPermissions", ())
    flat = {name: params[name] for name in ("IpProtocol", "FromPort", "ToPort") if name in params}
    if params.get("CidrIp"):
        flat["IpRanges"] = [{"CidrIp": params["CidrIp"]}]
    if params.get("SourceSecurityGroupName"):
        peer = group_named(context, params["SourceSecurityGroupName"], default_vpc(context).id)
        flat["UserIdGroupPairs"] = [{"GroupId": peer.id, "UserId": params.get("SourceSecurityGroupOwnerId")}]
        # The flat form with a group and without a protocol means everything from that group.
        flat.setdefault("IpProtocol", "-1")
    if nested and flat:
        raise InvalidParameterCombination("The parameter ipPermissions cannot be used with the parameter ipProtocol")
    if not nested and not flat:
        raise MissingParameter("ipPermissions")
    return nested or [flat]


def _parsed(
    context: Context, group: SecurityGroup, params: Mapping[str, Any], *, egress: bool, present: bool = False
) -> Rules:
    """The rules that a call's permissions mean, with the tags that it gives."""
    return parse_permissions(
        group,
        _permissions(context, params),
        egress=egress,
        peers=Peers(context, group, present=present),
        tags=tags_for(params, "security-group-rule"),
    )


def _with_rules(context: Context, group: SecurityGroup, rules: Rules, new: Rules) -> SecurityGroup:
    """The group with these rules instead, of which some are new.

    Raises InvalidParameterValue, InvalidPermissionDuplicate, LimitExceeded.
    """
    named = {rule.match for rule in new}
    if len(named) < len(new):
        raise InvalidParameterValue("The same permission must not appear multiple times")
    fresh = {rule.id for rule in new}
    for rule in rules:
        if rule.id not in fresh and rule.match in named:
            raise InvalidPermissionDuplicate(f'the specified rule "{spelled(rule)}" already exists')
    for egress in (False, True):
        for family in (4, 6):
            before, after = (
                sum(rule_weight(context.view, rule, family) for rule in some if rule.egress == egress)
                for some in (group.rules, rules)
            )
            if after > before:
                RULES_PER_GROUP.check(before, after - before)
    return replace(group, rules=tuple(rules))


def _authorize(context: Context, params: Mapping[str, Any], *, egress: bool) -> dict[str, Any]:
    group = group_of(context, params)
    rules = _parsed(context, group, params, egress=egress)
    context.tx.put(_with_rules(context, group, (*group.rules, *rules), rules))
    return {"Return": True, "SecurityGroupRules": [draw_rule(context.view, group, rule) for rule in rules]}


@ec2.writes(
    "AuthorizeSecurityGroupIngress",
    resources=("security-group:GroupId", "security-group-rule:*"),
    taggable=("security-group-rule",),
)
def authorize_ingress(context: Context, params: "AuthorizeSecurityGroupIngressRequestTypeDef") -> dict[str, Any]:
    """Lets more in."""
    return _authorize(context, params, egress=False)


@ec2.writes(
    "AuthorizeSecurityGroupEgress",
    resources=("security-group:GroupId", "security-group-rule:*"),
    taggable=("security-group-rule",),
)
def authorize_egress(context: Context, params: "AuthorizeSecurityGroupEgressRequestTypeDef") -> dict[str, Any]:
    """Lets more out."""
    return _authorize(context, params, egress=True)


def _revoke(context: Context, params: Mapping[str, Any], *, egress: bool) -> dict[str, Any]:
    group = group_of(context, params)
    ids = params.get("SecurityGroupRuleIds")
    unknown: list[SecurityGroupRule] = []
    if ids:
        revoked = [_rule_of(group, id_, egress=egress) for id_ in dict.fromkeys(ids)]
    else:
        wanted = _parsed(context, group, params, egress=egress, present=True)
        by_match = {rule.match: rule for rule in group.rules}
        revoked = [by_match[rule.match] for rule in wanted if rule.match in by_match]
        unknown = [rule for rule in wanted if rule.match not in by_match]
    if unknown and not _in_default_vpc(context, group):
        raise _no_permission()
    gone = {rule.id for rule in revoked}
    if gone:
        context.tx.put(replace(group, rules=tuple(rule for rule in group.rules if rule.id not in gone)))
    return {
        "Return": True,
        "UnknownIpPermissions": draw_permissions(context.view, unknown),
        "RevokedSecurityGroupRules": [_draw_revoked(context, group, rule) for rule in revoked],
    }


def _no_permission() -> NotFound:
    return NotFound("The specified rule does not exist in this security group.", code="InvalidPermission.NotFound")


def _in_default_vpc(context: Context, group: SecurityGroup) -> bool:
    vpc = context.view.get(Vpc, group.vpc_id)
    return vpc is not None and vpc.is_default


def _rule_of(group: SecurityGroup, id_: str, *, egress: bool | None = None) -> SecurityGroupRule:
    _check_id(id_)
    for rule in group.rules:
        if rule.id == id_ and egress in {None, rule.egress}:
            return rule
    raise _no_rule(id_)


def _check_id(id_: str) -> None:
    if not id_.startswith("sgr-"):
        raise MalformedId(f'Invalid id: "{id_}" (expecting "sgr-...")', code="InvalidSecurityGroupRuleId.Malformed")


def _no_rule(id_: str) -> NotFound:
    return NotFound(f"The security group rule ID '{id_}' does not exist", code="InvalidSecurityGroupRuleId.NotFound")


def _draw_revoked(context: Context, group: SecurityGroup, rule: SecurityGroupRule) -> dict[str, Any]:
    drawn = draw_rule(context.view, group, rule)
    referenced = {"ReferencedGroupId": rule.group_id} if rule.group_id else {}
    kept = ("SecurityGroupRuleId", "GroupId", "IsEgress", "IpProtocol", "FromPort", "ToPort", "CidrIpv4", "CidrIpv6")
    return {**{name: drawn[name] for name in (*kept, "PrefixListId", "Description")}, **referenced}


@ec2.writes(
    "RevokeSecurityGroupIngress", resources=("security-group:GroupId", "security-group-rule:SecurityGroupRuleIds")
)
def revoke_ingress(context: Context, params: "RevokeSecurityGroupIngressRequestTypeDef") -> dict[str, Any]:
    """Lets less in. Connections that are open already go on, as on EC2."""
    return _revoke(context, params, egress=False)


@ec2.writes(
    "RevokeSecurityGroupEgress", resources=("security-group:GroupId", "security-group-rule:SecurityGroupRuleIds")
)
def revoke_egress(context: Context, params: "RevokeSecurityGroupEgressRequestTypeDef") -> dict[str, Any]:
    """Lets less out."""
    return _revoke(context, params, egress=True)


def _update_descriptions(context: Context, params: Mapping[str, Any], *, egress: bool) -> dict[str, Any]:
    """Gives rules other descriptions, or none, all or none of them. Ids and tags stay."""
    group = group_of(context, params)
    by_id = params.get("SecurityGroupRuleDescriptions", ())
    if by_id and params.get("IpPermissions"):
        raise InvalidParameterCombination(
            "The parameter ipPermissions cannot be used with the parameter securityGroupRuleDescriptions"
        )
    told: dict[str, str | None] = {}
    for one in by_id:
        rule = _rule_of(group, one.get("SecurityGroupRuleId") or "", egress=egress)
        told[rule.id] = check_description(one.get("Description"))
    if not by_id:
        present = {rule.match: rule.id for rule in group.rules}
        for wanted in _parsed(context, group, params, egress=egress, present=True):
            if wanted.match not in present:
                raise _no_permission()
            told[present[wanted.match]] = wanted.description
    rules = tuple(replace(rule, description=told[rule.id]) if rule.id in told else rule for rule in group.rules)
    context.tx.put(replace(group, rules=rules))
    return {"Return": True}


@ec2.writes("UpdateSecurityGroupRuleDescriptionsIngress", resources=("security-group:GroupId",))
def update_ingress_descriptions(
    context: Context, params: "UpdateSecurityGroupRuleDescriptionsIngressRequestTypeDef"
) -> dict[str, Any]:
    """Changes what rules say of themselves."""
    return _update_descriptions(context, params, egress=False)


@ec2.writes("UpdateSecurityGroupRuleDescriptionsEgress", resources=("security-group:GroupId",))
def update_egress_descriptions(
    context: Context, params: "UpdateSecurityGroupRuleDescriptionsEgressRequestTypeDef"
) -> dict[str, Any]:
    """The same for what goes out."""
    return _update_descriptions(context, params, egress=True)


@ec2.writes("ModifySecurityGroupRules", resources=("security-group:GroupId", "security-group-rule:SecurityGroupRules"))
def modify_rules(context: Context, params: "ModifySecurityGroupRulesRequestTypeDef") -> dict[str, Any]:
    """Replaces rules under their ids, all or none."""
    group = SECURITY_GROUP.one(context, params["GroupId"])
    changed: dict[str, SecurityGroupRule] = {}
    for update in params["SecurityGroupRules"]:
        rule = _rule_of(group, update["SecurityGroupRuleId"])
        changed[rule.id] = _modified(context, group, rule, update.get("SecurityGroupRule", {}))
    rules = [changed.get(rule.id, rule) for rule in group.rules]
    context.tx.put(_with_rules(context, group, rules, list(changed.values())))
    return {"Return": True}


_PEERS = ("CidrIpv4", "CidrIpv6", "ReferencedGroupId", "PrefixListId")


def _modified(
    context: Context, group: SecurityGroup, rule: SecurityGroupRule, wanted: Mapping[str, Any]
) -> SecurityGroupRule:
    peers = [name for name in _PEERS if wanted.get(name)]
    if len(peers) != 1:
        raise InvalidParameterCombination(f"Exactly one of {', '.join(_PEERS)} must be specified for rule {rule.id}")
    protocol = canonical_protocol(wanted.get("IpProtocol"))
    first, last = canonical_ports(protocol, wanted.get("FromPort"), wanted.get("ToPort"))
    return replace(
        rule,
        protocol=protocol,
        from_port=first,
        to_port=last,
        description=check_description(wanted.get("Description")),
        **{**_NO_PEER, **_peer(Peers(context, group), wanted)},
    )


_NO_PEER: Mapping[str, None] = dict.fromkeys(
    ("cidr", "cidr6", "group_id", "group_account", "group_vpc_id", "peering_id", "prefix_list_id")
)


def _peer(peers: Peers, wanted: Mapping[str, Any]) -> dict[str, str]:
    if wanted.get("CidrIpv4"):
        return {"cidr": canonical_cidr(wanted["CidrIpv4"])}
    if wanted.get("CidrIpv6"):
        return {"cidr6": canonical_cidr6(wanted["CidrIpv6"])}
    if wanted.get("PrefixListId"):
        return {"prefix_list_id": peers.prefix_list(wanted["PrefixListId"])}
    return peers.group({"GroupId": wanted["ReferencedGroupId"]})


def group_with_rule(context: Context, id_: str) -> SecurityGroup:
    """The caller's group that has the rule of this id. Raises InvalidSecurityGroupRuleId.Malformed, .NotFound."""
    _check_id(id_)
    for group in context.view.list(SecurityGroup, account=context.account, region=context.region, rule_ids=id_):
        return group
    raise _no_rule(id_)


def _find(context: Context, ids: Sequence[str]) -> list[SecurityGroupRule]:
    return [_rule_of(group_with_rule(context, id_), id_) for id_ in ids]


def _group_of_rule(context: Context, rule: SecurityGroupRule) -> SecurityGroup:
    return context.view.list(SecurityGroup, rule_ids=rule.id)[0]


RULES = Listing(
    kind=SecurityGroupRule,
    member="SecurityGroupRules",
    draw=lambda context, rule: draw_rule(context.view, _group_of_rule(context, rule), rule),
    cached=False,
    ids="SecurityGroupRuleIds",
    find=_find,
    exclusive=True,
    rows=lambda context: [
        rule
        for group in context.view.list(SecurityGroup, account=context.account, region=context.region)
        for rule in group.rules
    ],
    filters={
        "group-id": lambda context, rule: _group_of_rule(context, rule).id,
        "security-group-rule-id": lambda _, rule: rule.id,
    },
)


@ec2.reads("DescribeSecurityGroupRules")
def describe_rules(context: Context, params: "DescribeSecurityGroupRulesRequestTypeDef") -> dict[str, Any]:
    """The rules of the caller's groups."""
    return RULES.answer(context, params)
