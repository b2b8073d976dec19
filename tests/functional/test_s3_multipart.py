"""Multipart uploads."""

import hashlib

import pytest
from awaitable_client import Awaitable
from s3_requests import bytes_of, pattern

BUCKET = "the-bucket"
MIB = 1 << 20


@pytest.fixture
async def s3(cloud):
    client = Awaitable(cloud.client("s3"))
    await client.create_bucket(Bucket=BUCKET)
    return client


async def begin(s3, key="key", **params):
    return (await s3.create_multipart_upload(Bucket=BUCKET, Key=key, **params))["UploadId"]


async def send(s3, upload, number, body, key="key", **params):
    answer = await s3.upload_part(Bucket=BUCKET, Key=key, UploadId=upload, PartNumber=number, Body=body, **params)
    return {
        "PartNumber": number,
        **{name: v for name, v in answer.items() if name == "ETag" or name.startswith("Checksum")},
    }


async def complete(s3, upload, parts, key="key", **params):
    return await s3.complete_multipart_upload(
        Bucket=BUCKET, Key=key, UploadId=upload, MultipartUpload={"Parts": parts}, **params
    )


async def test_parts_make_an_object(s3):
    bodies = [pattern(5 * MIB, b"1"), pattern(5 * MIB + 1, b"2"), b"end"]
    upload = await begin(s3, Metadata={"a": "b"}, ContentType="text/plain", Tagging="x=y")
    parts = [await send(s3, upload, number, body) for number, body in zip((1, 3, 7), bodies, strict=True)]
    listed = await s3.list_parts(Bucket=BUCKET, Key="key", UploadId=upload)
    assert [(part["PartNumber"], part["Size"]) for part in listed["Parts"]] == [(1, 5 * MIB), (3, 5 * MIB + 1), (7, 3)]
    assert [one["UploadId"] for one in (await s3.list_multipart_uploads(Bucket=BUCKET))["Uploads"]] == [upload]
    assert await s3.refusal("get_object", Bucket=BUCKET, Key="key") == ("NoSuchKey", 404)
    made = await complete(s3, upload, parts)
    digests = b"".join(hashlib.md5(body).digest() for body in bodies)
    assert made["ETag"] == f'"{hashlib.md5(digests).hexdigest()}-3"'
    answer = await s3.get_object(Bucket=BUCKET, Key="key")
    assert await bytes_of(answer) == b"".join(bodies)
    assert (answer["Metadata"], answer["ContentType"], answer["TagCount"]) == ({"a": "b"}, "text/plain", 1)
    second = await s3.get_object(Bucket=BUCKET, Key="key", PartNumber=3)
    assert (second["PartsCount"], second["ContentLength"]) == (3, 5 * MIB + 1)
    assert await bytes_of(second) == bodies[1]
    across = await s3.get_object(Bucket=BUCKET, Key="key", Range=f"bytes={5 * MIB - 2}-{5 * MIB + 1}")
    assert await bytes_of(across) == bodies[0][-2:] + bodies[1][:2]
    assert await s3.refusal("get_object", Bucket=BUCKET, Key="key", PartNumber=2) == ("InvalidPartNumber", 416)
    assert "Uploads" not in await s3.list_multipart_uploads(Bucket=BUCKET)


async def test_what_is_refused(s3):
    upload = await begin(s3)
    small = [await send(s3, upload, number, b"small") for number in (1, 2)]
    args = {"Bucket": BUCKET, "Key": "key", "UploadId": upload}
    told = {
        name: {"Parts": parts}
        for name, parts in {
            "EntityTooSmall": small,
            "InvalidPartOrder": small[::-1],
            "InvalidPart": [{"PartNumber": 3, "ETag": "x"}],
        }.items()
    }
    for code, document in told.items():
        assert (await s3.refusal("complete_multipart_upload", **args, MultipartUpload=document)) == (code, 400)
    assert (await s3.refusal("upload_part", **args, PartNumber=10_001, Body=b""))[0] == "InvalidArgument"
    await s3.abort_multipart_upload(**args)
    assert await s3.refusal("upload_part", **args, PartNumber=1, Body=b"") == ("NoSuchUpload", 404)
    assert await s3.refusal("list_parts", **args) == ("NoSuchUpload", 404)


@pytest.mark.parametrize(
    ("algorithm", "kind"), [("SHA256", "COMPOSITE"), ("CRC32", "FULL_OBJECT"), ("CRC64NVME", None)]
)
async def test_checksums_of_parts_and_wholes(s3, algorithm, kind):
    wanted = {"ChecksumAlgorithm": algorithm, **({"ChecksumType": kind} if kind else {})}
    upload = await begin(s3, **wanted)
    bodies = [pattern(5 * MIB), b"end"]
    parts = [await send(s3, upload, n, body, ChecksumAlgorithm=algorithm) for n, body in enumerate(bodies, 1)]
    assert all(f"Checksum{algorithm}" in part for part in parts)
    made = await complete(s3, upload, parts)
    assert made["ChecksumType"] == (kind or "FULL_OBJECT")
    if kind == "COMPOSITE":
        assert made[f"Checksum{algorithm}"].endswith("-2")
    else:
        whole = await s3.put_object(Bucket=BUCKET, Key="whole", Body=b"".join(bodies), ChecksumAlgorithm=algorithm)
        assert made[f"Checksum{algorithm}"] == whole[f"Checksum{algorithm}"]
    told = await s3.get_object_attributes(Bucket=BUCKET, Key="key", ObjectAttributes=["ObjectParts"])
    assert told["ObjectParts"]["TotalPartsCount"] == 2
    assert [part["Size"] for part in told["ObjectParts"]["Parts"]] == [5 * MIB, 3]


async def test_parts_that_are_copied(s3):
    body = pattern(6 * MIB)
    await s3.put_object(Bucket=BUCKET, Key="from", Body=body)
    upload = await begin(s3)
    args = {"Bucket": BUCKET, "Key": "key", "UploadId": upload, "CopySource": f"{BUCKET}/from"}
    parts = []
    for number, span in enumerate((f"bytes=0-{5 * MIB - 1}", f"bytes={5 * MIB}-{6 * MIB - 1}"), 1):
        copied = await s3.upload_part_copy(**args, PartNumber=number, CopySourceRange=span)
        parts.append({"PartNumber": number, "ETag": copied["CopyPartResult"]["ETag"]})
    refused = await s3.refusal("upload_part_copy", **args, PartNumber=3, CopySourceRange="bytes=0-99999999")
    assert refused == ("InvalidArgument", 400)
    await complete(s3, upload, parts)
    assert await bytes_of(await s3.get_object(Bucket=BUCKET, Key="key")) == body


async def test_a_completion_under_a_condition(s3):
    await s3.put_object(Bucket=BUCKET, Key="key", Body=b"old")
    upload = await begin(s3)
    part = await send(s3, upload, 1, b"new")
    args = {"Bucket": BUCKET, "Key": "key", "UploadId": upload, "MultipartUpload": {"Parts": [part]}}
    assert await s3.refusal("complete_multipart_upload", **args, IfNoneMatch="*") == ("PreconditionFailed", 412)
    await complete(s3, upload, [part])
    assert await bytes_of(await s3.get_object(Bucket=BUCKET, Key="key")) == b"new"
