"""CopyObject and UploadPartCopy: from what another object has open."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

import msgspec

from pileus.engines.objects.interface import Reading
from pileus.engines.objects.model import MAX_PUT, Attributes, Bucket, ObjectVersion
from pileus.operations.context import Context
from pileus.services.s3 import attributes, checksums, conditions, documents, encryption
from pileus.services.s3.errors import S3Error, told
from pileus.services.s3.gate import Gate, enter
from pileus.services.s3.service import Params, s3

_RANGE = re.compile(r"bytes=(\d{1,19})-(\d{1,19})")
_DIRECTIVES = frozenset({"COPY", "REPLACE"})


class Source(msgspec.Struct, frozen=True):
    """What is copied, open, with its data key and what the destination's answer tells of it."""

    gate: Gate
    reading: Reading
    key: bytes | None

    @property
    def version(self) -> ObjectVersion:
        """The version that is open."""
        return self.reading.version

    @property
    def name(self) -> str:
        """``bucket/key``, for the log."""
        return f"{self.version.bucket}/{self.version.key}"


async def _open(context: Context, params: Params) -> Source:
    """Opens what x-amz-copy-source names. Raises S3Error."""
    bucket, key, version_id = _parse(params["CopySource"])
    asked: dict[str, Any] = {"Bucket": bucket, "Key": key}
    if "ExpectedSourceBucketOwner" in params:
        asked["ExpectedBucketOwner"] = params["ExpectedSourceBucketOwner"]
    gate = await enter(context, asked, anywhere=True)
    action = "s3:GetObject" if version_id is None else "s3:GetObjectVersion"
    await gate.require_object(action, key, version_id, "READ")
    with told():
        reading = await gate.objects.open(bucket, key, version_id)
    try:
        conditions.check_copy(params, reading.version)
        customer = {
            name.removeprefix("CopySource"): value
            for name, value in params.items()
            if name.startswith("CopySourceSSECustomer")
        }
        data_key = encryption.open_key(context, reading.version.attributes.encryption, customer)
    except BaseException:
        await reading.close()
        raise
    return Source(gate, reading, data_key)


def _parse(text: str) -> tuple[str, str, str | None]:
    path, _, version = text.partition("?versionId=")
    path = unquote(path.removeprefix("/"))
    bucket, slash, key = path.partition("/")
    if not slash or not bucket or not key:
        raise S3Error(
            "InvalidArgument",
            "Copy Source must mention the source bucket and key: sourcebucket/sourcekey",
            fields={"ArgumentName": "x-amz-copy-source", "ArgumentValue": text[:200]},
        )
    return bucket, attributes.check_key(key), version or None


@s3.waits("CopyObject", resources=("object:Key",))
async def copy_object(context: Context, params: Params) -> dict[str, Any]:
    """Copies an object of at most 5 GiB, with its metadata or other ones."""
    key = attributes.check_key(params["Key"])
    gate = await enter(context, params)
    gate.require("s3:PutObject", "WRITE", key)
    for name in ("MetadataDirective", "TaggingDirective"):
        if params.get(name, "COPY") not in _DIRECTIVES:
            raise S3Error("InvalidArgument", f"Unknown {name.removesuffix('Directive').lower()} directive.")
    wanted = conditions.of_write(params)
    algorithm = checksums.algorithm(params.get("ChecksumAlgorithm"))
    source = await _open(context, params)
    try:
        version = source.version
        if version.size > MAX_PUT:
            raise S3Error(
                "InvalidRequest",
                "The specified copy source is larger than the maximum allowable size for a copy source: 5368709120",
            )
        _check_change(gate.bucket, params, version)
        chosen, data_key = await encryption.choose(context, gate.bucket, key, params)
        if chosen.mode == "AES256" and source.version.attributes.encryption and source.key is not None:
            before = source.version.attributes.encryption
            if before.mode == "AES256":
                chosen, data_key = before, source.key
        given = _attributes(gate, params, source, attributes.of_new(gate, _without_copied(params), chosen))
        with told(source.name):
            made = await gate.objects.copy(
                source.reading,
                gate.bucket.name,
                key,
                attributes=given,
                algorithm=algorithm,
                conditions=wanted,
                source_key=source.key,
                data_key=data_key,
            )
    finally:
        await source.reading.close()
    return {
        "CopyObjectResult": {
            "ETag": f'"{made.etag}"',
            "LastModified": made.modified,
            **checksums.told(made.checksum),
        },
        "CopySourceVersionId": attributes.version_id(source.gate.bucket, version),
        "VersionId": attributes.made_id(gate.bucket, made),
        **encryption.shape(chosen),
    }


def _without_copied(params: Params) -> Mapping[str, Any]:
    """The parameters that apply: tags only when they replace those of the source."""
    if params.get("TaggingDirective", "COPY") == "REPLACE":
        return params
    return {name: value for name, value in params.items() if name != "Tagging"}


def _attributes(gate: Gate, params: Params, source: Source, new: Attributes) -> Attributes:
    """The new object's attributes: those asked for, over what is copied of the source's."""
    before = source.version.attributes
    if params.get("MetadataDirective", "COPY") == "COPY":
        headers = {name: value for name, value in before.headers.items() if name != "x-amz-website-redirect-location"}
        if "WebsiteRedirectLocation" in params:
            headers["x-amz-website-redirect-location"] = params["WebsiteRedirectLocation"]
        new = msgspec.structs.replace(new, headers=headers, metadata=before.metadata)
    if params.get("TaggingDirective", "COPY") == "COPY" and before.tags:
        source.gate.require("s3:GetObjectTagging", "READ", source.version.key)
        new = msgspec.structs.replace(new, tags=before.tags)
    return new


def _check_change(bucket: Bucket, params: Params, version: ObjectVersion) -> None:
    """A copy onto itself must change something."""
    same = (bucket.name, params["Key"]) == (version.bucket, version.key) and version.latest
    changing = ("StorageClass", "ServerSideEncryption", "WebsiteRedirectLocation", "SSECustomerAlgorithm")
    if (
        same
        and params.get("MetadataDirective", "COPY") == "COPY"
        and not any(name in params for name in changing)
        and documents.load(bucket, documents.ENCRYPTION) is None
    ):
        raise S3Error(
            "InvalidRequest",
            "This copy request is illegal because it is trying to copy an object to itself without changing the object's "
            "metadata, storage class, website redirect location or encryption attributes.",
        )


@s3.waits("UploadPartCopy", resources=("object:Key",))
async def upload_part_copy(context: Context, params: Params) -> dict[str, Any]:
    """A part of a multipart upload from an object, or from a range of it."""
    key = attributes.check_key(params["Key"])
    gate = await enter(context, params)
    gate.require("s3:PutObject", "WRITE", key)
    if not 1 <= params["PartNumber"] <= 10_000:
        raise S3Error("InvalidArgument", "Part number must be an integer between 1 and 10000, inclusive")
    with told():
        upload = await gate.objects.upload(gate.bucket.name, key, params["UploadId"])
    data_key = encryption.open_key(context, upload.attributes.encryption, params, uploading=True)
    source = await _open(context, params)
    try:
        first, last = _part_range(params.get("CopySourceRange"), source.version.size)
        with told(source.name):
            part = await gate.objects.copy_part(
                source.reading,
                gate.bucket.name,
                key,
                params["UploadId"],
                params["PartNumber"],
                first=first,
                last=last,
                source_key=source.key,
                data_key=data_key,
            )
    finally:
        await source.reading.close()
    return {
        "CopyPartResult": {
            "ETag": f'"{part.etag}"',
            "LastModified": part.modified,
            **checksums.told(part.checksum, with_type=False),
        },
        "CopySourceVersionId": attributes.version_id(source.gate.bucket, source.version),
        **encryption.shape(upload.attributes.encryption),
    }


def _part_range(text: str | None, size: int) -> tuple[int, int | None]:
    if text is None:
        return 0, None
    match = _RANGE.fullmatch(text)
    if match is None or int(match[2]) < int(match[1]):
        raise S3Error(
            "InvalidArgument",
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the "
            "zero-based offsets of the first and last bytes to copy",
            fields={"ArgumentName": "x-amz-copy-source-range", "ArgumentValue": text[:100]},
        )
    first, last = int(match[1]), int(match[2])
    if last >= size:
        raise S3Error(
            "InvalidRange" if first >= size else "InvalidArgument",
            f"Range specified is not valid for source object of size: {size}",
            status=416 if first >= size else 400,
        )
    return first, last
