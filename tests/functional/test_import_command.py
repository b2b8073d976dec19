"""``pileus ami import``, over a simulated cloud."""

import asyncio
import hashlib
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from pileus.cmd import import_image as module
from pileus.cmd.errors import CloudError
from pileus.cmd.import_image import Wanted, default_name, import_image

DISK = b"disk" * 400_000


@pytest.fixture
def perform(cloud):
    """``await perform(…)``: the AMI's id, and what was said."""

    async def run(**fields):
        said = []
        wanted = Wanted(**{"name": "web", **fields})
        id_ = await asyncio.to_thread(import_image, wanted, cloud.client, said.append, cloud.config.account)
        return id_, said

    return run


@pytest.fixture
def image_file(tmp_path):
    path = tmp_path / "image.raw"
    path.write_bytes(DISK)
    return path


async def test_a_file_becomes_an_image(cloud, ec2, perform, image_file, monkeypatch):
    monkeypatch.setattr(module, "PART", 5 << 20)
    id_, _ = await perform(source=str(image_file), boot_mode="uefi", sha256=hashlib.sha256(DISK).hexdigest())
    (image,) = (await ec2.describe_images(ImageIds=[id_]))["Images"]
    assert (image["Name"], image["BootMode"], image["State"]) == ("web", "uefi", "available")
    launched = await ec2.run_instances(ImageId=id_, InstanceType="t3.micro", MinCount=1, MaxCount=1)
    await ec2.wait("instance_running", launched["Instances"][0]["InstanceId"])
    s3 = cloud.client("s3")
    listed = await asyncio.to_thread(s3.list_objects_v2, Bucket=f"pileus-imports-{cloud.config.account}")
    assert listed["KeyCount"] == 0
    with pytest.raises(CloudError, match="already"):
        await perform(source=str(image_file))


async def test_so_does_one_of_the_web(perform, ec2):
    class Server(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(DISK)

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        id_, said = await perform(source=f"http://127.0.0.1:{server.server_port}/x.qcow2")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert said[0].startswith("Fetching http://")
    assert (await ec2.describe_images(ImageIds=[id_]))["Images"]


async def test_what_is_not_imported(perform, image_file, tmp_path):
    with pytest.raises(CloudError, match="SHA-256"):
        await perform(source=str(image_file), sha256="0" * 64)
    with pytest.raises(CloudError, match="can't be read"):
        await perform(source=str(tmp_path / "nothing"))
    with pytest.raises(CloudError, match="neither"):
        await perform(source="ftp://127.0.0.1/x")
    (tmp_path / "empty").touch()
    with pytest.raises(CloudError, match="empty"):
        await perform(source=str(tmp_path / "empty"))
    (tmp_path / "broken").write_bytes(b"broken")
    with pytest.raises(CloudError, match="It is broken"):
        await perform(source=str(tmp_path / "broken"))


@pytest.mark.parametrize(("source", "name"), [
    ("/x/debian-12-genericcloud-amd64.qcow2", "debian-12-genericcloud-amd64"),
    ("https://example.com/a/noble-server.img?x=1", "noble-server"),
    ("a:b.raw", "a-b"),
    ("x", "x--"),
])  # fmt: skip
def test_names(source, name):
    assert default_name(source) == name
