"""The api process is killed while an object is being uploaded: readers find the old object, and what was stored stays."""

import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import boto3
import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

pytestmark = pytest.mark.slow
PILEUS = str(Path(sys.executable).with_name("pileus"))
MIB = 1 << 20


@pytest.fixture
def cloud():
    """A running cloud's data directory, its port and its keys."""
    path = Path(tempfile.mkdtemp(prefix="pk", dir="/tmp"))
    path.chmod(0o755)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (path / "config.toml").write_text(f"port = {port}\n")
    subprocess.run([PILEUS, "--data-dir", str(path), "up", "--simulate"], check=True, capture_output=True)
    told = subprocess.run([PILEUS, "--data-dir", str(path), "env"], check=True, capture_output=True, text=True)
    yield path, port, dict(line.removeprefix("export ").split("=", 1) for line in told.stdout.splitlines())
    subprocess.run([PILEUS, "--data-dir", str(path), "down"], check=True, capture_output=True)
    shutil.rmtree(path)


def api_process(directory):
    """The process id of this cloud's gateway."""
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdecimal() else []
        except OSError:
            continue
        if b"api" in words and b"serve" in words and str(directory).encode() in words and b"pileus.cmd.main" in words:
            return int(entry.name)
    raise AssertionError("there is no api process")


def begin_upload(port, keys, path, length):
    """A connection on which a body of this length is awaited."""
    request = AWSRequest("PUT", f"http://127.0.0.1:{port}{path}", {"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"})

    class Signer(S3SigV4Auth):
        def payload(self, request):
            return "UNSIGNED-PAYLOAD"

    credentials = Credentials(keys["AWS_ACCESS_KEY_ID"], keys["AWS_SECRET_ACCESS_KEY"])
    Signer(credentials, "s3", "us-east-1").add_auth(request)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.putrequest("PUT", path)
    for name, value in request.headers.items():
        connection.putheader(name, value)
    connection.putheader("Content-Length", str(length))
    connection.endheaders()
    return connection


def test_a_killed_gateway_leaves_whole_objects(cloud):
    directory, port, keys = cloud
    s3 = boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name="us-east-1",
        aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
        config=Config(retries={"max_attempts": 10, "mode": "standard"}),
    )
    s3.create_bucket(Bucket="the-bucket")
    s3.put_object(Bucket="the-bucket", Key="there", Body=b"before")
    uploads = [begin_upload(port, keys, f"/the-bucket/{key}", 8 * MIB) for key in ("there", "new")]
    for connection in uploads:
        connection.send(bytes(5 * MIB))
    os.kill(api_process(directory), signal.SIGKILL)
    for connection in uploads:
        connection.close()
    for _ in range(100):
        try:
            http.client.HTTPConnection("127.0.0.1", port, timeout=5).request("GET", "/health")
            break
        except OSError:
            time.sleep(0.1)
    assert s3.get_object(Bucket="the-bucket", Key="there")["Body"].read() == b"before"
    assert [one["Key"] for one in s3.list_objects_v2(Bucket="the-bucket")["Contents"]] == ["there"]
    s3.put_object(Bucket="the-bucket", Key="new", Body=b"after")
    assert s3.get_object(Bucket="the-bucket", Key="new")["Body"].read() == b"after"
