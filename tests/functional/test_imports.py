"""Disk images in from S3 and out to it, by boto3, against simulated hosts that take every file for a disk."""

import asyncio
import random

import pytest
from awaitable_client import Awaitable

from pileus.records import DataKey, DiskTask, Snapshot
from pileus.services.ec2 import transfers

STRANGER = "000000000002"
DISK = random.Random(3).randbytes(700_000) + bytes(600_000) + b"end"


@pytest.fixture
def s3(cloud):
    return Awaitable(cloud.client("s3"))


@pytest.fixture
def ebs(cloud):
    return Awaitable(cloud.client("ebs"))


@pytest.fixture
async def bucket(s3):
    await s3.create_bucket(Bucket="images")
    await s3.put_object(Bucket="images", Key="a disk.raw", Body=DISK)
    await s3.put_object(Bucket="images", Key="broken", Body=b"broken")
    return "images"


def container(key="a disk.raw", **fields):
    return {"UserBucket": {"S3Bucket": "images", "S3Key": key}, "Description": "sda", **fields}


@pytest.fixture
def finished(ec2):
    """``await finished(task id)``: an import of a snapshot that is over."""

    async def wait(task_id, kind="snapshot"):
        describe = getattr(ec2, f"describe_import_{kind}_tasks")
        for _ in range(600):
            (task,) = (await describe(ImportTaskIds=[task_id]))[f"Import{kind.capitalize()}Tasks"]
            told = task["SnapshotTaskDetail"] if kind == "snapshot" else task
            if told["Status"] != "active":
                return task
            await asyncio.sleep(0.02)
        raise AssertionError(task)

    return wait


async def content(ebs, snapshot_id):
    """The beginning of a snapshot, by the EBS direct APIs."""
    listed = await ebs.list_snapshot_blocks(SnapshotId=snapshot_id)
    data = bytearray(3 * listed["BlockSize"])
    for block in listed["Blocks"]:
        got = await ebs.get_snapshot_block(
            SnapshotId=snapshot_id, BlockIndex=block["BlockIndex"], BlockToken=block["BlockToken"]
        )
        start = block["BlockIndex"] * listed["BlockSize"]
        data[start : start + listed["BlockSize"]] = await asyncio.to_thread(got["BlockData"].read)
    return bytes(data)


async def test_a_snapshot_is_imported(cloud, ec2, ebs, bucket, finished):
    tags = [{"ResourceType": "import-snapshot-task", "Tags": [{"Key": "a", "Value": "b"}]}]
    made = await ec2.import_snapshot(Description="mine", DiskContainer=container(Format="RAW"), TagSpecifications=tags)
    assert made["ImportTaskId"].startswith("import-snap-")
    assert made["SnapshotTaskDetail"]["Status"] == "active"
    task = await finished(made["ImportTaskId"])
    assert (task["Description"], task["Tags"]) == ("mine", [{"Key": "a", "Value": "b"}])
    detail = task["SnapshotTaskDetail"]
    assert (detail["Status"], detail["Format"], detail["DiskImageSize"]) == ("completed", "RAW", float(len(DISK)))
    assert detail["UserBucket"] == {"S3Bucket": "images", "S3Key": "a disk.raw"}
    (snapshot,) = (await ec2.describe_snapshots(SnapshotIds=[detail["SnapshotId"]]))["Snapshots"]
    assert (snapshot["State"], snapshot["VolumeSize"], snapshot["Encrypted"]) == ("completed", 1, False)
    assert (await content(ebs, detail["SnapshotId"])).startswith(DISK)
    assert cloud.store.view().get(DiskTask, made["ImportTaskId"]).source_root is None
    assert not [one for host in cloud.hosts for one in host.spec.conversions]


@pytest.mark.parametrize("url", ["s3://images/a disk.raw", "https://images.s3.us-east-1.amazonaws.com/a%20disk.raw",
                                 "https://s3.amazonaws.com/images/a%20disk.raw"])  # fmt: skip
async def test_an_object_may_be_named_by_a_url(ec2, bucket, finished, url):
    made = await ec2.import_snapshot(DiskContainer={"Url": url})
    assert (await finished(made["ImportTaskId"]))["SnapshotTaskDetail"]["Status"] == "completed"


async def test_an_encrypted_one(cloud, ec2, ebs, bucket, finished):
    kms = Awaitable(cloud.client("kms"))
    key = (await kms.create_key())["KeyMetadata"]["Arn"]
    made = await ec2.import_snapshot(DiskContainer=container(), Encrypted=True, KmsKeyId=key)
    detail = (await finished(made["ImportTaskId"]))["SnapshotTaskDetail"]
    assert (detail["Status"], detail["Encrypted"], detail["KmsKeyId"]) == ("completed", True, key)
    (snapshot,) = (await ec2.describe_snapshots(SnapshotIds=[detail["SnapshotId"]]))["Snapshots"]
    assert (snapshot["Encrypted"], snapshot["KmsKeyId"]) == (True, key)
    assert (await content(ebs, detail["SnapshotId"])).startswith(DISK)
    record = cloud.store.view().get(Snapshot, detail["SnapshotId"])
    assert cloud.store.view().get(DataKey, record.data_key_id)


async def test_an_image_is_imported_and_launched(cloud, ec2, bucket, finished):
    made = await ec2.import_image(
        Description="web", DiskContainers=[container(Format="RAW")], BootMode="uefi", ClientToken="once"
    )
    again = await ec2.import_image(
        Description="web", DiskContainers=[container(Format="RAW")], BootMode="uefi", ClientToken="once"
    )
    assert made["ImportTaskId"] == again["ImportTaskId"]
    assert made["ImportTaskId"].startswith("import-ami-")
    task = await finished(made["ImportTaskId"], "image")
    assert (task["Status"], task["Architecture"], task["BootMode"]) == ("completed", "x86_64", "uefi")
    (image,) = (await ec2.describe_images(ImageIds=[task["ImageId"]]))["Images"]
    assert (image["State"], image["Name"], image["BootMode"]) == ("available", made["ImportTaskId"], "uefi")
    (mapping,) = image["BlockDeviceMappings"]
    assert mapping["Ebs"]["SnapshotId"] == task["SnapshotDetails"][0]["SnapshotId"]
    launched = await ec2.run_instances(ImageId=task["ImageId"], InstanceType="t3.micro", MinCount=1, MaxCount=1)
    await ec2.wait("instance_running", launched["Instances"][0]["InstanceId"])


@pytest.mark.parametrize(("key", "reason"), [
    ("nothing", "Disk validation failed [We do not have access to the given resource. Reason 404 Not Found]"),
    ("broken", "Disk validation failed [It is broken]"),
])  # fmt: skip
async def test_what_can_not_be_imported(cloud, ec2, bucket, finished, key, reason):
    made = await ec2.import_snapshot(DiskContainer=container(key), Encrypted=True)
    detail = (await finished(made["ImportTaskId"]))["SnapshotTaskDetail"]
    assert (detail["Status"], detail["StatusMessage"]) == ("deleted", f"ClientError: {reason}")
    assert "SnapshotId" not in detail
    task = cloud.store.view().get(DiskTask, made["ImportTaskId"])
    assert (task.source_root, task.data_key_id) == (None, None)


async def test_others_objects_are_not_to_be_had(cloud, ec2, bucket):
    theirs = Awaitable(cloud.client("ec2", credentials=cloud.add_account(STRANGER)))
    made = await theirs.import_snapshot(DiskContainer=container())
    for _ in range(300):
        (task,) = (await theirs.describe_import_snapshot_tasks())["ImportSnapshotTasks"]
        if task["SnapshotTaskDetail"]["Status"] != "active":
            break
        await asyncio.sleep(0.02)
    assert task["SnapshotTaskDetail"]["StatusMessage"].endswith("Reason 403 Forbidden]")
    assert (await ec2.describe_import_snapshot_tasks())["ImportSnapshotTasks"] == []
    refused = ec2.refusal("describe_import_snapshot_tasks", ImportTaskIds=[made["ImportTaskId"]])
    assert await refused == ("InvalidConversionTaskId", 400)
    assert await ec2.refusal("cancel_import_task", ImportTaskId=made["ImportTaskId"]) == (
        "InvalidConversionTaskId",
        400,
    )


async def test_a_task_is_cancelled(cloud, ec2, bucket, finished):
    for host in cloud.hosts:
        await host.kill_agent()
    made = await ec2.import_snapshot(DiskContainer=container(), Encrypted=True)
    told = await ec2.cancel_import_task(ImportTaskId=made["ImportTaskId"], CancelReason="enough")
    assert told == {**told, "PreviousState": "active", "State": "deleting"}
    detail = (await finished(made["ImportTaskId"]))["SnapshotTaskDetail"]
    assert (detail["Status"], detail["StatusMessage"]) == ("deleted", "enough")
    refused = ec2.refusal("cancel_import_task", ImportTaskId=made["ImportTaskId"])
    assert await refused == ("InvalidParameterValue", 400)
    for host in cloud.hosts:
        host.start_agent()


async def test_an_import_goes_on_after_everything_was_killed(cloud, ec2, ebs, bucket, finished):
    await cloud.kill_controllers()
    made = await ec2.import_snapshot(DiskContainer=container())
    for host in cloud.hosts:
        await host.kill_agent()
    await cloud.start_controllers()
    await asyncio.sleep(0.2)
    for host in cloud.hosts:
        host.start_agent()
    detail = (await finished(made["ImportTaskId"]))["SnapshotTaskDetail"]
    assert detail["Status"] == "completed"
    assert (await content(ebs, detail["SnapshotId"])).startswith(DISK)


@pytest.mark.parametrize("params", [
    {"DiskContainer": {"Format": "RAW"}},
    {"DiskContainer": {"Url": "https://example.com/x"}},
    {"DiskContainer": {"Url": "s3://bucket"}},
    {"DiskContainer": {"Url": "http://["}},
    {"DiskContainer": container(Format="ova")},
])  # fmt: skip
async def test_calls_that_make_no_sense(ec2, params):
    assert await ec2.refusal("import_snapshot", **params) == ("InvalidParameterValue", 400)


@pytest.mark.parametrize("part", [1 << 30, 5 << 20])
async def test_an_image_is_exported(cloud, ec2, s3, bucket, finished, monkeypatch, part):
    """At once, or in parts."""
    monkeypatch.setattr(transfers, "PART", part)
    disk = DISK.ljust(6 << 20, b"\0") + b"end"
    await s3.put_object(Bucket="images", Key="large", Body=disk)
    made = await ec2.import_image(DiskContainers=[container("large")])
    image_id = (await finished(made["ImportTaskId"], "image"))["ImageId"]
    export = await ec2.export_image(
        ImageId=image_id, DiskImageFormat="VMDK", S3ExportLocation={"S3Bucket": "images", "S3Prefix": "out/"}
    )
    for _ in range(600):
        (task,) = (await ec2.describe_export_image_tasks(ExportImageTaskIds=[export["ExportImageTaskId"]]))[
            "ExportImageTasks"
        ]
        if task["Status"] != "active":
            break
        await asyncio.sleep(0.02)
    assert task["Status"] == "completed", task
    assert task["S3ExportLocation"] == {"S3Bucket": "images", "S3Prefix": "out/"}
    head = await s3.head_object(Bucket="images", Key=f"out/{export['ExportImageTaskId']}.vmdk")
    assert head["ContentLength"] == 13 << 19  # the simulated host takes the data for the file
    part = await s3.get_object(
        Bucket="images", Key=f"out/{export['ExportImageTaskId']}.vmdk", Range=f"bytes=0-{len(disk) - 1}"
    )
    assert await asyncio.to_thread(part["Body"].read) == disk
    refused = ec2.refusal("export_image", ImageId=cloud.image("tiny"), DiskImageFormat="VMDK",
                          S3ExportLocation={"S3Bucket": "images"})  # fmt: skip
    assert (await refused)[0] in {"InvalidAMIID.NotFound", "Unsupported"}
