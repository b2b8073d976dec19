"""``pileus ami import``: a distribution's cloud image, from a file or the web, as a machine image of the first account.

It goes the way that any client can go: into a bucket, ImportSnapshot, RegisterImage.
"""

import contextlib
import hashlib
import re
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Generator
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import msgspec

from pileus.cmd.errors import CloudError

PART = 64 << 20
_PIECE = 1 << 20
_FORMATS = ("raw", "qcow2", "vmdk", "vhd", "vhdx")


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be imported. ``sha256``: of the file, in hexadecimal; ``format``: found out when it is None."""

    source: str
    name: str
    boot_mode: str = "legacy-bios"
    format: str | None = None
    sha256: str | None = None


def default_name(source: str) -> str:
    """A name for the image of a file or URL: its file's name without what can't be in one."""
    last = Path(urlsplit(source).path if "://" in source else source).name
    for suffix in (*_FORMATS, "img", "vpc"):
        last = last.removesuffix(f".{suffix}")
    return re.sub(r"[^A-Za-z0-9()\[\] ./\-'@_]", "-", last)[:128].ljust(3, "-")


def import_image(wanted: Wanted, connect: Callable[[str], Any], say: Callable[[str], None], account: str) -> str:
    """Imports it and returns the AMI's id. ``connect`` makes a client of a service.

    Raises:
        CloudError: it can't be read, is not what ``sha256`` says, or is no disk image.
    """
    ec2, s3 = connect("ec2"), connect("s3")
    if ec2.describe_images(Owners=["self"], Filters=[{"Name": "name", "Values": [wanted.name]}])["Images"]:
        raise CloudError(f"There is an image of the name {wanted.name} already. Choose another: --name")
    bucket = f"pileus-imports-{account}"
    if bucket not in {one["Name"] for one in s3.list_buckets()["Buckets"]}:
        region = s3.meta.region_name
        s3.create_bucket(
            Bucket=bucket,
            **({} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}),
        )
    with _opened(wanted, say) as file:
        _check(file, wanted.sha256)
        say("Putting it into a bucket.")
        _put(s3, bucket, wanted.name, file)
    try:
        snapshot_id = _import(ec2, wanted, bucket, say)
    finally:
        s3.delete_object(Bucket=bucket, Key=wanted.name)
    registered = ec2.register_image(
        Name=wanted.name,
        Description=f"Imported from {wanted.source}"[:255],
        Architecture="x86_64",
        VirtualizationType="hvm",
        EnaSupport=True,
        BootMode=wanted.boot_mode,
        RootDeviceName="/dev/sda1",
        BlockDeviceMappings=[{"DeviceName": "/dev/sda1", "Ebs": {"SnapshotId": snapshot_id}}],
    )
    return registered["ImageId"]


@contextlib.contextmanager
def _opened(wanted: Wanted, say: Callable[[str], None]) -> Generator[IO[bytes]]:
    if "://" not in wanted.source:
        try:
            with Path(wanted.source).open("rb") as file:
                yield file
        except OSError as error:
            raise CloudError(f"{wanted.source} can't be read: {error.strerror}") from error
        return
    if urlsplit(wanted.source).scheme not in {"http", "https"}:
        raise CloudError(f"{wanted.source} is neither a file nor an http(s) URL.")
    say(f"Fetching {wanted.source}.")
    with tempfile.TemporaryFile() as file:
        try:
            with urllib.request.urlopen(wanted.source, timeout=60) as answer:  # noqa: S310 - just looked at
                while piece := answer.read(_PIECE):
                    file.write(piece)
        except (OSError, urllib.error.URLError) as error:
            raise CloudError(f"{wanted.source} can't be fetched: {error}") from error
        file.seek(0)
        yield file


def _check(file: IO[bytes], sha256: str | None) -> None:
    if sha256 is None:
        return
    digest = hashlib.sha256()
    while piece := file.read(_PIECE):
        digest.update(piece)
    file.seek(0)
    if digest.hexdigest() != sha256.lower():
        raise CloudError(f"The file is not what was expected: its SHA-256 is {digest.hexdigest()}.")


def _put(s3: Any, bucket: str, key: str, file: IO[bytes]) -> None:
    """Stores the file in parts: a single put ends at 5 GiB."""
    if not file.read(1):
        raise CloudError("The file is empty.")
    file.seek(0)
    upload = s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
    parts: list[dict[str, Any]] = []
    try:
        while piece := file.read(PART):
            number = len(parts) + 1
            done = s3.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=number, Body=piece)
            parts.append({"PartNumber": number, "ETag": done["ETag"]})
    except BaseException:
        s3.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload)
        raise
    s3.complete_multipart_upload(Bucket=bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": parts})


def _import(ec2: Any, wanted: Wanted, bucket: str, say: Callable[[str], None]) -> str:
    container = {"UserBucket": {"S3Bucket": bucket, "S3Key": wanted.name}}
    if wanted.format is not None:
        container["Format"] = wanted.format  # pyright: ignore[reportArgumentType] - a client's parameter
    task_id = ec2.import_snapshot(DiskContainer=container, Description=wanted.name)["ImportTaskId"]
    told = ""
    while True:
        (task,) = ec2.describe_import_snapshot_tasks(ImportTaskIds=[task_id])["ImportSnapshotTasks"]
        detail = task["SnapshotTaskDetail"]
        if detail["Status"] == "completed":
            return detail["SnapshotId"]
        if detail["Status"] != "active":
            raise CloudError(f"It can't be imported: {detail.get('StatusMessage', '')}")
        if (message := detail.get("StatusMessage", "")) != told:
            say(f"{task_id}: {message}")
            told = message
        threading.Event().wait(0.2)
