"""Object lock: the bucket's configuration, retention and legal hold of versions."""

from collections.abc import Mapping
from typing import Any

from pileus.engines.objects.model import ObjectVersion
from pileus.operations.context import Context
from pileus.services.s3 import attributes, documents
from pileus.services.s3.configuration import permitted, store
from pileus.services.s3.errors import S3Error, malformed, told
from pileus.services.s3.gate import Gate, enter
from pileus.services.s3.service import Params, part, s3

_MAX_DAYS, _MAX_YEARS = 36_500, 100
_MODES = frozenset({"GOVERNANCE", "COMPLIANCE"})


@s3.waits("GetObjectLockConfiguration", resources=("bucket:Bucket",))
async def get_object_lock_configuration(context: Context, params: Params) -> dict[str, Any]:
    """Whether objects can be locked, and how they are by default."""
    gate = await permitted(context, params, "GetBucketObjectLockConfiguration")
    if not gate.bucket.object_lock:
        raise S3Error("ObjectLockConfigurationNotFoundError", fields={"BucketName": gate.bucket.name})
    rule = documents.load(gate.bucket, documents.LOCK)
    return {"ObjectLockConfiguration": {"ObjectLockEnabled": "Enabled", "Rule": rule or None}}


@s3.waits("PutObjectLockConfiguration", resources=("bucket:Bucket",))
async def put_object_lock_configuration(context: Context, params: Params) -> dict[str, Any]:
    """Sets the default retention; lets objects be locked where they could not be."""
    gate = await permitted(context, params, "PutBucketObjectLockConfiguration")
    wanted = params.get("ObjectLockConfiguration")
    if not wanted or wanted.get("ObjectLockEnabled") != "Enabled":
        raise malformed()
    rule = wanted.get("Rule")
    if rule is not None:
        _check_rule(rule.get("DefaultRetention"))
    if not gate.bucket.object_lock:
        if gate.bucket.versioning != "Enabled":
            raise S3Error(
                "InvalidBucketState", "Versioning must be 'Enabled' on the bucket to apply a Object Lock configuration"
            )
        with told():
            await gate.objects.enable_object_lock(gate.bucket.name)
    await store(gate, documents.LOCK, rule)
    return {}


def _check_rule(retention: Mapping[str, Any] | None) -> None:
    if not retention or retention.get("Mode") not in _MODES:
        raise malformed()
    days, years = retention.get("Days"), retention.get("Years")
    if (days is None) == (years is None):
        raise malformed()
    if (days is not None and not 0 < days <= _MAX_DAYS) or (years is not None and not 0 < years <= _MAX_YEARS):
        raise S3Error("InvalidArgument", "Default retention period must be a positive integer value.")


async def _enter(context: Context, params: Params, action: str) -> tuple[Gate, str, str | None]:
    gate = await enter(context, params)
    key, version_id = attributes.check_key(params["Key"]), params.get("VersionId")
    await gate.require_object(f"s3:{action}", key, version_id)
    if not gate.bucket.object_lock:
        raise S3Error("InvalidRequest", "Bucket is missing Object Lock Configuration")
    return gate, key, version_id


async def _head(gate: Gate, key: str, version_id: str | None) -> ObjectVersion:
    with told():
        return await gate.objects.head(gate.bucket.name, key, version_id)


@s3.waits("GetObjectRetention", resources=("object:Key",))
async def get_object_retention(context: Context, params: Params) -> dict[str, Any]:
    """Until when a version can't be deleted."""
    version = await _head(*await _enter(context, params, "GetObjectRetention"))
    retention = version.attributes.retention
    if retention is None:
        raise S3Error("NoSuchObjectLockConfiguration")
    return {"Retention": {"Mode": retention.mode, "RetainUntilDate": retention.until}}


@s3.waits("PutObjectRetention", resources=("object:Key",))
async def put_object_retention(context: Context, params: Params) -> dict[str, Any]:
    """Sets it; shorter only for who may bypass governance."""
    gate, key, version_id = await _enter(context, params, "PutObjectRetention")
    document = part(params, "Retention")
    mode, until = document.get("Mode"), document.get("RetainUntilDate")
    if (mode is None) != (until is None) or (mode is not None and mode not in _MODES):
        raise malformed()
    wanted = attributes.read_retention(mode, until, context.now) if mode and until else None
    bypass = bool(params.get("BypassGovernanceRetention")) and gate.may("s3:BypassGovernanceRetention", key)
    with told():
        await gate.objects.set_retention(gate.bucket.name, key, wanted, version_id, bypass=bypass)
    return {}


@s3.waits("GetObjectLegalHold", resources=("object:Key",))
async def get_object_legal_hold(context: Context, params: Params) -> dict[str, Any]:
    """Whether a version is held."""
    version = await _head(*await _enter(context, params, "GetObjectLegalHold"))
    return {"LegalHold": {"Status": "ON" if version.attributes.legal_hold else "OFF"}}


@s3.waits("PutObjectLegalHold", resources=("object:Key",))
async def put_object_legal_hold(context: Context, params: Params) -> dict[str, Any]:
    """Holds a version, or lets it go."""
    gate, key, version_id = await _enter(context, params, "PutObjectLegalHold")
    status = part(params, "LegalHold").get("Status")
    if status not in {"ON", "OFF"}:
        raise malformed()
    with told():
        await gate.objects.set_legal_hold(gate.bucket.name, key, status == "ON", version_id)
    return {}
