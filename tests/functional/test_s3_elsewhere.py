"""A cloud whose objects are kept by another S3, which is a second cloud here. The first runs as users start it."""

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import boto3
import pytest
from awaitable_client import Awaitable
from botocore.config import Config
from s3_requests import bytes_of, pattern

pytestmark = pytest.mark.slow
PILEUS = str(Path(sys.executable).with_name("pileus"))
SECRET_KEY = "PILEUS_OBJECTS_SECRET_KEY"
KEPT = "kept-for-another"
BUCKET = "the-bucket"
MIB = 1 << 20


@pytest.fixture
async def other(cloud):
    """The other S3: its endpoint and keys, and what it keeps."""
    s3 = Awaitable(cloud.client("s3"))
    await s3.create_bucket(Bucket=KEPT)

    async def kept():
        return [one["Key"] for one in (await s3.list_objects_v2(Bucket=KEPT)).get("Contents", [])]

    return SimpleNamespace(endpoint=cloud.endpoint, keys=cloud.credentials, s3=s3, kept=kept, cloud=cloud)


@pytest.fixture
async def place():
    """A data directory for a cloud, which is stopped in the end."""
    path = Path(tempfile.mkdtemp(prefix="pe", dir="/tmp"))
    path.chmod(0o755)
    yield path
    await command(path, "down")
    shutil.rmtree(path)


async def command(path, *words, secret=None):
    environment = {name: value for name, value in os.environ.items() if name != SECRET_KEY}
    if secret is not None:
        environment[SECRET_KEY] = secret
    return await asyncio.to_thread(
        subprocess.run,
        [PILEUS, "--data-dir", str(path), *words],
        check=False,
        capture_output=True,
        text=True,
        env=environment,
    )


def configure(path, other=None, **settings):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    lines = [f"port = {port}"]
    if other is not None:
        settings = {"endpoint": other.endpoint, "bucket": KEPT, "access_key": other.keys.access_key, **settings}
        lines += ["[objects]", *(f'{name} = "{value}"' for name, value in settings.items())]
    (path / "config.toml").write_text("\n".join(lines) + "\n")
    return port


async def started(path, port, **environment):
    up = await command(path, "up", "--simulate", **environment)
    assert up.returncode == 0, up.stderr
    told = (await command(path, "env")).stdout
    keys = dict(line.removeprefix("export ").split("=", 1) for line in told.splitlines())
    client = boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name="us-east-1",
        aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
        config=Config(retries={"total_max_attempts": 1}),
    )
    return Awaitable(client), up


async def test_objects_are_kept_elsewhere(other, place):
    secret = place / "objects.secret"
    secret.write_text(other.keys.secret_key + "\n")
    secret.chmod(0o644)
    port = configure(place, other, secret_key_file=str(secret), prefix="clouds/")
    s3, _ = await started(place, port)
    assert await other.kept() == []  # nothing is left of the trial
    await s3.create_bucket(Bucket=BUCKET)
    body = pattern(9 * MIB)
    await s3.put_object(Bucket=BUCKET, Key="large", Body=body)
    upload = (await s3.create_multipart_upload(Bucket=BUCKET, Key="parts"))["UploadId"]
    parts = []
    for number, data in [(1, body[: 5 * MIB]), (2, body[5 * MIB : 6 * MIB])]:
        named = {"Bucket": BUCKET, "Key": "parts", "UploadId": upload, "PartNumber": number}
        parts.append({"PartNumber": number, "ETag": (await s3.upload_part(**named, Body=data))["ETag"]})
    done = {"Bucket": BUCKET, "Key": "parts", "UploadId": upload, "MultipartUpload": {"Parts": parts}}
    await s3.complete_multipart_upload(**done)
    await s3.put_object(Bucket=BUCKET, Key="small", Body=b"small")

    async def read(key, **params):
        return await bytes_of(await s3.get_object(Bucket=BUCKET, Key=key, **params))

    assert await read("large") == body
    assert await read("large", Range="bytes=8388600-8388700") == body[8388600:8388701]
    assert await read("parts") == body[: 6 * MIB]
    assert await read("small") == b"small"
    kept = await other.kept()
    assert len(kept) == 2 + 2  # the large one has two pieces, each part one; the small one is in the index
    assert {key.split("/")[0] for key in kept} == {"clouds"}
    assert not [path for path in (place / "control/objects/blobs").rglob("*") if path.is_file()]
    first = await bytes_of(await other.s3.get_object(Bucket=KEPT, Key=kept[0]))
    assert body[:64] not in first

    assert (await command(place, "down")).returncode == 0
    s3, _ = await started(place, port)
    assert await read("parts") == body[: 6 * MIB]

    for key in ("large", "parts", "small"):
        await s3.delete_object(Bucket=BUCKET, Key=key)
    async with asyncio.timeout(30):
        while await other.kept():
            await asyncio.sleep(0.1)

    assert (await command(place, "down")).returncode == 0
    configure(place)
    up = await command(place, "up", "--simulate")
    assert up.returncode == 1
    assert "they are not moved" in up.stderr
    text = "".join(log.read_text() for log in (place / "logs").iterdir())
    assert other.keys.secret_key not in text


async def test_while_the_other_s3_does_not_answer(other, place):
    """Small objects, which are in the index, are there; others are ServiceUnavailable until it answers again."""
    port = configure(place, other)
    s3, _ = await started(place, port, secret=other.keys.secret_key)
    await s3.create_bucket(Bucket=BUCKET)
    await s3.put_object(Bucket=BUCKET, Key="large", Body=pattern(MIB))
    await s3.put_object(Bucket=BUCKET, Key="small", Body=b"small")
    await other.cloud.stop_gateway()
    assert await s3.refusal("get_object", Bucket=BUCKET, Key="large") == ("ServiceUnavailable", 503)
    assert await s3.refusal("put_object", Bucket=BUCKET, Key="more", Body=pattern(MIB)) == ("ServiceUnavailable", 503)
    assert await bytes_of(await s3.get_object(Bucket=BUCKET, Key="small")) == b"small"
    assert (await command(place, "down")).returncode == 0
    s3, up = await started(place, port, secret=other.keys.secret_key)
    assert "does not answer now" in up.stderr
    assert await bytes_of(await s3.get_object(Bucket=BUCKET, Key="small")) == b"small"


async def test_what_can_not_work_is_refused_at_once(other, place):
    secret = place / "objects.secret"

    async def refusal(with_secret=None, **settings):
        configure(place, other, **settings)
        up = await command(place, "up", "--simulate", secret=with_secret)
        assert up.returncode == 1
        assert not with_secret or with_secret not in up.stderr
        return up.stderr

    assert SECRET_KEY in await refusal()
    assert "SignatureDoesNotMatch" in await refusal("not-the-secret-key")
    assert "NoSuchBucket" in await refusal(other.keys.secret_key, bucket="no-such-bucket")
    assert str(secret) in await refusal(secret_key_file=str(secret))
    secret.write_text("")
    secret.chmod(0o644)
    assert "no secret access key" in await refusal(secret_key_file=str(secret))
    assert "endpoint" in await refusal(other.keys.secret_key, endpoint="s3.example.net")
    assert "sekret" in await refusal(other.keys.secret_key, sekret_key="x")
    if os.geteuid() == 0:
        secret.write_text(other.keys.secret_key)
        secret.chmod(0o600)
        assert "690000" in await refusal(secret_key_file=str(secret))
