"""Lifecycle rules: kept with the bucket, and carried out once in a while by ``run``, which the composition root starts.

Source: Amazon S3 user guide, "Lifecycle configuration elements". Transitions are refused: all storage classes are stored alike.
"""

import logging
import secrets
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from pileus.base.clock import Clock
from pileus.engines.objects.errors import ObjectsError
from pileus.engines.objects.interface import Objects
from pileus.engines.objects.model import Rule, RuleFilter
from pileus.operations.context import Context
from pileus.services.s3 import attributes, documents
from pileus.services.s3.configuration import permitted, present, store
from pileus.services.s3.errors import S3Error, malformed, not_implemented
from pileus.services.s3.service import Params, part, s3

INTERVAL = 3600.0
"""Seconds between runs. S3 acts once a day; a client can't tell when."""
_MOST = 1000
_ACTIONS = ("Expiration", "NoncurrentVersionExpiration", "AbortIncompleteMultipartUpload")
_log = logging.getLogger(__name__)


@s3.waits("GetBucketLifecycleConfiguration", resources=("bucket:Bucket",))
async def get_bucket_lifecycle_configuration(context: Context, params: Params) -> dict[str, Any]:
    """The rules."""
    gate = await permitted(context, params, "GetLifecycleConfiguration")
    return {"Rules": present(gate, documents.LIFECYCLE, "NoSuchLifecycleConfiguration")}


@s3.waits("PutBucketLifecycleConfiguration", resources=("bucket:Bucket",))
async def put_bucket_lifecycle_configuration(context: Context, params: Params) -> dict[str, Any]:
    """Replaces them."""
    gate = await permitted(context, params, "PutLifecycleConfiguration")
    rules = [dict(rule) for rule in part(params, "LifecycleConfiguration").get("Rules", [])]
    if not 0 < len(rules) <= _MOST:
        raise malformed()
    for rule in rules:
        _check(rule)
    ids = [rule["ID"] for rule in rules]
    if len(set(ids)) < len(ids):
        raise S3Error("InvalidArgument", "Rule ID must be unique. Found same ID for more than one rule")
    await store(gate, documents.LIFECYCLE, rules)
    return {}


@s3.waits("DeleteBucketLifecycle", resources=("bucket:Bucket",))
async def delete_bucket_lifecycle(context: Context, params: Params) -> dict[str, Any]:
    """Removes them."""
    await store(await permitted(context, params, "PutLifecycleConfiguration"), documents.LIFECYCLE, None)
    return {}


def _check(rule: dict[str, Any]) -> None:
    """Sees that a rule can be carried out, and gives it an id. Raises S3Error."""
    if rule.get("Transitions") or rule.get("NoncurrentVersionTransitions"):
        raise not_implemented("Transition to other storage classes")
    if rule.get("Status") not in {"Enabled", "Disabled"} or not any(rule.get(name) for name in _ACTIONS):
        raise malformed()
    if not rule.get("ID"):
        rule["ID"] = secrets.token_hex(16)
    if len(rule["ID"]) > 255:
        raise S3Error("InvalidArgument", "ID length should not exceed allowed limit of 255")
    if ("Filter" in rule) == ("Prefix" in rule):
        raise malformed()
    expiration = rule.get("Expiration")
    if expiration:
        _check_expiration(expiration)
    if rule.get("NoncurrentVersionExpiration"):
        _check_noncurrent(rule["NoncurrentVersionExpiration"])
    filter_ = _filter(rule)
    abort = rule.get("AbortIncompleteMultipartUpload")
    if abort:
        _check_days(abort.get("DaysAfterInitiation"), "DaysAfterInitiation")
        if filter_.tags or filter_.larger_than is not None or filter_.smaller_than is not None:
            raise S3Error("InvalidRequest", "AbortIncompleteMultipartUpload cannot be specified with Tags.")
    if filter_.tags and expiration and expiration.get("ExpiredObjectDeleteMarker"):
        raise S3Error("InvalidRequest", "ExpiredObjectDeleteMarker cannot be specified with Tags.")


def _check_noncurrent(noncurrent: Mapping[str, Any]) -> None:
    _check_days(noncurrent.get("NoncurrentDays"), "NoncurrentDays")
    newer = noncurrent.get("NewerNoncurrentVersions")
    if newer is not None and not 1 <= newer <= 100:
        raise S3Error("InvalidArgument", "'NewerNoncurrentVersions' must be between 1 and 100")


def _check_expiration(expiration: Mapping[str, Any]) -> None:
    named = [name for name in ("Days", "Date", "ExpiredObjectDeleteMarker") if expiration.get(name) is not None]
    if len(named) != 1:
        raise malformed()
    if named == ["Days"]:
        _check_days(expiration["Days"], "Days")
    date = expiration.get("Date")
    if date is not None and (date.hour, date.minute, date.second, date.microsecond) != (0, 0, 0, 0):
        raise S3Error("InvalidArgument", "'Date' must be at midnight GMT")


def _check_days(days: int | None, name: str) -> None:
    if days is None:
        raise malformed()
    if not 0 < days < 1 << 31:
        raise S3Error("InvalidArgument", f"'{name}' for Expiration action must be a positive integer")


def _filter(rule: Mapping[str, Any]) -> RuleFilter:
    """What a rule is about. Raises S3Error."""
    wanted = part(rule, "Filter")
    if len(wanted) > 1:
        raise malformed()
    if "And" in wanted:
        wanted = wanted["And"]
        tags = attributes.tags_of_document({"TagSet": wanted.get("Tags", [])}, attributes.MAX_OBJECT_TAGS)
    else:
        tag = wanted.get("Tag")
        tags = attributes.tags_of_document({"TagSet": [tag] if tag else []}, attributes.MAX_OBJECT_TAGS)
    return RuleFilter(
        prefix=wanted.get("Prefix", rule.get("Prefix", "")),
        tags=tags,
        larger_than=wanted.get("ObjectSizeGreaterThan"),
        smaller_than=wanted.get("ObjectSizeLessThan"),
    )


def engine_rule(rule: Mapping[str, Any]) -> Rule:
    """A stored rule as the object store carries it out."""
    expiration, noncurrent = part(rule, "Expiration"), part(rule, "NoncurrentVersionExpiration")
    date: datetime | None = expiration.get("Date")
    return Rule(
        id=rule["ID"],
        filter=_filter(rule),
        days=expiration.get("Days"),
        date=date,
        expired_delete_marker=bool(expiration.get("ExpiredObjectDeleteMarker")),
        noncurrent_days=noncurrent.get("NoncurrentDays"),
        newer_noncurrent_versions=noncurrent.get("NewerNoncurrentVersions"),
        abort_days=part(rule, "AbortIncompleteMultipartUpload").get("DaysAfterInitiation"),
    )


async def apply(objects: Objects, now: datetime) -> None:
    """Carries out the rules of all buckets, once."""
    for bucket in await objects.buckets():
        rules = [
            engine_rule(rule)
            for rule in documents.load(bucket, documents.LIFECYCLE) or ()
            if rule["Status"] == "Enabled"
        ]
        if not rules:
            continue
        try:
            done = await objects.expire(bucket.name, rules, now)
        except ObjectsError:
            _log.exception("lifecycle failed", extra={"bucket": bucket.name})
            continue
        _log.info("lifecycle", extra={"bucket": bucket.name, "objects": done.objects, "versions": done.versions})


async def run(objects: Callable[[], Objects], clock: Clock) -> None:
    """Carries out the rules of all buckets, and clears up what killed processes left, once in a while, for ever."""
    while True:
        await clock.sleep(INTERVAL)
        try:
            await apply(objects(), clock.now())
            await objects().sweep()
        except ObjectsError:
            _log.exception("the object store can't be cleaned up now")
