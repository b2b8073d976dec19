"""The tags of objects."""

from typing import Any

from pileus.operations.context import Context
from pileus.services.s3 import attributes
from pileus.services.s3.errors import told
from pileus.services.s3.gate import Gate, enter
from pileus.services.s3.service import Params, part, s3


@s3.waits("GetObjectTagging", resources=("object:Key",))
async def get_object_tagging(context: Context, params: Params) -> dict[str, Any]:
    """An object's tags."""
    gate = await enter(context, params)
    key, version_id = attributes.check_key(params["Key"]), params.get("VersionId")
    action = "s3:GetObjectTagging" if version_id is None else "s3:GetObjectVersionTagging"
    await gate.require_object(action, key, version_id)
    with told():
        version = await gate.objects.head(gate.bucket.name, key, version_id)
    tags = [{"Key": name, "Value": value} for name, value in version.attributes.tags.items()]
    return {"TagSet": tags, "VersionId": attributes.version_id(gate.bucket, version)}


@s3.waits("PutObjectTagging", resources=("object:Key",))
async def put_object_tagging(context: Context, params: Params) -> dict[str, Any]:
    """Replaces them."""
    gate = await enter(context, params)
    key, version_id = attributes.check_key(params["Key"]), params.get("VersionId")
    action = "s3:PutObjectTagging" if version_id is None else "s3:PutObjectVersionTagging"
    await gate.require_object(action, key, version_id)
    tags = attributes.tags_of_document(part(params, "Tagging"), attributes.MAX_OBJECT_TAGS)
    return await _set(gate, key, version_id, tags)


@s3.waits("DeleteObjectTagging", resources=("object:Key",))
async def delete_object_tagging(context: Context, params: Params) -> dict[str, Any]:
    """Removes them."""
    gate = await enter(context, params)
    key, version_id = attributes.check_key(params["Key"]), params.get("VersionId")
    action = "s3:DeleteObjectTagging" if version_id is None else "s3:DeleteObjectVersionTagging"
    await gate.require_object(action, key, version_id)
    return await _set(gate, key, version_id, {})


async def _set(gate: Gate, key: str, version_id: str | None, tags: dict[str, str]) -> dict[str, Any]:
    with told():
        version = await gate.objects.set_tags(gate.bucket.name, key, tags, version_id)
    return {"VersionId": attributes.version_id(gate.bucket, version)}
