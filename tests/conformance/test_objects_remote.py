"""Blobs in a bucket of another S3, through botocore, over the network: moto's server plays it."""

import asyncio
import os
import sys
from types import SimpleNamespace

import pytest
import pytest_asyncio

from pileus.aws.client import client
from pileus.aws.remote_blobs import RemoteBucket
from pileus.base.clock import SystemClock
from pileus.engines.objects.errors import BlobsUnavailable, Damaged, StorageFull
from pileus.engines.objects.model import Attributes, Delete, Encryption
from pileus.engines.objects.remote_blobs import RemoteBlobs
from pileus.engines.objects.store import open_objects

KEY = bytes(range(32))
SERVER = """
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server
server = make_server("127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=True)
print(server.port, flush=True)
server.serve_forever()
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def endpoint():
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVER, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    port = int(await process.stdout.readline())
    yield f"http://127.0.0.1:{port}"
    process.kill()
    await process.wait()


@pytest_asyncio.fixture
async def remote(endpoint, tmp_path):
    s3 = client("s3", endpoint=endpoint, region="us-east-1", access_key="a", secret_key="s")
    name = f"blobs-{os.urandom(4).hex()}"
    await asyncio.to_thread(s3.create_bucket, Bucket=name)
    bucket = RemoteBucket(s3, name, unavailable=BlobsUnavailable, full=StorageFull)
    store = await open_objects(tmp_path / "objects", SystemClock(), RemoteBlobs(bucket, "cloud/"))
    await store.create_bucket("bucket", account="1", region="r")

    def listed() -> list[str]:
        return [line["Key"] for line in s3.list_objects_v2(Bucket=name).get("Contents", [])]

    yield SimpleNamespace(store=store, bucket=bucket, listed=listed, s3=s3, name=name)
    await store.close()
    await bucket.close()


async def stream(data: bytes):
    for start in range(0, len(data), 65_536):
        yield data[start : start + 65_536]


async def get(store, name: str, first=0, last=None, key=None) -> bytes:
    async with await store.open("bucket", name) as reading:
        return b"".join([piece async for piece in reading.stream(first, last, key=key)])


@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "encrypted"])
async def test_objects_go_there_and_come_back(remote, key):
    attributes = Attributes(encryption=Encryption(mode="AES256")) if key else Attributes()
    data = os.urandom(20_000_000)
    await remote.store.put("bucket", "large", stream(data), attributes=attributes, data_key=key)
    await remote.store.put("bucket", "middle", stream(data[:100_000]), attributes=attributes, data_key=key)
    await remote.store.put("bucket", "small", stream(data[:100]), attributes=attributes, data_key=key)
    assert len(remote.listed()) == 3 + 1
    assert all(name.startswith("cloud/") for name in remote.listed())
    assert await get(remote.store, "large", key=key) == data
    assert await get(remote.store, "large", 8_388_000, 8_389_000, key=key) == data[8_388_000:8_389_001]
    assert await get(remote.store, "middle", key=key) == data[:100_000]
    assert await get(remote.store, "small", key=key) == data[:100]
    await remote.store.delete("bucket", [Delete(key="large"), Delete(key="middle")], owner="1")
    assert await remote.store.sweep() == 0
    assert remote.listed() == []


async def test_what_the_dead_left_there_is_swept(remote):
    orphan = "0123456789ab" + "cd" * 10
    for number in range(2):
        remote.s3.put_object(Bucket=remote.name, Key=f"cloud/cd/{orphan}/{number}", Body=b"left")
    remote.s3.put_object(Bucket=remote.name, Key="another/cloud", Body=b"not ours")
    await remote.store.put("bucket", "a", stream(bytes(100_000)), attributes=Attributes())
    assert await remote.store.sweep() == 1
    assert len(remote.listed()) == 2
    assert await get(remote.store, "a") == bytes(100_000)


async def test_what_is_missing_or_short_there_is_damaged(remote):
    await remote.store.put("bucket", "a", stream(bytes(100_000)), attributes=Attributes())
    (name,) = remote.listed()
    remote.s3.put_object(Bucket=remote.name, Key=name, Body=b"short")
    with pytest.raises(Damaged):
        await get(remote.store, "a")
    with pytest.raises(Damaged):
        await get(remote.store, "a", 99_000, 99_100)
    remote.s3.delete_object(Bucket=remote.name, Key=name)
    with pytest.raises(Damaged):
        await get(remote.store, "a")


async def test_another_s3_that_does_not_answer(remote, tmp_path):
    for url, name in [("http://127.0.0.1:1", remote.name), (remote.s3.meta.endpoint_url, "no-such-bucket")]:
        gone = client("s3", endpoint=url, region="us-east-1", access_key="a", secret_key="s")
        bucket = RemoteBucket(gone, name, unavailable=BlobsUnavailable, full=StorageFull)
        for call in [bucket.put("a", b""), bucket.get("a", 0, 1), bucket.delete(["a"]), bucket.list("", "")]:
            with pytest.raises(BlobsUnavailable):
                await call
        store = await open_objects(tmp_path / name, SystemClock(), RemoteBlobs(bucket))
        await store.create_bucket("bucket", account="1", region="r")
        with pytest.raises(BlobsUnavailable):
            await store.put("bucket", "a", stream(bytes(100_000)), attributes=Attributes())
        assert (await store.list("bucket")).entries == ()
        await store.close()
        await bucket.close()
