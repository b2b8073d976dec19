"""Tags on whatever EC2 has: setting, removing and listing them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from pileus.operations.context import Context
from pileus.operations.filters import Field, compile_filters
from pileus.operations.paging import Page, paginate
from pileus.operations.tags import merged, parse_tags
from pileus.records import SecurityGroup
from pileus.records.tagged import Tagged
from pileus.services.ec2.errors import InvalidParameterValue, MalformedId
from pileus.services.ec2.peerings import accepted_here, retag_peering
from pileus.services.ec2.resources import PEERING, RESOURCES
from pileus.services.ec2.security_group_rules import group_with_rule
from pileus.services.ec2.service import ec2

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import (
        ClientCreateTagsRequestTypeDef,
        ClientDeleteTagsRequestTypeDef,
        DescribeTagsRequestTypeDef,
    )

Retag = Callable[[Mapping[str, str]], Mapping[str, str]]
"""The tags of a resource to what they shall be."""

_BY_PREFIX = {resource.prefix: resource for resource in RESOURCES}
_RULE_PREFIX = "sgr"


class InvalidID(MalformedId):
    """An id of nothing that has tags."""

    code = "InvalidID"


class TagEntry(msgspec.Struct, frozen=True):
    """One tag of one resource."""

    key: str
    resource_id: str
    resource_type: str
    value: str


def _retag(context: Context, ids: Iterable[str], retag: Retag) -> None:
    """Changes the tags of resources, all or none.

    Raises:
        InvalidID: one of them is no id of a taggable resource.
        NotFound: one of them is not there; the code is the resource's own.
    """
    for id_ in dict.fromkeys(ids):
        prefix = id_.partition("-")[0]
        if prefix == _RULE_PREFIX:
            _retag_rule(context, id_, retag)
            continue
        if prefix == PEERING.prefix:
            _retag_peering(context, id_, retag)
            continue
        record = _find(context, prefix, id_)
        context.tx.put(replace(record, tags=retag(record.tags)))


def _find(context: Context, prefix: str, id_: str) -> Tagged:
    resource = _BY_PREFIX.get(prefix)
    if resource is None:
        raise InvalidID(f"The ID '{id_}' is not valid")
    try:
        return resource.one(context, id_)
    except MalformedId as error:
        raise InvalidID(f"The ID '{id_}' is not valid") from error


def _retag_peering(context: Context, id_: str, retag: Retag) -> None:
    """Each side has tags of its own."""
    try:
        retag_peering(context, id_, retag)
    except MalformedId as error:
        raise InvalidID(f"The ID '{id_}' is not valid") from error


def _retag_rule(context: Context, id_: str, retag: Retag) -> None:
    group = group_with_rule(context, id_)
    rules = tuple(replace(rule, tags=retag(rule.tags)) if rule.id == id_ else rule for rule in group.rules)
    context.tx.put(replace(group, rules=rules))


@ec2.writes("CreateTags", resources=("*:Resources",))
def create_tags(context: Context, params: "ClientCreateTagsRequestTypeDef") -> dict[str, Any]:
    """Sets tags; those of the same key are replaced."""
    added = parse_tags(params["Tags"])
    if not added:
        raise InvalidParameterValue(
            "Value ( empty ) for parameter tagSet is invalid. You must specify one or more tags to create"
        )
    _retag(context, params["Resources"], lambda before: merged(before, added))
    return {}


@ec2.writes("DeleteTags", resources=("*:Resources",))
def delete_tags(context: Context, params: "ClientDeleteTagsRequestTypeDef") -> dict[str, Any]:
    """Removes tags by key, or by key and value where one is given; without any named, all of them."""
    named = params.get("Tags", ())
    keys = parse_tags(named)
    values = {tag.get("Key"): tag.get("Value") for tag in named if tag.get("Value") is not None}

    def without(before: Mapping[str, str]) -> Mapping[str, str]:
        if not keys:
            return {}
        return {key: value for key, value in before.items() if key not in keys or values.get(key, value) != value}

    _retag(context, params["Resources"], without)
    return {}


_FILTERS: Mapping[str, Field[TagEntry]] = {
    "key": lambda _, tag: tag.key,
    "resource-id": lambda _, tag: tag.resource_id,
    "resource-type": lambda _, tag: tag.resource_type,
    "value": lambda _, tag: tag.value,
}


def _under(key: str) -> Field[TagEntry]:
    """The field of the filter ``tag:KEY``."""
    return lambda _, tag: tag.value if tag.key == key else None


def _entries(context: Context) -> Iterable[TagEntry]:
    for resource in RESOURCES:
        for record in context.view.list(resource.kind, account=context.account, region=context.region):
            for key, value in record.tags.items():
                yield TagEntry(key, record.id, resource.type, value)
    for peering in accepted_here(context):
        for key, value in peering.accepter_tags.items():
            yield TagEntry(key, peering.id, PEERING.type, value)
    for group in context.view.list(SecurityGroup, account=context.account, region=context.region):
        for rule in group.rules:
            for key, value in rule.tags.items():
                yield TagEntry(key, rule.id, "security-group-rule", value)


def _order(tag: TagEntry) -> str:
    return f"{tag.resource_id}\0{tag.key}"


@ec2.reads("DescribeTags")
def describe_tags(context: Context, params: "DescribeTagsRequestTypeDef") -> dict[str, Any]:
    """The tags of the caller's resources, by resource and key."""
    filters: Sequence[Mapping[str, Any]] = params.get("Filters", ())
    names = (str(entry.get("Name", "")) for entry in filters)
    fields = {**_FILTERS, **{name: _under(name.removeprefix("tag:")) for name in names if name.startswith("tag:")}}
    predicates = compile_filters(filters, fields, tags=False)
    entries = [tag for tag in _entries(context) if all(holds(context, tag) for holds in predicates)]
    page, token = paginate(context, params, sorted(entries, key=_order), Page(), _order)
    result: dict[str, Any] = {
        "Tags": [
            {"Key": tag.key, "ResourceId": tag.resource_id, "ResourceType": tag.resource_type, "Value": tag.value}
            for tag in page
        ]
    }
    if token:
        result["NextToken"] = token
    return result
