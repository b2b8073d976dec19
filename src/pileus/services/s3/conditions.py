"""Conditions and ranges of requests (RFC 9110, 13 and 14), as S3 evaluates them."""

import re
from collections.abc import Mapping
from datetime import datetime
from email.utils import format_datetime
from typing import Any

from pileus.engines.objects.model import Conditions, ObjectVersion
from pileus.services.s3.errors import S3Error

_RANGE = re.compile(r"\s*bytes\s*=\s*(\d{0,19})\s*-\s*(\d{0,19})\s*", re.IGNORECASE)


def check_read(params: Mapping[str, Any], version: ObjectVersion) -> None:
    """Raises S3Error: PreconditionFailed or NotModified."""
    if_match, unless = params.get("IfMatch"), params.get("IfNoneMatch")
    unmodified, modified = params.get("IfUnmodifiedSince"), params.get("IfModifiedSince")
    at = version.modified.replace(microsecond=0)
    if if_match is not None:
        if not matches(if_match, version.etag):
            raise S3Error("PreconditionFailed", fields={"Condition": "If-Match"})
    elif unmodified is not None and at > unmodified:
        raise S3Error("PreconditionFailed", fields={"Condition": "If-Unmodified-Since"})
    if unless is not None:
        if matches(unless, version.etag):
            raise _not_modified(version)
    elif modified is not None and at <= modified:
        raise _not_modified(version)


def check_copy(params: Mapping[str, Any], version: ObjectVersion) -> None:
    """The same of a copy's source, where all failures are PreconditionFailed."""
    renamed = {
        name: params.get(f"CopySource{name}")
        for name in ("IfMatch", "IfNoneMatch", "IfUnmodifiedSince", "IfModifiedSince")
    }
    try:
        check_read(renamed, version)
    except S3Error as error:
        condition = "x-amz-copy-source-If-None-Match" if error.status == 304 else "x-amz-copy-source-If-Match"
        raise S3Error("PreconditionFailed", fields={"Condition": condition}) from None


def matches(wanted: str, etag: str) -> bool:
    """Whether a list of ETags, or ``*``, has this one."""
    return any(part in {"*", etag} for part in (unquoted(one) for one in wanted.split(",")))


def unquoted(text: str) -> str:
    """An ETag without its quotes."""
    return text.strip().removeprefix("W/").strip('"')


def _not_modified(version: ObjectVersion) -> S3Error:
    headers = {"etag": f'"{version.etag}"', "last-modified": http_date(version.modified)}
    return S3Error("NotModified", headers=headers)


def http_date(time: datetime) -> str:
    """``Thu, 01 Jan 2026 00:00:00 GMT``."""
    return format_datetime(time, usegmt=True)


def of_write(params: Mapping[str, Any]) -> Conditions:
    """The conditions under which an object may be made. Raises S3Error."""
    if_match, unless = params.get("IfMatch"), params.get("IfNoneMatch")
    if if_match is not None and unless is not None:
        raise S3Error("NotImplemented", "If-Match and If-None-Match can't be combined.")
    if unless is not None and unquoted(unless) != "*":
        raise S3Error(
            "NotImplemented",
            fields={
                "Header": "If-None-Match",
                "additionalMessage": "We don't accept the provided value of If-None-Match header for this API",
            },
        )
    if if_match is not None and unquoted(if_match) == "*":
        raise S3Error(
            "NotImplemented",
            fields={
                "Header": "If-Match",
                "additionalMessage": "We don't accept the provided value of If-Match header for this API",
            },
        )
    return Conditions(
        if_match=unquoted(if_match) if if_match is not None else None,
        if_none_match="*" if unless is not None else None,
    )


def byte_range(text: str | None, size: int) -> tuple[int, int] | None:
    """First and last byte that a Range header asks for; None where it asks for nothing that is understood.

    Raises S3Error: InvalidRange, outside of the object.
    """
    match = _RANGE.fullmatch(text) if text else None
    if match is None or not (match[1] or match[2]):
        return None
    if match[1]:
        first, last = int(match[1]), int(match[2]) if match[2] else size - 1
        if match[2] and last < first:
            return None
    else:
        first, last = max(size - int(match[2]), 0), size - 1
        if int(match[2]) == 0:
            first = size
    if first >= size:
        raise S3Error(
            "InvalidRange",
            fields={"RangeRequested": text, "ActualObjectSize": size},
            headers={"content-range": f"bytes */{size}"},
        )
    return first, min(last, size - 1)
