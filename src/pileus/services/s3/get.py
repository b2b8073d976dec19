"""GetObject, HeadObject, GetObjectAttributes: an object's bytes as a stream, and what is known of it."""

from collections.abc import AsyncIterator
from typing import Any

from pileus.engines.objects.interface import Reading
from pileus.engines.objects.model import ObjectVersion
from pileus.operations.call import Reply
from pileus.operations.context import Context
from pileus.services.s3 import attributes, checksums, conditions, encryption
from pileus.services.s3.errors import S3Error, told
from pileus.services.s3.gate import Gate, enter
from pileus.services.s3.service import Params, s3

_OVERRIDES = {
    "ResponseCacheControl": "CacheControl",
    "ResponseContentDisposition": "ContentDisposition",
    "ResponseContentEncoding": "ContentEncoding",
    "ResponseContentLanguage": "ContentLanguage",
    "ResponseContentType": "ContentType",
    "ResponseExpires": "Expires",
}
_ATTRIBUTES = frozenset({"ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"})


@s3.waits("GetObject", resources=("object:Key",))
async def get_object(context: Context, params: Params) -> Reply:
    """An object, or a part of it."""
    gate = await _enter(context, params)
    with told():
        reading = await gate.objects.open(gate.bucket.name, params["Key"], params.get("VersionId"))
    try:
        result, span, status = _read(gate, params, reading.version)
        key = encryption.open_key(context, reading.version.attributes.encryption, params)
        with told(f"{gate.bucket.name}/{params['Key']}"):
            stream = reading.stream(key=key) if span is None else reading.stream(*span, key=key)
        sending = _Sending(reading, stream)
        await sending.begin()
    except BaseException:
        await reading.close()
        raise
    return Reply(result={**result, "Body": sending}, status=status)


class _Sending:
    """The bytes on their way out, holding the object open until they are sent or nobody wants them any more."""

    def __init__(self, reading: Reading, stream: AsyncIterator[bytes]) -> None:
        self._reading = reading
        self._stream = stream
        self._name = f"{reading.version.bucket}/{reading.version.key}"
        self._first: bytes | None = None

    async def begin(self) -> None:
        """Reads ahead, while an error can still be told: the status is not yet out."""
        with told(self._name):
            self._first = await anext(self._stream, None)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        first, self._first = self._first, None
        if first is not None:
            return first
        with told(self._name):
            return await anext(self._stream)

    async def aclose(self) -> None:
        """Lets the object go."""
        await self._reading.close()


@s3.waits("HeadObject", resources=("object:Key",))
async def head_object(context: Context, params: Params) -> Reply:
    """What GetObject would say, without the bytes."""
    gate = await _enter(context, params)
    with told():
        version = await gate.objects.head(gate.bucket.name, params["Key"], params.get("VersionId"))
    result, _, status = _read(gate, params, version)
    encryption.open_key(context, version.attributes.encryption, params)
    return Reply(result=result, status=status)


@s3.waits("GetObjectAttributes", resources=("object:Key",))
async def get_object_attributes(context: Context, params: Params) -> dict[str, Any]:
    """What is asked for of an object, its parts among it."""
    gate = await _enter(context, params, "s3:GetObjectAttributes", "s3:GetObjectVersionAttributes")
    wanted = {name.strip() for one in params.get("ObjectAttributes", ()) for name in one.split(",")}
    if not wanted:
        raise S3Error(
            "InvalidArgument",
            "The x-amz-object-attributes header specifying the attributes to be retrieved is either missing or empty",
        )
    if wanted - _ATTRIBUTES:
        raise S3Error("InvalidArgument", "Invalid attribute name specified.")
    with told():
        version = await gate.objects.head(gate.bucket.name, params["Key"], params.get("VersionId"))
    encryption.open_key(context, version.attributes.encryption, params)
    result: dict[str, Any] = {
        "LastModified": version.modified,
        "VersionId": attributes.version_id(gate.bucket, version),
    }
    if "ETag" in wanted:
        result["ETag"] = version.etag
    if "Checksum" in wanted and version.checksum:
        result["Checksum"] = checksums.told(version.checksum)
    if "ObjectParts" in wanted and version.parts:
        result["ObjectParts"] = _parts(params, version)
    if "StorageClass" in wanted:
        result["StorageClass"] = version.attributes.storage_class
    if "ObjectSize" in wanted:
        result["ObjectSize"] = version.size
    return result


def _parts(params: Params, version: ObjectVersion) -> dict[str, Any]:
    if not any(part.checksum for part in version.parts):
        return {"TotalPartsCount": len(version.parts)}
    most, after = params.get("MaxParts", 1000), params.get("PartNumberMarker", 0)
    if most < 0 or after < 0:
        raise S3Error("InvalidArgument")
    rest = [part for part in version.parts if part.number > after]
    page = rest[: min(most, 1000)]
    return {
        "TotalPartsCount": len(version.parts),
        "PartNumberMarker": after,
        "NextPartNumberMarker": page[-1].number if page else 0,
        "MaxParts": min(most, 1000),
        "IsTruncated": len(rest) > len(page),
        "Parts": [
            {"PartNumber": part.number, "Size": part.size, **checksums.told(part.checksum, with_type=False)}
            for part in page
        ],
    }


async def _enter(
    context: Context,
    params: Params,
    action: str = "s3:GetObject",
    of_version: str = "s3:GetObjectVersion",
) -> Gate:
    attributes.check_key(params["Key"])
    if not context.account and any(name in params for name in _OVERRIDES):
        raise S3Error("InvalidRequest", "Request specific response headers cannot be used for anonymous GET requests.")
    gate = await enter(context, params)
    version_id = params.get("VersionId")
    chosen = action if version_id is None else of_version
    await gate.require_object(chosen, params["Key"], version_id, "READ")
    return gate


def _read(
    gate: Gate, params: Params, version: ObjectVersion
) -> tuple[dict[str, Any], tuple[int, int] | None, int | None]:
    """The answer's members, the bytes to send (None: all), and the status where it is not the usual one."""
    conditions.check_read(params, version)
    result = attributes.told(gate, version, checksum=False)
    span = _span(params, version, result)
    if params.get("ChecksumMode") == "ENABLED" and (span is None or span == (0, version.size - 1)):
        result |= checksums.told(version.checksum)
    result["ContentLength"] = version.size
    if span is not None:
        result["ContentLength"] = span[1] - span[0] + 1
        result["ContentRange"] = f"bytes {span[0]}-{span[1]}/{version.size}"
    for name, member in _OVERRIDES.items():
        if params.get(name) is not None:
            result[member] = params[name]
    return result, span, 206 if span is not None else None


def _span(params: Params, version: ObjectVersion, result: dict[str, Any]) -> tuple[int, int] | None:
    number, wanted = params.get("PartNumber"), params.get("Range")
    if number is None:
        return conditions.byte_range(wanted, version.size)
    if wanted is not None:
        raise S3Error("InvalidRequest", "Cannot specify both Range header and partNumber query parameter")
    if not 1 <= number <= 10_000:
        raise S3Error("InvalidArgument", "Part number must be an integer between 1 and 10000, inclusive")
    if not version.parts:
        if number > 1:
            raise S3Error("InvalidPartNumber", fields={"PartNumberRequested": number, "ActualPartCount": 1})
        return (0, version.size - 1) if version.size else None
    first = 0
    for part in version.parts:
        if part.number == number:
            result["PartsCount"] = len(version.parts)
            if params.get("ChecksumMode") == "ENABLED":
                result |= checksums.told(part.checksum, with_type=False)
                if version.checksum and part.checksum:
                    result["ChecksumType"] = version.checksum.type
            return (first, first + part.size - 1) if part.size else None
        first += part.size
    raise S3Error("InvalidPartNumber", fields={"PartNumberRequested": number, "ActualPartCount": len(version.parts)})
