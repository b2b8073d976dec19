"""Bodies and answers that stream: sockets, signatures, memory, and what is left when one side goes away."""

import asyncio
import contextlib
import resource
import socket
from urllib.parse import urlsplit

import pytest
from awaitable_client import Awaitable
from s3_requests import ask, pattern, presigned, signed

BUCKET = "the-bucket"
MIB = 1 << 20


@pytest.fixture
async def s3(cloud):
    client = Awaitable(cloud.client("s3"))
    await client.create_bucket(Bucket=BUCKET)
    return client


@contextlib.asynccontextmanager
async def connected(cloud):
    parts = urlsplit(cloud.endpoint)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=1 << 24)
    try:
        yield reader, writer
    finally:
        writer.close()


def head_of(method, path, headers, length):
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join([*lines, f"Content-Length: {length}"]) + "\r\n\r\n").encode("latin-1")


def unsigned_body(cloud, key, **headers):
    method, path, sent, _ = signed(cloud, "PUT", f"/{BUCKET}/{key}", headers, payload="UNSIGNED-PAYLOAD")
    return method, path, {**sent, "X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"}


async def status_of(reader):
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
    return int(head.split()[1]), head


async def test_the_body_is_asked_for_only_when_it_may_come(cloud, s3):
    async with connected(cloud) as (reader, writer):
        writer.write(head_of(*unsigned_body(cloud, "key", Expect="100-continue"), 4))
        assert (await status_of(reader))[0] == 100
        writer.write(b"body")
        assert (await status_of(reader))[0] == 200
    other = signed(cloud, "PUT", "/no-such-bucket/key", {"Expect": "100-continue"}, payload="UNSIGNED-PAYLOAD")
    async with connected(cloud) as (reader, writer):
        writer.write(head_of(*other[:3], 1 << 30))
        status, head = await status_of(reader)
        assert (status, b"connection: close" in head.lower()) == (404, True)
    async with connected(cloud) as (reader, writer):
        method, path, headers = unsigned_body(cloud, "key", Expect="100-continue")
        headers["Authorization"] = headers["Authorization"][:-4] + "0000"
        writer.write(head_of(method, path, headers, 1 << 30))
        assert (await status_of(reader))[0] == 403


async def test_a_connection_goes_on_after_a_refusal_with_a_small_body(cloud, s3):
    async with connected(cloud) as (reader, writer):
        method, path, headers, _ = signed(cloud, "PUT", "/no-such-bucket/key", payload="UNSIGNED-PAYLOAD")
        writer.write(head_of(method, path, headers, 5) + b"12345")
        status, head = await status_of(reader)
        length = int(
            next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")).split()[1]
        )
        await reader.readexactly(length)
        assert status == 404
        writer.write(head_of(*unsigned_body(cloud, "key"), 3) + b"abc")
        assert (await status_of(reader))[0] == 200


async def test_a_client_that_leaves_leaves_nothing(cloud, directory, s3):
    async with connected(cloud) as (_, writer):
        writer.write(head_of(*unsigned_body(cloud, "key"), 10 * MIB) + pattern(3 * MIB))
        await writer.drain()
        await asyncio.sleep(0.3)
    assert await s3.refusal("get_object", Bucket=BUCKET, Key="key") == ("NoSuchKey", 404)
    blobs = [path for path in (directory / "objects" / "blobs").rglob("*") if path.is_file()]
    async with asyncio.timeout(20):
        while any(path.exists() for path in blobs):
            await cloud.objects().sweep()
            await asyncio.sleep(0.1)


async def test_a_body_needs_a_length(cloud, s3):
    method, path, headers = unsigned_body(cloud, "key")
    async with connected(cloud) as (reader, writer):
        head = head_of(method, path, headers, 0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
        writer.write(head + b"1\r\na\r\n0\r\n\r\n")
        assert (await status_of(reader))[0] == 411


async def test_signed_chunks(cloud, s3):
    """boto3 sends them with a trailer; a chunk that was changed on the way is refused, and nothing is stored."""
    good = b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n"
    headers = {
        "Content-Encoding": "aws-chunked",
        "X-Amz-Decoded-Content-Length": "5",
        "X-Amz-Trailer": "x-amz-checksum-crc32",
    }
    payload = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
    request = signed(cloud, "PUT", f"/{BUCKET}/key", headers, good, payload=payload)
    status, told, body = await ask(cloud, *request)
    assert (status, told.get("x-amz-checksum-crc32")) == (200, "NhCmhg=="), body
    bad = good.replace(b"hello", b"hallo")
    status, _, body = await ask(cloud, *signed(cloud, "PUT", f"/{BUCKET}/other", headers, bad, payload=payload))
    assert (status, b"BadDigest" in body) == (400, True)
    cut = b"5\r\nhello\r\n0\r\n"
    status, _, body = await ask(cloud, *signed(cloud, "PUT", f"/{BUCKET}/other", headers, cut, payload=payload))
    assert (status, b"IncompleteBody" in body) == (400, True)
    assert await s3.refusal("head_object", Bucket=BUCKET, Key="other") == ("404", 404)


async def test_memory_does_not_grow_with_the_object(cloud, s3):
    """A quarter of a GiB goes in and out in pieces; the process must not come near holding it."""
    size, piece = 256 * MIB, pattern(MIB)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with connected(cloud) as (reader, writer):
        writer.write(head_of(*unsigned_body(cloud, "large"), size))
        for _ in range(size // MIB):
            writer.write(piece)
            await writer.drain()
        assert (await asyncio.wait_for(status_of(reader), 120))[0] == 200
    got = 0
    async with connected(cloud) as (reader, writer):
        path = presigned(cloud, "GET", f"/{BUCKET}/large")
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {urlsplit(cloud.endpoint).netloc}\r\n\r\n".encode())
        assert (await status_of(reader))[0] == 200
        while got < size:
            got += len(await asyncio.wait_for(reader.read(MIB), 60))
    assert (got, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) <= (size, 128 * 1024)


async def test_a_reader_that_leaves_lets_the_object_go(cloud, s3):
    await s3.put_object(Bucket=BUCKET, Key="large", Body=bytes(32 * MIB))
    path = presigned(cloud, "GET", f"/{BUCKET}/large")
    parts = urlsplit(cloud.endpoint)
    with socket.create_connection((parts.hostname, parts.port)) as raw:
        raw.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(raw, f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode())
        assert (await loop.sock_recv(raw, 1000)).startswith(b"HTTP/1.1 200")
    await s3.delete_object(Bucket=BUCKET, Key="large")
    assert (await ask(cloud, "GET", "/health"))[0] == 200
