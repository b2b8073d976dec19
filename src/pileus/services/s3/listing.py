"""ListObjects, ListObjectsV2, ListObjectVersions."""

import base64
import binascii
from typing import Any
from urllib.parse import quote

from pileus.engines.objects.model import Entry
from pileus.operations.context import Context
from pileus.services.s3 import acl
from pileus.services.s3.errors import S3Error, told
from pileus.services.s3.gate import enter
from pileus.services.s3.service import Params, s3

_MOST = 1000


class Encoder:
    """Keys in an answer, percent-encoded where the client asked for it: XML can't carry all characters."""

    def __init__(self, params: Params) -> None:
        self.type: str | None = params.get("EncodingType")
        if self.type not in {None, "url"}:
            raise S3Error(
                "InvalidArgument",
                "Invalid Encoding Method specified in Request",
                fields={"ArgumentName": "encoding-type", "ArgumentValue": self.type},
            )

    def __call__(self, text: str | None) -> str | None:
        """The text as the answer has it."""
        return quote(text, safe="/") if self.type and text else text


def page_size(params: Params, name: str = "MaxKeys") -> int:
    """How many entries a page has at most. Raises S3Error."""
    size = params.get(name, _MOST)
    if not 0 <= size < 1 << 31:
        raise S3Error(
            "InvalidArgument",
            f"Argument {name} must be an integer between 0 and 2147483647",
            fields={"ArgumentName": name, "ArgumentValue": size},
        )
    return min(size, _MOST)


@s3.waits("ListObjects", resources=("bucket:Bucket",))
async def list_objects(context: Context, params: Params) -> dict[str, Any]:
    """Objects by key, the first version of this listing."""
    gate = await enter(context, params)
    gate.require("s3:ListBucket", "READ")
    encode, size = Encoder(params), page_size(params)
    prefix, delimiter, marker = params.get("Prefix", ""), params.get("Delimiter", ""), params.get("Marker", "")
    with told():
        page = await gate.objects.list(
            gate.bucket.name, prefix=prefix, delimiter=delimiter, after=marker, max_keys=size
        )
    return {
        "Name": gate.bucket.name,
        "Prefix": encode(prefix),
        "Marker": encode(marker),
        "NextMarker": encode(page.next_after) if page.truncated and delimiter else None,
        "Delimiter": encode(delimiter) or None,
        "MaxKeys": size,
        "EncodingType": encode.type,
        "IsTruncated": page.truncated,
        "Contents": [_object(one, encode, owner=True) for one in page.entries],
        "CommonPrefixes": [{"Prefix": encode(one)} for one in page.prefixes],
    }


@s3.waits("ListObjectsV2", resources=("bucket:Bucket",))
async def list_objects_v2(context: Context, params: Params) -> dict[str, Any]:
    """Objects by key."""
    gate = await enter(context, params)
    gate.require("s3:ListBucket", "READ")
    encode, size = Encoder(params), page_size(params)
    prefix, delimiter = params.get("Prefix", ""), params.get("Delimiter", "")
    token, start = params.get("ContinuationToken"), params.get("StartAfter", "")
    after = _opened(token) if token is not None else start
    with told():
        page = await gate.objects.list(gate.bucket.name, prefix=prefix, delimiter=delimiter, after=after, max_keys=size)
    return {
        "Name": gate.bucket.name,
        "Prefix": encode(prefix),
        "StartAfter": encode(start) if "StartAfter" in params else None,
        "ContinuationToken": token,
        "NextContinuationToken": _token(page.next_after) if page.truncated else None,
        "Delimiter": encode(delimiter) or None,
        "MaxKeys": size,
        "EncodingType": encode.type,
        "KeyCount": len(page.entries) + len(page.prefixes),
        "IsTruncated": page.truncated,
        "Contents": [_object(one, encode, owner=params.get("FetchOwner", False)) for one in page.entries],
        "CommonPrefixes": [{"Prefix": encode(one)} for one in page.prefixes],
    }


@s3.waits("ListObjectVersions", resources=("bucket:Bucket",))
async def list_object_versions(context: Context, params: Params) -> dict[str, Any]:
    """All versions and delete markers, newest first within a key."""
    gate = await enter(context, params)
    gate.require("s3:ListBucketVersions", "READ")
    encode, size = Encoder(params), page_size(params)
    prefix, delimiter = params.get("Prefix", ""), params.get("Delimiter", "")
    key_marker, version_marker = params.get("KeyMarker", ""), params.get("VersionIdMarker", "")
    if version_marker and not key_marker:
        raise S3Error("InvalidArgument", "A version-id marker cannot be specified without a key marker.")
    with told():
        page = await gate.objects.list_versions(
            gate.bucket.name,
            prefix=prefix,
            delimiter=delimiter,
            key_marker=key_marker,
            version_marker=version_marker,
            max_keys=size,
        )
    return {
        "Name": gate.bucket.name,
        "Prefix": encode(prefix),
        "KeyMarker": encode(key_marker),
        "VersionIdMarker": version_marker,
        "NextKeyMarker": encode(page.next_key) if page.truncated else None,
        "NextVersionIdMarker": page.next_version_id or None if page.truncated else None,
        "Delimiter": encode(delimiter) or None,
        "MaxKeys": size,
        "EncodingType": encode.type,
        "IsTruncated": page.truncated,
        "Versions": [_version(one, encode) for one in page.entries if not one.delete_marker],
        "DeleteMarkers": [_marker(one, encode) for one in page.entries if one.delete_marker],
        "CommonPrefixes": [{"Prefix": encode(one)} for one in page.prefixes],
    }


def _object(entry: Entry, encode: Encoder, *, owner: bool) -> dict[str, Any]:
    return {
        "Key": encode(entry.key),
        "LastModified": entry.modified,
        "ETag": f'"{entry.etag}"',
        "ChecksumAlgorithm": [entry.checksum_algorithm] if entry.checksum_algorithm else None,
        "ChecksumType": entry.checksum_type,
        "Size": entry.size,
        "StorageClass": entry.storage_class,
        "Owner": acl.owner_shape(entry.owner) if owner else None,
    }


def _version(entry: Entry, encode: Encoder) -> dict[str, Any]:
    return {
        **_object(entry, encode, owner=True),
        "VersionId": entry.version_id,
        "IsLatest": entry.latest,
    }


def _marker(entry: Entry, encode: Encoder) -> dict[str, Any]:
    return {
        "Key": encode(entry.key),
        "VersionId": entry.version_id,
        "IsLatest": entry.latest,
        "LastModified": entry.modified,
        "Owner": acl.owner_shape(entry.owner),
    }


def _token(after: str) -> str:
    return base64.urlsafe_b64encode(after.encode()).decode()


def _opened(token: str) -> str:
    try:
        return base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise S3Error("InvalidArgument", "The continuation token provided is incorrect") from None
