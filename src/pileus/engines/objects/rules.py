"""What may be done to a version: conditions and object lock. Pure; called by the transactions."""

from datetime import datetime

from pileus.engines.objects.errors import NoSuchKey, ObjectLocked, PreconditionFailed
from pileus.engines.objects.model import Conditions, ObjectVersion, Retention


def require(conditions: Conditions, bucket: str, key: str, current: ObjectVersion | None) -> None:
    """``current`` is None where there is no object or a delete marker is current. Raises PreconditionFailed, NoSuchKey."""
    if conditions.if_match is not None:
        if current is None:
            raise NoSuchKey(bucket, key)
        if conditions.if_match not in {"*", current.etag}:
            raise PreconditionFailed("If-Match")
    if conditions.if_none_match is not None and current is not None and conditions.if_none_match in {"*", current.etag}:
        raise PreconditionFailed("If-None-Match")
    if conditions.modified is None and conditions.size is None:
        return
    if current is None:
        raise NoSuchKey(bucket, key)
    if conditions.modified is not None and current.modified.replace(microsecond=0) != conditions.modified.replace(
        microsecond=0
    ):
        raise PreconditionFailed("x-amz-if-match-last-modified-time")
    if conditions.size is not None and current.size != conditions.size:
        raise PreconditionFailed("x-amz-if-match-size")


def require_unlocked(version: ObjectVersion, now: datetime, *, bypass: bool) -> None:
    """Whether a version may be deleted for good. Raises ObjectLocked."""
    if version.attributes.legal_hold:
        raise ObjectLocked(version.bucket, version.key, version.version_id, "LEGAL_HOLD", None)
    retention = version.attributes.retention
    if retention is not None and retention.until > now and not (bypass and retention.mode == "GOVERNANCE"):
        raise ObjectLocked(version.bucket, version.key, version.version_id, retention.mode, retention.until)


def require_retention_change(version: ObjectVersion, wanted: Retention | None, now: datetime, *, bypass: bool) -> None:
    """A retention in force may be prolonged; under governance, with ``bypass``, anything goes. Raises ObjectLocked."""
    current = version.attributes.retention
    if current is None or current.until <= now:
        return
    if wanted is not None and wanted.mode == current.mode and wanted.until >= current.until:
        return
    if current.mode == "GOVERNANCE" and bypass:
        return
    raise ObjectLocked(version.bucket, version.key, version.version_id, current.mode, current.until)
