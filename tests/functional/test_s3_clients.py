"""The AWS CLI and rclone, as people use them, against a simulated cloud over loopback."""

import asyncio
import filecmp
import os
import shutil
import sys
import urllib.request
from pathlib import Path

import pytest
from s3_requests import pattern

pytestmark = pytest.mark.slow
AWS = str(Path(sys.executable).with_name("aws"))


@pytest.fixture
def run(cloud, tmp_path):
    """``await run(program, …)``: its standard output; it must succeed."""

    async def go(*argv):
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "AWS_ACCESS_KEY_ID": cloud.credentials.access_key,
            "AWS_SECRET_ACCESS_KEY": cloud.credentials.secret_key,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": cloud.endpoint,
            "RCLONE_CONFIG_CLOUD_TYPE": "s3",
            "RCLONE_CONFIG_CLOUD_PROVIDER": "Other",
            "RCLONE_CONFIG_CLOUD_ENV_AUTH": "true",
            "RCLONE_CONFIG_CLOUD_REGION": "us-east-1",
            "RCLONE_CONFIG_CLOUD_ENDPOINT": cloud.endpoint,
        }
        pipe = asyncio.subprocess.PIPE
        child = await asyncio.create_subprocess_exec(*argv, env=environment, stdout=pipe, stderr=pipe, cwd=tmp_path)
        out, error = await asyncio.wait_for(child.communicate(), 240)
        assert child.returncode == 0, (argv, error.decode())
        return out.decode()

    return go


@pytest.fixture
def tree(tmp_path):
    """A directory with small files and one that is sent in parts."""
    root = tmp_path / "tree"
    (root / "sub dir").mkdir(parents=True)
    (root / "small").write_bytes(b"small")
    (root / "empty").touch()
    (root / "sub dir" / "é+&.txt").write_bytes(pattern(100_000))
    (root / "large").write_bytes(pattern(18 << 20))
    return root


def same(one, other):
    compared = filecmp.dircmp(one, other)
    assert not (compared.left_only or compared.right_only)
    assert not filecmp.cmpfiles(one, other, compared.common_files, shallow=False)[1:][0]
    for name in compared.common_dirs:
        same(one / name, other / name)


async def test_the_aws_cli(run, tree, tmp_path):
    await run(AWS, "s3", "mb", "s3://cli-bucket")
    await run(AWS, "s3", "sync", "tree", "s3://cli-bucket/tree")
    await run(AWS, "s3", "sync", "s3://cli-bucket/tree", "back")
    same(tree, tmp_path / "back")
    assert await run(AWS, "s3", "sync", "tree", "s3://cli-bucket/tree", "--size-only") == ""
    await run(AWS, "s3", "cp", "s3://cli-bucket/tree/large", "s3://cli-bucket/copy")
    await run(AWS, "s3", "mv", "s3://cli-bucket/copy", "moved")
    assert (tmp_path / "moved").read_bytes() == (tree / "large").read_bytes()
    url = (await run(AWS, "s3", "presign", "s3://cli-bucket/tree/small")).strip()
    answer = await asyncio.to_thread(lambda: urllib.request.urlopen(url, timeout=30).read())
    assert answer == b"small"
    head = await run(AWS, "s3api", "head-object", "--bucket", "cli-bucket", "--key", "tree/large", "--query", "ETag")
    assert head.strip().endswith('-3\\""')
    (tree / "small").unlink()
    assert "delete: s3://cli-bucket/tree/small" in await run(
        AWS, "s3", "sync", "tree", "s3://cli-bucket/tree", "--delete"
    )
    assert "tree/sub dir/é+&.txt" in await run(AWS, "s3", "ls", "--recursive", "s3://cli-bucket")
    await run(AWS, "s3", "rb", "--force", "s3://cli-bucket")


@pytest.mark.skipif(shutil.which("rclone") is None, reason="rclone is not installed")
async def test_rclone(run, tree, tmp_path):
    await run("rclone", "mkdir", "cloud:rclone-bucket")
    await run("rclone", "copy", "tree", "cloud:rclone-bucket/tree", "--s3-upload-cutoff", "8M")
    await run("rclone", "check", "tree", "cloud:rclone-bucket/tree", "--download")
    await run("rclone", "check", "tree", "cloud:rclone-bucket/tree")
    (tree / "small").write_bytes(b"changed")
    (tree / "empty").unlink()
    await run("rclone", "sync", "tree", "cloud:rclone-bucket/tree")
    await run("rclone", "copy", "cloud:rclone-bucket/tree", "back")
    same(tree, tmp_path / "back")
    assert "large" in await run("rclone", "lsf", "-R", "cloud:rclone-bucket")
    await run("rclone", "purge", "cloud:rclone-bucket")
