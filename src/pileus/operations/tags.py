"""Tags: their rules, and TagSpecifications of creating operations.

See https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html#tag-restrictions.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pileus.base.errors import ServiceError

MAX_TAGS = 50
_MAX_KEY = 127
_MAX_VALUE = 256


class InvalidTag(ServiceError):
    """A tag key or value that EC2 does not take, or a resource type that the operation does not make."""

    code = "InvalidParameterValue"


class TagLimitExceeded(ServiceError):
    """More than fifty tags on one resource."""

    code = "TagLimitExceeded"


def parse_tags(tags: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """A list of ``{"Key", "Value"}`` as a mapping.

    Raises:
        InvalidTag: an empty, reserved (``aws:``), too long or repeated key, or a too long value.
    """
    parsed: dict[str, str] = {}
    for tag in tags:
        key, value = tag.get("Key") or "", tag.get("Value") or ""
        if not key:
            raise InvalidTag("Tag key cannot be null or empty.")
        if key.lower().startswith("aws:"):
            raise InvalidTag("Tag keys starting with 'aws:' are reserved for internal use")
        if len(key) > _MAX_KEY:
            raise InvalidTag(f"Tag key exceeds the maximum length of {_MAX_KEY} characters")
        if len(value) > _MAX_VALUE:
            raise InvalidTag(f"Tag value exceeds the maximum length of {_MAX_VALUE} characters")
        if key in parsed:
            raise InvalidTag(f"Duplicate tag key '{key}' specified.")
        parsed[key] = value
    return parsed


def merged(before: Mapping[str, str], added: Mapping[str, str]) -> dict[str, str]:
    """Tags after adding some. Raises TagLimitExceeded."""
    after = {**before, **added}
    if len(after) > MAX_TAGS:
        raise TagLimitExceeded(f"The maximum number of tags per resource is {MAX_TAGS}")
    return after


def check_specifications(params: Mapping[str, Any], allowed: Sequence[str]) -> None:
    """Refuses TagSpecifications of an operation that name a resource type it does not make, or break the rules of tags."""
    seen: set[str] = set()
    for specification in params.get("TagSpecifications", ()):
        kind = specification.get("ResourceType")
        if kind is None:
            raise InvalidTag("Tag specification resource type must have a value")
        if kind not in allowed:
            raise InvalidTag(f"'{kind}' is not a valid taggable resource type for this operation.")
        if kind in seen:
            raise InvalidTag(f"Tag specification resource type '{kind}' is given more than once.")
        if not specification.get("Tags"):
            raise InvalidTag("Tag specification must have at least one tag")
        seen.add(kind)
        merged({}, parse_tags(specification["Tags"]))


def tags_for(params: Mapping[str, Any], resource_type: str) -> dict[str, str]:
    """The tags that the call wants on the resource of this type."""
    return {
        key: value
        for specification in params.get("TagSpecifications", ())
        if specification.get("ResourceType") == resource_type
        for key, value in parse_tags(specification.get("Tags", ())).items()
    }


def tag_set(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """The shape in which answers carry tags."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]
