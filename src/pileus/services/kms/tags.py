"""Tags of keys."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from pileus.operations.context import Context
from pileus.services.kms.access import answer_page, key_to_change, key_to_see
from pileus.services.kms.errors import TagException
from pileus.services.kms.service import kms

if TYPE_CHECKING:
    from types_boto3_kms.type_defs import TagResourceRequestTypeDef, UntagResourceRequestTypeDef

_MOST = 50


def parse_tags(tags: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """A list of ``{"TagKey", "TagValue"}`` as a mapping. Raises TagException."""
    parsed: dict[str, str] = {}
    for tag in tags:
        key = tag["TagKey"]
        if key.lower().startswith("aws:"):
            raise TagException("aws: prefixed tag key names are not allowed for external use.")
        if key in parsed:
            raise TagException("Duplicate tag keys")
        parsed[key] = tag["TagValue"]
    if len(parsed) > _MOST:
        raise TagException(f"Too many tags: a key can have {_MOST}.")
    return parsed


@kms.writes("TagResource")
def tag_resource(context: Context, params: "TagResourceRequestTypeDef") -> dict[str, Any]:
    """Sets tags; those that are there already get the new value. Raises TagException."""
    key = key_to_change(context, params["KeyId"])
    tags = {**key.tags, **parse_tags(params["Tags"])}
    if len(tags) > _MOST:
        raise TagException(f"Too many tags: a key can have {_MOST}.")
    context.tx.put(replace(key, tags=tags))
    return {}


@kms.writes("UntagResource")
def untag_resource(context: Context, params: "UntagResourceRequestTypeDef") -> dict[str, Any]:
    """Removes tags; those that are not there do not matter."""
    key = key_to_change(context, params["KeyId"])
    left = {name: value for name, value in key.tags.items() if name not in params["TagKeys"]}
    context.tx.put(replace(key, tags=left))
    return {}


@kms.reads("ListResourceTags")
def list_resource_tags(context: Context, params: Mapping[str, Any]) -> dict[str, Any]:
    """A key's tags."""
    tags = list(key_to_see(context, params["KeyId"]).tags.items())
    return answer_page(
        context, params, "Tags", tags, lambda tag: tag[0], lambda tag: {"TagKey": tag[0], "TagValue": tag[1]}, most=50
    )
