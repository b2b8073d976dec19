"""What goes with an object besides its bytes: headers, metadata, tags, storage class, lock. From requests, into answers."""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any
from urllib.parse import parse_qsl

from pileus.engines.objects.model import Attributes, Bucket, Encryption, ObjectVersion, Retention
from pileus.operations.context import Context
from pileus.services.s3 import acl, checksums, documents, encryption
from pileus.services.s3.errors import S3Error, malformed, not_implemented
from pileus.services.s3.gate import Gate
from pileus.services.s3.service import part

HEADERS = {
    "cache-control": "CacheControl",
    "content-disposition": "ContentDisposition",
    "content-encoding": "ContentEncoding",
    "content-language": "ContentLanguage",
    "content-type": "ContentType",
    "expires": "Expires",
    "x-amz-website-redirect-location": "WebsiteRedirectLocation",
}
"""Kept with an object and given back with it, and the members that they are."""
DEFAULT_TYPE = "binary/octet-stream"
MAX_KEY = 1024
MAX_METADATA = 2048
_STORED_CLASSES = frozenset(
    {"STANDARD", "REDUCED_REDUNDANCY", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER_IR"}
)
_ARCHIVES = frozenset({"GLACIER", "DEEP_ARCHIVE"})
_TAG = re.compile(r"[\w\s.:/=+\-@]*")
_BAD_TAGGING = (
    "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters "
    "without tag name duplicates."
)
MAX_OBJECT_TAGS = 10
MAX_BUCKET_TAGS = 50


def check_key(key: str) -> str:
    """The key. Raises S3Error when it is too long or no text."""
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        raise S3Error("InvalidArgument", "The key is not valid UTF-8.") from None
    if size > MAX_KEY:
        raise S3Error("KeyTooLongError", fields={"Size": size, "MaxSizeAllowed": MAX_KEY})
    if "\ufffd" in key or "\0" in key:
        raise S3Error("InvalidArgument", "The key can't be stored.")
    return key


def of_new(gate: Gate, params: Mapping[str, Any], chosen: Encryption) -> Attributes:
    """The attributes that a request gives a new object. Raises S3Error."""
    context, bucket = gate.context, gate.bucket
    owner = context.account or bucket.account
    said = acl.named(params)
    if documents.ownership(bucket) == documents.ENFORCED or (
        documents.ownership(bucket) == "BucketOwnerPreferred" and params.get("ACL") == "bucket-owner-full-control"
    ):
        owner = bucket.account
    wanted = acl.wanted(context, params, owner, bucket.account)
    gate.check_acl(wanted, said=said)
    keep_acl = said and documents.ownership(bucket) != documents.ENFORCED
    tags = tags_of_header(params.get("Tagging"))
    if tags:
        gate.require("s3:PutObjectTagging", "WRITE", params["Key"])
    return Attributes(
        owner=owner,
        headers=headers(params),
        metadata=metadata(params),
        tags=tags,
        storage_class=storage_class(params),
        acl=acl.dump(wanted) if keep_acl or owner != bucket.account else b"",
        encryption=chosen,
        retention=retention(gate, params),
        legal_hold=params.get("ObjectLockLegalHoldStatus") == "ON",
    )


def headers(params: Mapping[str, Any]) -> dict[str, str]:
    """The headers that are kept."""
    kept = {name: _text(params[member]) for name, member in HEADERS.items() if params.get(member)}
    redirect = kept.get("x-amz-website-redirect-location")
    if redirect is not None and not redirect.startswith(("/", "http://", "https://")):
        raise S3Error(
            "InvalidRedirectLocation",
            "The website redirect location must have a prefix of 'http://' or 'https://' or '/'.",
        )
    return {"content-type": DEFAULT_TYPE, **kept}


def _text(value: Any) -> str:
    return format_datetime(value, usegmt=True) if isinstance(value, datetime) else str(value)


def metadata(params: Mapping[str, Any]) -> dict[str, str]:
    """The user's metadata, names in lower case. Raises S3Error."""
    found = {name.lower(): value for name, value in params.get("Metadata", {}).items()}
    size = sum(len(name.encode()) + len(value.encode()) for name, value in found.items())
    if size > MAX_METADATA:
        raise S3Error("MetadataTooLarge", fields={"Size": size, "MaxSizeAllowed": MAX_METADATA})
    return found


def storage_class(params: Mapping[str, Any]) -> str:
    """The storage class: kept and told, all of them being stored alike. Raises S3Error."""
    name = params.get("StorageClass", "STANDARD")
    if name in _ARCHIVES:
        raise not_implemented(f"The storage class {name}, whose objects must be restored before they can be read,")
    if name not in _STORED_CLASSES:
        raise S3Error("InvalidStorageClass", fields={"StorageClassRequested": name[:100]})
    return name


def tags_of_header(text: str | None) -> dict[str, str]:
    """Tags written as a query string. Raises S3Error."""
    if not text:
        return {}
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=100)
    except ValueError:
        raise S3Error(
            "InvalidArgument",
            _BAD_TAGGING,
        ) from None
    if len(dict(pairs)) != len(pairs):
        raise S3Error(
            "InvalidArgument",
            _BAD_TAGGING,
        )
    return check_tags(dict(pairs), MAX_OBJECT_TAGS)


def tags_of_document(document: Mapping[str, Any], most: int) -> dict[str, str]:
    """Tags in a Tagging document. Raises S3Error."""
    pairs: dict[str, str] = {}
    if "TagSet" not in document:
        raise malformed()
    for tag in document["TagSet"]:
        if "Key" not in tag or "Value" not in tag:
            raise malformed()
        if tag["Key"] in pairs:
            raise S3Error("InvalidTag", "Cannot provide multiple Tags with the same key")
        pairs[tag["Key"]] = tag["Value"]
    return check_tags(pairs, most)


def check_tags(tags: dict[str, str], most: int) -> dict[str, str]:
    """The tags. Raises S3Error: too many, or one that S3 does not take."""
    if len(tags) > most:
        kind = "Object" if most == MAX_OBJECT_TAGS else "Bucket"
        raise S3Error("BadRequest" if kind == "Object" else "InvalidTag", f"{kind} tags cannot be greater than {most}")
    for key, value in tags.items():
        if not key or len(key) > 128 or not _TAG.fullmatch(key):
            raise S3Error("InvalidTag", "The TagKey you have provided is invalid", fields={"TagKey": key[:200]})
        if key.lower().startswith("aws:"):
            raise S3Error("InvalidTag", "System tags cannot be added/updated by requester")
        if len(value) > 256 or not _TAG.fullmatch(value):
            raise S3Error("InvalidTag", "The TagValue you have provided is invalid", fields={"TagValue": value[:300]})
    return tags


def retention(gate: Gate, params: Mapping[str, Any]) -> Retention | None:
    """The retention of a new object: as asked for, or the bucket's default. Raises S3Error."""
    mode, until = params.get("ObjectLockMode"), params.get("ObjectLockRetainUntilDate")
    hold = params.get("ObjectLockLegalHoldStatus")
    if hold is not None and hold not in {"ON", "OFF"}:
        raise S3Error("InvalidArgument", "Legal Hold must be either of 'ON' or 'OFF'")
    if (mode is not None or hold is not None) and not gate.bucket.object_lock:
        raise S3Error("InvalidRequest", "Bucket is missing Object Lock Configuration")
    if (mode is None) != (until is None):
        raise S3Error(
            "InvalidArgument", "x-amz-object-lock-retain-until-date and x-amz-object-lock-mode must both be supplied"
        )
    if hold is not None:
        gate.require("s3:PutObjectLegalHold", key=params["Key"])
    if mode is None or until is None:
        return _default_retention(gate.context, gate.bucket)
    gate.require("s3:PutObjectRetention", key=params["Key"])
    return read_retention(mode, until, gate.context.now)


def read_retention(mode: str, until: datetime, now: datetime) -> Retention:
    """A retention. Raises S3Error."""
    if mode not in {"GOVERNANCE", "COMPLIANCE"}:
        raise S3Error("InvalidArgument", "Unknown wormMode directive.")
    if until <= now:
        raise S3Error("InvalidArgument", "The retain until date must be in the future!")
    return Retention(mode="GOVERNANCE" if mode == "GOVERNANCE" else "COMPLIANCE", until=until)


def _default_retention(context: Context, bucket: Bucket) -> Retention | None:
    rule = part(documents.load(bucket, documents.LOCK) or {}, "DefaultRetention")
    if not rule:
        return None
    days = rule.get("Days") or rule["Years"] * 365
    return Retention(mode=rule["Mode"], until=context.now + timedelta(days=days))


def version_id(bucket: Bucket, version: ObjectVersion) -> str | None:
    """A version's id as answers tell it: only where the bucket has, or had, versioning."""
    return version.version_id if bucket.versioning else None


def _value(name: str, text: str) -> Any:
    return parsedate_to_datetime(text) if name == "expires" else text


def made_id(bucket: Bucket, version: ObjectVersion) -> str | None:
    """A new version's id as the answer to its making tells it: only while versioning is enabled."""
    return version.version_id if bucket.versioning == "Enabled" else None


def told(gate: Gate, version: ObjectVersion, *, checksum: bool) -> dict[str, Any]:
    """The members of an answer to a read that do not depend on the range."""
    attributes = version.attributes
    lock = {}
    if attributes.retention and gate.may("s3:GetObjectRetention", version.key):
        lock = {
            "ObjectLockMode": attributes.retention.mode,
            "ObjectLockRetainUntilDate": attributes.retention.until,
        }
    if attributes.legal_hold and gate.may("s3:GetObjectLegalHold", version.key):
        lock["ObjectLockLegalHoldStatus"] = "ON"
    return {
        "AcceptRanges": "bytes",
        "LastModified": version.modified,
        "ETag": f'"{version.etag}"',
        "VersionId": version_id(gate.bucket, version),
        "Metadata": dict(attributes.metadata),
        "StorageClass": attributes.storage_class if attributes.storage_class != "STANDARD" else None,
        "TagCount": len(attributes.tags) or None,
        **{HEADERS[name]: _value(name, value) for name, value in attributes.headers.items() if name in HEADERS},
        **lock,
        **encryption.shape(attributes.encryption),
        **(checksums.told(version.checksum) if checksum else {}),
    }
