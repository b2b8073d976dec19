"""Retention rules: made, changed, listed and deleted."""

import secrets
import string
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from msgspec.structs import replace

from pileus.operations.context import Context
from pileus.operations.paging import Page, paginate
from pileus.operations.tags import parse_tags, tag_set
from pileus.records import RetentionRule
from pileus.services.rbin.errors import (
    ConflictException,
    ResourceNotFoundException,
    ServiceQuotaExceededException,
    ValidationException,
)
from pileus.services.rbin.service import rbin

MOST_RULES = 250
_MOST_DAYS = 365
_TYPES = frozenset({"EBS_SNAPSHOT", "EC2_IMAGE"})
_MOST_TAGS = {"ResourceTags": 50, "ExcludeResourceTags": 5}
_ALPHABET = string.ascii_letters + string.digits
_ID_LENGTH = 11
_PAGE = Page(least=1, most=1000)

Tags = tuple[tuple[str, str | None], ...]


def find_rule(context: Context, identifier: str) -> RetentionRule:
    """The caller's rule of this identifier. Raises ResourceNotFoundException."""
    rule = context.view.get(RetentionRule, identifier)
    if rule is None or (rule.account, rule.region) != (context.account, context.region):
        raise ResourceNotFoundException(f"The rule {identifier} does not exist.")
    return rule


def rule_arn(rule: RetentionRule) -> str:
    """A rule's ARN."""
    return f"arn:aws:rbin:{rule.region}:{rule.account}:rule/{rule.id}"


def lock_state(context: Context, rule: RetentionRule) -> Literal["locked", "pending_unlock", "unlocked"] | None:
    """Whether a rule is locked; None for one that never was."""
    if rule.unlock_delay is None:
        return None
    if rule.unlocks is None:
        return "locked"
    return "pending_unlock" if context.now < rule.unlocks else "unlocked"


def check_unlocked(context: Context, rule: RetentionRule) -> None:
    """Raises ConflictException for a rule that must not be changed."""
    if lock_state(context, rule) in {"locked", "pending_unlock"}:
        raise ConflictException(f"The rule {rule.id} is locked.")


def draw_rule(context: Context, rule: RetentionRule) -> dict[str, Any]:
    """A rule in the shape of most answers."""
    state = lock_state(context, rule)
    return {
        "Identifier": rule.id,
        "RuleArn": rule_arn(rule),
        "Description": rule.description,
        "ResourceType": rule.resource_type,
        "RetentionPeriod": {"RetentionPeriodValue": rule.days, "RetentionPeriodUnit": "DAYS"},
        "ResourceTags": _draw_tags(rule.resource_tags),
        "ExcludeResourceTags": _draw_tags(rule.excluded_tags),
        "Status": "available",
        "LockState": state,
        "LockEndTime": rule.unlocks if state == "pending_unlock" else None,
        "LockConfiguration": None if rule.unlock_delay is None else draw_delay(rule.unlock_delay),
    }


def draw_delay(days: int) -> dict[str, Any]:
    """An unlock delay."""
    return {"UnlockDelay": {"UnlockDelayValue": days, "UnlockDelayUnit": "DAYS"}}


def _draw_tags(tags: Tags) -> list[dict[str, str]]:
    return [{"ResourceTagKey": key, **({} if value is None else {"ResourceTagValue": value})} for key, value in tags]


def _tags(params: Mapping[str, Any], name: str) -> Tags:
    given: Sequence[Mapping[str, Any]] = params.get(name, ())
    if len(given) > _MOST_TAGS[name]:
        raise ValidationException(f"{name} may have at most {_MOST_TAGS[name]} tags.")
    return tuple((one["ResourceTagKey"], one.get("ResourceTagValue")) for one in given)


def _days(params: Mapping[str, Any]) -> int:
    period: Mapping[str, Any] = params["RetentionPeriod"]
    days, unit = period["RetentionPeriodValue"], period["RetentionPeriodUnit"]
    if unit != "DAYS" or not 1 <= days <= _MOST_DAYS:
        raise ValidationException(f"The retention period must be between 1 and {_MOST_DAYS} days.")
    return days


def delay_of(configuration: Mapping[str, Any]) -> int:
    """The days of a LockConfiguration. Raises ValidationException."""
    delay: Mapping[str, Any] = configuration["UnlockDelay"]
    days, unit = delay["UnlockDelayValue"], delay["UnlockDelayUnit"]
    if unit != "DAYS" or not 7 <= days <= 30:
        raise ValidationException("The unlock delay must be between 7 and 30 days.")
    return days


@rbin.writes("CreateRule")
def create_rule(context: Context, params: Mapping[str, Any]) -> dict[str, Any]:
    """A rule for resources with one of some tags, or for all but those with one of some others."""
    if params["ResourceType"] not in _TYPES:
        raise ValidationException(f"The resource type {params['ResourceType']} is not available in this cloud.")
    wanted, excluded = _tags(params, "ResourceTags"), _tags(params, "ExcludeResourceTags")
    if wanted and excluded:
        raise ValidationException("ResourceTags and ExcludeResourceTags can't be used together.")
    known = context.view.list(RetentionRule, account=context.account, region=context.region)
    if len(known) >= MOST_RULES:
        raise ServiceQuotaExceededException(f"There may be at most {MOST_RULES} rules.")
    lock = params.get("LockConfiguration")
    if lock and (wanted or excluded):
        raise ValidationException("Only a rule for all resources can be locked.")
    rule = context.tx.put(
        RetentionRule(
            id="".join(secrets.choice(_ALPHABET) for _ in range(_ID_LENGTH)),
            account=context.account,
            region=context.region,
            tags=parse_tags(params.get("Tags", ())),
            resource_type=params["ResourceType"],
            days=_days(params),
            created=context.now,
            description=params.get("Description", ""),
            resource_tags=wanted,
            excluded_tags=excluded,
            unlock_delay=delay_of(lock) if lock else None,
        )
    )
    return {**_without(draw_rule(context, rule), "LockEndTime"), "Tags": tag_set(rule.tags)}


def _without(drawn: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in drawn.items() if name not in names}


@rbin.reads("GetRule")
def get_rule(context: Context, params: Mapping[str, Any]) -> dict[str, Any]:
    """One rule."""
    return draw_rule(context, find_rule(context, params["Identifier"]))


@rbin.reads("ListRules")
def list_rules(context: Context, params: Mapping[str, Any]) -> dict[str, Any]:
    """The rules for one type of resource."""
    wanted, excluded = _tags(params, "ResourceTags"), _tags(params, "ExcludeResourceTags")
    mine = context.view.list(RetentionRule, account=context.account, region=context.region)
    found = [
        rule
        for rule in mine
        if rule.resource_type == params["ResourceType"]
        and _has(rule.resource_tags, wanted)
        and _has(rule.excluded_tags, excluded)
        and params.get("LockState") in {None, lock_state(context, rule)}
    ]
    page, token = paginate(context, params, found, _PAGE, lambda rule: rule.id)
    drawn = [
        _only(draw_rule(context, rule), "Identifier", "RuleArn", "Description", "RetentionPeriod", "LockState")
        for rule in page
    ]
    return {"Rules": drawn, **({"NextToken": token} if token else {})}


def _has(tags: Iterable[tuple[str, str | None]], wanted: Iterable[tuple[str, str | None]]) -> bool:
    return set(wanted) <= set(tags)


def _only(drawn: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: drawn[name] for name in names}


@rbin.writes("UpdateRule")
def update_rule(context: Context, params: Mapping[str, Any]) -> dict[str, Any]:
    """Changes a rule. What is in the bin stays as long as it was to stay."""
    rule = find_rule(context, params["Identifier"])
    check_unlocked(context, rule)
    if params.get("ResourceType", rule.resource_type) != rule.resource_type:
        raise ValidationException("The resource type of a rule can't be changed.")
    wanted = _tags(params, "ResourceTags") if "ResourceTags" in params else rule.resource_tags
    excluded = _tags(params, "ExcludeResourceTags") if "ExcludeResourceTags" in params else rule.excluded_tags
    if wanted and excluded:
        raise ValidationException("ResourceTags and ExcludeResourceTags can't be used together.")
    after = replace(
        rule,
        days=_days(params) if "RetentionPeriod" in params else rule.days,
        description=params.get("Description", rule.description),
        resource_tags=wanted,
        excluded_tags=excluded,
    )
    return _without(draw_rule(context, context.tx.put(after)), "LockConfiguration")


@rbin.writes("DeleteRule")
def delete_rule(context: Context, params: Mapping[str, Any]) -> dict[str, Any]:
    """Deletes a rule. What is in the bin stays as long as it was to stay."""
    rule = find_rule(context, params["Identifier"])
    check_unlocked(context, rule)
    context.tx.delete(rule)
    return {}
