"""Objects as clients put, read, list, copy and delete them."""

import base64
import hashlib
import logging
import zlib
from datetime import timedelta
from urllib.parse import quote

import pytest
from awaitable_client import Awaitable
from hypothesis import given, settings
from hypothesis import strategies as st
from s3_requests import ask, bytes_of, pattern, signed

from pileus.services.s3.conditions import byte_range
from pileus.services.s3.errors import S3Error

BUCKET = "the-bucket"


@pytest.fixture
async def s3(cloud):
    client = Awaitable(cloud.client("s3"))
    await client.create_bucket(Bucket=BUCKET)
    return client


async def put(s3, key, body=b"body", **params):
    return await s3.put_object(Bucket=BUCKET, Key=key, Body=body, **params)


async def read(s3, key, **params):
    return await bytes_of(await s3.get_object(Bucket=BUCKET, Key=key, **params))


async def test_an_object_comes_back_as_it_was_put(s3):
    body = pattern(300_000)
    stored = await put(
        s3,
        "a b/é+~%(1)",
        body,
        ContentType="text/plain",
        CacheControl="no-store",
        ContentEncoding="gzip",
        Metadata={"Name": "v  w", "other": "x"},
        Tagging="a=b&c=d%20e",
        StorageClass="STANDARD_IA",
    )
    assert stored["ETag"] == f'"{hashlib.md5(body).hexdigest()}"'
    assert stored["ServerSideEncryption"] == "AES256"
    answer = await s3.get_object(Bucket=BUCKET, Key="a b/é+~%(1)")
    assert await bytes_of(answer) == body
    told = {
        name: answer[name] for name in ("ContentType", "CacheControl", "ContentEncoding", "StorageClass", "TagCount")
    }
    assert told == {
        "ContentType": "text/plain",
        "CacheControl": "no-store",
        "ContentEncoding": "gzip",
        "StorageClass": "STANDARD_IA",
        "TagCount": 2,
    }
    assert answer["Metadata"] == {"name": "v  w", "other": "x"}
    head = await s3.head_object(Bucket=BUCKET, Key="a b/é+~%(1)")
    assert (head["ContentLength"], head["ETag"], head["Metadata"]) == (len(body), stored["ETag"], answer["Metadata"])


async def test_an_empty_object(s3):
    await put(s3, "empty", b"")
    answer = await s3.get_object(Bucket=BUCKET, Key="empty")
    assert (answer["ContentLength"], await bytes_of(answer)) == (0, b"")
    assert await s3.refusal("get_object", Bucket=BUCKET, Key="empty", Range="bytes=0-0") == ("InvalidRange", 416)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("bytes=0-4", (206, "bytes 0-4/1000", 5)),
        ("bytes=990-", (206, "bytes 990-999/1000", 10)),
        ("bytes=-3", (206, "bytes 997-999/1000", 3)),
        ("bytes=999-5000", (206, "bytes 999-999/1000", 1)),
        ("bytes=5-2", (200, None, 1000)),
        ("lines=1-2", (200, None, 1000)),
        ("bytes=0-1,3-4", (200, None, 1000)),
    ],
)
async def test_ranges(s3, asked, told):
    body = pattern(1000)
    await put(s3, "key", body)
    answer = await s3.get_object(Bucket=BUCKET, Key="key", Range=asked)
    got = await bytes_of(answer)
    status = answer["ResponseMetadata"]["HTTPStatusCode"]
    assert (status, answer.get("ContentRange"), len(got)) == told
    first = int(told[1].split()[1].split("-")[0]) if told[1] else 0
    assert got == body[first : first + len(got)]
    head = await s3.head_object(Bucket=BUCKET, Key="key", Range=asked)
    assert (head["ResponseMetadata"]["HTTPStatusCode"], head["ContentLength"]) == (told[0], told[2])


@given(st.integers(0, 30), st.integers(0, 40), st.integers(0, 40), st.sampled_from(["{}-{}", "{}-", "-{}"]))
@settings(max_examples=200)
def test_every_range_lies_within_the_object(size, first, last, form):
    text = "bytes=" + form.format(first, last)
    try:
        span = byte_range(text, size)
    except S3Error as error:
        assert error.status == 416
        assert size == 0 or (form == "-{}" and first == 0) or (form != "-{}" and first >= size)
        return
    if span is None:
        assert form == "{}-{}" and last < first
    else:
        assert 0 <= span[0] <= span[1] < size


async def test_what_is_not_there(s3):
    assert await s3.refusal("get_object", Bucket=BUCKET, Key="none") == ("NoSuchKey", 404)
    assert await s3.refusal("get_object", Bucket="no-such-bucket", Key="none") == ("NoSuchBucket", 404)
    assert await s3.refusal("head_object", Bucket=BUCKET, Key="none") == ("404", 404)
    await s3.delete_object(Bucket=BUCKET, Key="none")


async def test_an_error_names_what_it_is_about(cloud, s3):
    status, headers, body = await ask(cloud, *signed(cloud, "GET", f"/{BUCKET}/some%20key"))
    assert status == 404
    for part in (
        b"<Code>NoSuchKey</Code>",
        b"<Key>some key</Key>",
        f"<Resource>/{BUCKET}/some%20key</Resource>".encode(),
    ):
        assert part in body
    assert f"<RequestId>{headers['x-amz-request-id']}</RequestId>".encode() in body
    assert f"<HostId>{headers['x-amz-id-2']}</HostId>".encode() in body
    status, headers, body = await ask(cloud, *signed(cloud, "HEAD", f"/{BUCKET}/some%20key"))
    assert (status, body) == (404, b"")


async def test_conditional_reads(s3):
    stored = await put(s3, "key")
    etag, at = stored["ETag"], (await s3.head_object(Bucket=BUCKET, Key="key"))["LastModified"]
    hour = timedelta(hours=1)
    for fine in ({"IfMatch": etag}, {"IfNoneMatch": '"x"'}, {"IfModifiedSince": at - hour}, {"IfUnmodifiedSince": at}):
        assert await read(s3, "key", **fine) == b"body"
    # An ETag that matches outweighs a date that does not (RFC 9110, 13.2.2).
    assert await read(s3, "key", IfMatch=etag, IfUnmodifiedSince=at - hour) == b"body"
    for not_modified in ({"IfNoneMatch": etag}, {"IfModifiedSince": at}, {"IfNoneMatch": "*"}):
        assert await s3.refusal("get_object", Bucket=BUCKET, Key="key", **not_modified) == ("304", 304)
    for failed in ({"IfMatch": '"x"'}, {"IfUnmodifiedSince": at - hour}):
        assert await s3.refusal("get_object", Bucket=BUCKET, Key="key", **failed) == ("PreconditionFailed", 412)


async def test_conditional_writes(s3):
    first = await put(s3, "key", b"1", IfNoneMatch="*")
    wanted = {"Bucket": BUCKET, "Key": "key", "Body": b"2"}
    assert await s3.refusal("put_object", **wanted, IfNoneMatch="*") == ("PreconditionFailed", 412)
    assert await s3.refusal("put_object", **wanted, IfMatch='"x"') == ("PreconditionFailed", 412)
    assert await read(s3, "key") == b"1"
    await put(s3, "key", b"2", IfMatch=first["ETag"])
    assert await read(s3, "key") == b"2"
    assert await s3.refusal("put_object", Bucket=BUCKET, Key="none", Body=b"", IfMatch='"x"') == ("NoSuchKey", 404)


async def test_conditional_deletes(s3):
    """As Amazon S3 was seen to answer: a condition on an object that is not there fails."""
    etag = (await put(s3, "key", b"1"))["ETag"]
    wanted = {"Bucket": BUCKET, "Key": "key"}
    assert await s3.refusal("delete_object", **wanted, IfMatch='"x"') == ("PreconditionFailed", 412)
    assert await read(s3, "key") == b"1"
    await s3.delete_object(**wanted, IfMatch=etag)
    for condition in (etag, "*"):
        assert await s3.refusal("delete_object", **wanted, IfMatch=condition) == ("NoSuchKey", 404)
    answer = await s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": "key", "ETag": etag}, {"Key": "none"}]})
    assert [one["Code"] for one in answer["Errors"]] == ["NoSuchKey"]
    assert [one["Key"] for one in answer["Deleted"]] == ["none"]
    await s3.delete_object(**wanted)  # without a condition it is as good as done
    await s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    etag = (await put(s3, "key", b"2"))["ETag"]
    assert (await s3.delete_object(**wanted, IfMatch=etag))["DeleteMarker"]
    assert await s3.refusal("delete_object", **wanted, IfMatch=etag) == ("NoSuchKey", 404)


@pytest.mark.parametrize("operation", ["get", "copy"])
async def test_what_is_damaged_is_an_error(s3, directory, caplog, operation):
    """Told before a status is out, and the log names the object."""
    await put(s3, "key", bytes(100_000))
    (blob,) = [path for path in (directory / "objects" / "blobs").rglob("*") if path.is_file()]
    stored = bytearray(blob.read_bytes())
    stored[100] ^= 1
    blob.write_bytes(stored)
    with caplog.at_level(logging.ERROR, "pileus.services.s3"):
        if operation == "get":
            refused = await s3.refusal("get_object", Bucket=BUCKET, Key="key")
        else:
            # Other encryption: the bytes can't be shared, they must be read.
            params = {"CopySource": f"{BUCKET}/key", "ServerSideEncryption": "aws:kms"}
            refused = await s3.refusal("copy_object", Bucket=BUCKET, Key="to", **params)
    assert refused == ("InternalError", 500)
    assert f"{BUCKET}/key" in {getattr(line, "object", "") for line in caplog.records}


async def test_overridden_headers(s3, cloud):
    await put(s3, "key", ContentType="text/plain")
    answer = await s3.get_object(
        Bucket=BUCKET,
        Key="key",
        ResponseContentType="image/png",
        ResponseContentDisposition='attachment; filename="x"',
        ResponseCacheControl="no-cache",
    )
    told = (answer["ContentType"], answer["ContentDisposition"], answer["CacheControl"])
    assert told == ("image/png", 'attachment; filename="x"', "no-cache")
    status, _, body = await ask(cloud, "GET", f"/{BUCKET}/key?response-content-type=a")
    assert (status, b"InvalidRequest" in body) == (400, True)


CHECKSUMS = {
    "CRC32": lambda data: base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode(),
    "SHA1": lambda data: base64.b64encode(hashlib.sha1(data).digest()).decode(),
    "SHA256": lambda data: base64.b64encode(hashlib.sha256(data).digest()).decode(),
}


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"])
async def test_checksums_that_the_client_calculates(s3, algorithm):
    body = pattern(70_000)
    stored = await put(s3, "key", body, ChecksumAlgorithm=algorithm)
    value = stored[f"Checksum{algorithm}"]
    if algorithm in CHECKSUMS:
        assert value == CHECKSUMS[algorithm](body)
    head = await s3.head_object(Bucket=BUCKET, Key="key", ChecksumMode="ENABLED")
    assert (head[f"Checksum{algorithm}"], head["ChecksumType"]) == (value, "FULL_OBJECT")
    assert f"Checksum{algorithm}" not in await s3.head_object(Bucket=BUCKET, Key="key")
    told = await s3.get_object_attributes(Bucket=BUCKET, Key="key", ObjectAttributes=["Checksum", "ObjectSize", "ETag"])
    assert told["Checksum"] == {f"Checksum{algorithm}": value, "ChecksumType": "FULL_OBJECT"}
    assert (told["ObjectSize"], told["ETag"]) == (70_000, stored["ETag"].strip('"'))
    assert await read(s3, "key") == body


async def test_bodies_that_are_not_what_was_announced_are_not_stored(s3, cloud):
    wrong = base64.b64encode(bytes(16)).decode()
    assert await s3.refusal("put_object", Bucket=BUCKET, Key="k", Body=b"x", ContentMD5=wrong) == ("BadDigest", 400)
    bad = await s3.refusal("put_object", Bucket=BUCKET, Key="k", Body=b"x", ChecksumCRC32="AAAAAA==")
    assert bad == ("BadDigest", 400)
    assert (await s3.refusal("put_object", Bucket=BUCKET, Key="k", Body=b"x", ContentMD5="?"))[0] == "InvalidDigest"
    request = signed(cloud, "PUT", f"/{BUCKET}/k", body=b"x", payload=hashlib.sha256(b"y").hexdigest())
    status, _, body = await ask(cloud, *request)
    assert (status, b"XAmzContentSHA256Mismatch" in body) == (400, True)
    assert await s3.refusal("get_object", Bucket=BUCKET, Key="k") == ("NoSuchKey", 404)


async def test_listing(s3):
    names = ["a/1", "a/2", "b/1", "c", "d", "ü/1", "a b", "z&<"]
    for name in names:
        await put(s3, name)
    everything = await s3.all("list_objects_v2", Bucket=BUCKET, PaginationConfig={"PageSize": 3})
    assert [one["Key"] for one in everything["Contents"]] == sorted(names, key=str.encode)
    page = await s3.list_objects_v2(Bucket=BUCKET, Delimiter="/", MaxKeys=2)
    assert ([one["Key"] for one in page["Contents"]], page["CommonPrefixes"]) == (["a b"], [{"Prefix": "a/"}])
    assert (page["IsTruncated"], page["KeyCount"]) == (True, 2)
    rest = await s3.list_objects_v2(Bucket=BUCKET, Delimiter="/", ContinuationToken=page["NextContinuationToken"])
    assert [one["Prefix"] for one in rest["CommonPrefixes"]] == ["b/", "ü/"]
    old = await s3.list_objects(Bucket=BUCKET, Prefix="a/", Marker="a/1")
    assert [one["Key"] for one in old["Contents"]] == ["a/2"]
    assert [one["Key"] for one in (await s3.list_objects_v2(Bucket=BUCKET, StartAfter="d"))["Contents"]] == [
        "z&<",
        "ü/1",
    ]
    refused = await s3.refusal("list_objects_v2", Bucket=BUCKET, ContinuationToken="?")
    assert refused == ("InvalidArgument", 400)


async def test_copies(s3):
    await put(s3, "from é", b"data", Metadata={"a": "b"}, Tagging="x=y", ContentType="text/plain")
    source = {"Bucket": BUCKET, "Key": "from é"}
    copied = await s3.copy_object(Bucket=BUCKET, Key="to", CopySource=source)
    assert copied["CopyObjectResult"]["ETag"] == f'"{hashlib.md5(b"data").hexdigest()}"'
    answer = await s3.get_object(Bucket=BUCKET, Key="to")
    assert (await bytes_of(answer), answer["Metadata"], answer["TagCount"]) == (b"data", {"a": "b"}, 1)
    await s3.copy_object(
        Bucket=BUCKET,
        Key="to",
        CopySource=source,
        MetadataDirective="REPLACE",
        TaggingDirective="REPLACE",
        Metadata={"c": "d"},
    )
    head = await s3.head_object(Bucket=BUCKET, Key="to")
    assert (head["Metadata"], head["ContentType"], "TagCount" in head) == ({"c": "d"}, "binary/octet-stream", False)
    same = await s3.refusal("copy_object", Bucket=BUCKET, Key="from é", CopySource=source)
    assert same == ("InvalidRequest", 400)
    refused = await s3.refusal("copy_object", Bucket=BUCKET, Key="to", CopySource=source, CopySourceIfMatch='"x"')
    assert refused == ("PreconditionFailed", 412)
    missing = {"Bucket": BUCKET, "Key": "none"}
    assert await s3.refusal("copy_object", Bucket=BUCKET, Key="to", CopySource=missing) == ("NoSuchKey", 404)


async def test_deleting_many(s3):
    for name in "abc":
        await put(s3, name)
    wanted = {"Objects": [{"Key": "a"}, {"Key": "b"}, {"Key": "none"}]}
    answer = await s3.delete_objects(Bucket=BUCKET, Delete=wanted)
    assert sorted(one["Key"] for one in answer["Deleted"]) == ["a", "b", "none"]
    assert [one["Key"] for one in (await s3.list_objects_v2(Bucket=BUCKET))["Contents"]] == ["c"]
    assert await s3.refusal("delete_bucket", Bucket=BUCKET) == ("BucketNotEmpty", 409)
    quiet = await s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": "c"}], "Quiet": True})
    assert "Deleted" not in quiet
    await s3.delete_bucket(Bucket=BUCKET)
    assert await s3.refusal("head_bucket", Bucket=BUCKET) == ("404", 404)


async def test_limits(s3, cloud):
    assert await s3.refusal("put_object", Bucket=BUCKET, Key="k" * 1025, Body=b"") == ("KeyTooLongError", 400)
    await put(s3, "k" * 1024, b"")
    big = {"a": "x" * 2048}
    assert await s3.refusal("put_object", Bucket=BUCKET, Key="k", Body=b"", Metadata=big) == ("MetadataTooLarge", 400)
    await put(s3, "k", b"", Metadata={"a": "x" * 2047})
    tags = "&".join(f"k{n}=v" for n in range(11))
    assert await s3.refusal("put_object", Bucket=BUCKET, Key="k", Body=b"", Tagging=tags) == ("BadRequest", 400)
    refused = await s3.refusal("put_object", Bucket=BUCKET, Key="k", Body=b"", StorageClass="GLACIER")
    assert refused == ("NotImplemented", 501)
    head = {"x-amz-content-sha256": "UNSIGNED-PAYLOAD", "Content-Length": str(6 * 1024**3)}
    status, _, body = await ask(cloud, *signed(cloud, "PUT", f"/{BUCKET}/k", head, payload="UNSIGNED-PAYLOAD"))
    assert (status, b"EntityTooLarge" in body) == (400, True)


@pytest.mark.parametrize(
    "key", ["../../etc/passwd", "/", "//", "a//b", ".", "..", "a/../b", "%2e%2e%2f", "a\x01b", "-", "*"]
)
async def test_keys_are_only_names(s3, cloud, key):
    await put(s3, key, key.encode())
    assert await read(s3, key) == key.encode()
    page = await s3.list_objects_v2(Bucket=BUCKET)
    assert [one["Key"] for one in page["Contents"]] == [key]
    assert quote(key)
