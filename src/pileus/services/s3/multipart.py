"""Multipart uploads, but for parts that are copied (``copy``)."""

from typing import Any
from urllib.parse import quote

from pileus.engines.objects.model import Attributes, Checksum, CompletedPart, Upload
from pileus.operations.context import Context
from pileus.services.s3 import acl, attributes, checksums, conditions, encryption
from pileus.services.s3.conditions import unquoted
from pileus.services.s3.errors import S3Error, malformed, told
from pileus.services.s3.gate import Gate, enter
from pileus.services.s3.listing import Encoder, page_size
from pileus.services.s3.service import Params, s3

_MAX_PARTS = 10_000


@s3.waits("CreateMultipartUpload", resources=("object:Key",))
async def create_multipart_upload(context: Context, params: Params) -> dict[str, Any]:
    """Begins an upload; all that goes with the object is said here."""
    key = attributes.check_key(params["Key"])
    gate = await enter(context, params)
    gate.require("s3:PutObject", "WRITE", key)
    algorithm = checksums.algorithm(params.get("ChecksumAlgorithm"))
    kind = checksums.checksum_type(params.get("ChecksumType"), algorithm)
    chosen, _ = await encryption.choose(context, gate.bucket, key, params)
    given: Attributes = attributes.of_new(gate, params, chosen)
    with told():
        upload = await gate.objects.create_upload(
            gate.bucket.name,
            key,
            attributes=given,
            initiator=context.account,
            algorithm=algorithm,
            checksum_type=kind,
        )
    return {
        "Bucket": gate.bucket.name,
        "Key": key,
        "UploadId": upload.upload_id,
        "ChecksumAlgorithm": upload.algorithm if algorithm else None,
        "ChecksumType": upload.checksum_type if algorithm else None,
        **encryption.shape(chosen),
    }


@s3.waits("UploadPart", resources=("object:Key",), streams=True)
async def upload_part(context: Context, params: Params) -> dict[str, Any]:
    """Stores a part. A part of the same number that was there is replaced."""
    key = attributes.check_key(params["Key"])
    gate = await enter(context, params)
    gate.require("s3:PutObject", "WRITE", key)
    if not 1 <= params["PartNumber"] <= _MAX_PARTS:
        raise S3Error("InvalidArgument", "Part number must be an integer between 1 and 10000, inclusive")
    body = context.call.body
    assert body is not None
    upload = await _upload(gate, key, params["UploadId"])
    digests = checksums.of_body(params, body, default=None)
    if (
        upload.algorithm
        and digests.algorithm
        and digests.algorithm != upload.algorithm
        and digests.expected is not None
    ):
        raise S3Error(
            "InvalidRequest",
            f"Checksum Type mismatch occurred, expected checksum Type: {upload.algorithm.lower()}, "
            f"actual checksum Type: {digests.algorithm.lower()}",
        )
    data_key = encryption.open_key(context, upload.attributes.encryption, params, uploading=True)
    with told():
        part = await gate.objects.put_part(
            gate.bucket.name,
            key,
            params["UploadId"],
            params["PartNumber"],
            aiter(body),
            digests=digests,
            data_key=data_key,
        )
    return {
        "ETag": f'"{part.etag}"',
        **checksums.told(part.checksum, with_type=False),
        **encryption.shape(upload.attributes.encryption),
    }


async def _upload(gate: Gate, key: str, upload_id: str) -> Upload:
    with told():
        return await gate.objects.upload(gate.bucket.name, key, upload_id)


@s3.waits("CompleteMultipartUpload", resources=("object:Key",))
async def complete_multipart_upload(context: Context, params: Params) -> dict[str, Any]:
    """Makes the object of its parts."""
    key = attributes.check_key(params["Key"])
    gate = await enter(context, params)
    gate.require("s3:PutObject", "WRITE", key)
    document = params.get("MultipartUpload")
    named: list[Params] = document.get("Parts", []) if document else []
    if not named or len(named) > _MAX_PARTS or not all("PartNumber" in one and "ETag" in one for one in named):
        raise malformed()
    parts = [
        CompletedPart(
            number=one["PartNumber"],
            etag=unquoted(one["ETag"]),
            checksum=next((one[name] for name in _PART_CHECKSUMS if one.get(name)), None),
        )
        for one in named
    ]
    checksum = _whole_checksum(params)
    with told():
        made = await gate.objects.complete_upload(
            gate.bucket.name,
            key,
            params["UploadId"],
            parts,
            checksum=checksum,
            size=params.get("MpuObjectSize"),
            conditions=conditions.of_write(params),
        )
    return {
        "Location": f"/{gate.bucket.name}/{quote(key)}",
        "Bucket": gate.bucket.name,
        "Key": key,
        "ETag": f'"{made.etag}"',
        "VersionId": attributes.made_id(gate.bucket, made),
        **checksums.told(made.checksum),
        **encryption.shape(made.attributes.encryption, customer=False),
    }


_PART_CHECKSUMS = [f"Checksum{name}" for name in checksums.ALGORITHMS]


def _whole_checksum(params: Params) -> Checksum | None:
    given = checksums.given(params)
    if given is None:
        return None
    kind = params.get("ChecksumType")
    if kind is None:
        kind = "COMPOSITE" if "-" in given[1] else "FULL_OBJECT"
    found = checksums.checksum_type(kind, given[0])
    assert found is not None
    return Checksum(algorithm=given[0], value=given[1], type=found)


@s3.waits("AbortMultipartUpload", resources=("object:Key",))
async def abort_multipart_upload(context: Context, params: Params) -> dict[str, Any]:
    """Gives an upload up; its parts are gone."""
    gate = await enter(context, params)
    gate.require("s3:AbortMultipartUpload", "WRITE", params["Key"])
    with told():
        await gate.objects.abort_upload(
            gate.bucket.name, params["Key"], params["UploadId"], initiated=params.get("IfMatchInitiatedTime")
        )
    return {}


@s3.waits("ListParts", resources=("object:Key",))
async def list_parts(context: Context, params: Params) -> dict[str, Any]:
    """The parts of an upload."""
    gate = await enter(context, params)
    gate.require("s3:ListMultipartUploadParts", None, params["Key"])
    size, after = page_size(params, "MaxParts"), params.get("PartNumberMarker", 0)
    if not 0 <= after < 1 << 31:
        raise S3Error("InvalidArgument", "Argument part-number-marker must be an integer between 0 and 2147483647")
    with told():
        page = await gate.objects.list_parts(
            gate.bucket.name, params["Key"], params["UploadId"], after=after, limit=size
        )
    upload = page.upload
    return {
        "Bucket": gate.bucket.name,
        "Key": params["Key"],
        "UploadId": params["UploadId"],
        "PartNumberMarker": after,
        "NextPartNumberMarker": page.next_number if page.truncated else (page.parts[-1].number if page.parts else 0),
        "MaxParts": size,
        "IsTruncated": page.truncated,
        "Parts": [
            {
                "PartNumber": part.number,
                "LastModified": part.modified,
                "ETag": f'"{part.etag}"',
                "Size": part.size,
                **checksums.told(part.checksum, with_type=False),
            }
            for part in page.parts
        ],
        "Initiator": acl.owner_shape(upload.initiator),
        "Owner": acl.owner_shape(upload.attributes.owner),
        "StorageClass": upload.attributes.storage_class,
        "ChecksumAlgorithm": upload.algorithm,
        "ChecksumType": upload.checksum_type,
    }


@s3.waits("ListMultipartUploads", resources=("bucket:Bucket",))
async def list_multipart_uploads(context: Context, params: Params) -> dict[str, Any]:
    """The unfinished uploads of a bucket."""
    gate = await enter(context, params)
    gate.require("s3:ListBucketMultipartUploads", "READ")
    encode, size = Encoder(params), page_size(params, "MaxUploads")
    prefix, delimiter = params.get("Prefix", ""), params.get("Delimiter", "")
    key_marker, upload_marker = params.get("KeyMarker", ""), params.get("UploadIdMarker", "")
    with told():
        page = await gate.objects.list_uploads(
            gate.bucket.name,
            prefix=prefix,
            delimiter=delimiter,
            key_marker=key_marker,
            upload_marker=upload_marker if key_marker else "",
            limit=size,
        )
    return {
        "Bucket": gate.bucket.name,
        "Prefix": encode(prefix),
        "Delimiter": encode(delimiter) or None,
        "KeyMarker": encode(key_marker),
        "UploadIdMarker": upload_marker,
        "NextKeyMarker": encode(page.next_key) if page.truncated else None,
        "NextUploadIdMarker": page.next_upload_id or None if page.truncated else None,
        "MaxUploads": size,
        "EncodingType": encode.type,
        "IsTruncated": page.truncated,
        "Uploads": [
            {
                "Key": encode(upload.key),
                "UploadId": upload.upload_id,
                "Initiated": upload.initiated,
                "StorageClass": upload.attributes.storage_class,
                "Owner": acl.owner_shape(upload.attributes.owner),
                "Initiator": acl.owner_shape(upload.initiator),
                "ChecksumAlgorithm": upload.algorithm,
                "ChecksumType": upload.checksum_type,
            }
            for upload in page.uploads
        ],
        "CommonPrefixes": [{"Prefix": encode(one)} for one in page.prefixes],
    }
