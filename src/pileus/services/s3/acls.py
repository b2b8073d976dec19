"""The ACLs of buckets and objects."""

from typing import Any

from pileus.operations.context import Context
from pileus.services.s3 import acl, attributes, documents
from pileus.services.s3.errors import S3Error, told
from pileus.services.s3.gate import Gate, enter
from pileus.services.s3.service import Params, s3


@s3.waits("GetBucketAcl", resources=("bucket:Bucket",))
async def get_bucket_acl(context: Context, params: Params) -> dict[str, Any]:
    """The bucket's ACL."""
    gate = await enter(context, params)
    gate.require("s3:GetBucketAcl", "READ_ACP")
    return acl.shape(acl.load(gate.bucket.configs.get(documents.ACL, b""), gate.bucket.account))


@s3.waits("PutBucketAcl", resources=("bucket:Bucket",))
async def put_bucket_acl(context: Context, params: Params) -> dict[str, Any]:
    """Replaces it."""
    gate = await enter(context, params)
    gate.require("s3:PutBucketAcl", "WRITE_ACP")
    wanted = _wanted(gate, params, gate.bucket.account)
    with told():
        await gate.objects.set_configs(gate.bucket.name, {documents.ACL: acl.dump(wanted)})
    return {}


@s3.waits("GetObjectAcl", resources=("object:Key",))
async def get_object_acl(context: Context, params: Params) -> dict[str, Any]:
    """The object's ACL."""
    gate = await enter(context, params)
    key, version_id = attributes.check_key(params["Key"]), params.get("VersionId")
    action = "s3:GetObjectAcl" if version_id is None else "s3:GetObjectVersionAcl"
    await gate.require_object(action, key, version_id, "READ_ACP")
    with told():
        version = await gate.objects.head(gate.bucket.name, key, version_id)
    return acl.shape(acl.load(version.attributes.acl, version.attributes.owner or gate.bucket.account))


@s3.waits("PutObjectAcl", resources=("object:Key",))
async def put_object_acl(context: Context, params: Params) -> dict[str, Any]:
    """Replaces it."""
    gate = await enter(context, params)
    key, version_id = attributes.check_key(params["Key"]), params.get("VersionId")
    action = "s3:PutObjectAcl" if version_id is None else "s3:PutObjectVersionAcl"
    await gate.require_object(action, key, version_id, "WRITE_ACP")
    with told():
        version = await gate.objects.head(gate.bucket.name, key, version_id)
        wanted = _wanted(gate, params, version.attributes.owner or gate.bucket.account)
        await gate.objects.set_acl(gate.bucket.name, key, acl.dump(wanted), version_id)
    return {}


def _wanted(gate: Gate, params: Params, owner: str) -> acl.Acl:
    if not acl.named(params):
        raise S3Error("MissingSecurityHeader", "Your request was missing a required header")
    if documents.ownership(gate.bucket) == documents.ENFORCED:
        raise S3Error("AccessControlListNotSupported")
    wanted = acl.wanted(gate.context, params, owner, gate.bucket.account)
    gate.check_acl(wanted, said=True)
    return wanted
