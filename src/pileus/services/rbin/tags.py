"""Tags of rules."""

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from pileus.operations.context import Context
from pileus.operations.tags import merged, parse_tags, tag_set
from pileus.records import RetentionRule
from pileus.services.rbin.errors import ResourceNotFoundException
from pileus.services.rbin.rules import find_rule, rule_arn
from pileus.services.rbin.service import rbin


def _named(context: Context, arn: str) -> RetentionRule:
    rule = find_rule(context, arn.rpartition("/")[2])
    if rule_arn(rule) != arn:
        raise ResourceNotFoundException(f"The resource {arn} does not exist.")
    return rule


@rbin.reads("ListTagsForResource")
def list_tags_for_resource(context: Context, params: Mapping[str, Any]) -> dict[str, Any]:
    """The tags of a rule."""
    return {"Tags": tag_set(_named(context, params["ResourceArn"]).tags)}


@rbin.writes("TagResource")
def tag_resource(context: Context, params: Mapping[str, Any]) -> dict[str, Any]:
    """Sets tags of a rule."""
    rule = _named(context, params["ResourceArn"])
    context.tx.put(replace(rule, tags=merged(rule.tags, parse_tags(params["Tags"]))))
    return {}


@rbin.writes("UntagResource")
def untag_resource(context: Context, params: Mapping[str, Any]) -> dict[str, Any]:
    """Removes tags of a rule."""
    rule = _named(context, params["ResourceArn"])
    left = {key: value for key, value in rule.tags.items() if key not in params["TagKeys"]}
    context.tx.put(replace(rule, tags=left))
    return {}
