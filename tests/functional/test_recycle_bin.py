"""What is deleted can be restored for as long as a rule says, and not longer."""

import pytest
from awaitable_client import Awaitable

from pileus.records import Image, Snapshot


@pytest.fixture
def rbin(cloud):
    return Awaitable(cloud.client("rbin"))


@pytest.fixture
def snapshot(cloud, ec2):
    """``await snapshot(Owner="x")``: the id of a completed snapshot with tags."""

    async def make(**tags):
        zone = f"{cloud.config.default_region}a"
        volume = (await ec2.create_volume(AvailabilityZone=zone, Size=1))["VolumeId"]
        tagged = [{"ResourceType": "snapshot", "Tags": [{"Key": k, "Value": v} for k, v in tags.items()]}]
        made = await ec2.create_snapshot(VolumeId=volume, **({"TagSpecifications": tagged} if tags else {}))
        return made["SnapshotId"]

    return make


def days(number):
    return {"RetentionPeriodValue": number, "RetentionPeriodUnit": "DAYS"}


async def test_without_a_rule_nothing_is_kept(ec2, snapshot):
    made = await snapshot()
    await ec2.delete_snapshot(SnapshotId=made)
    assert (await ec2.list_snapshots_in_recycle_bin())["Snapshots"] == []
    refused = await ec2.refusal("restore_snapshot_from_recycle_bin", SnapshotId=made)
    assert refused == ("InvalidSnapshot.NotFound", 400)


async def test_snapshots_are_kept_restored_and_forgotten(cloud, ec2, rbin, snapshot, in_time):
    rule = await rbin.create_rule(
        ResourceType="EBS_SNAPSHOT",
        RetentionPeriod=days(2),
        ResourceTags=[{"ResourceTagKey": "Owner", "ResourceTagValue": "us"}],
        Description="ours",
    )
    ours, theirs = await snapshot(Owner="us"), await snapshot(Owner="them")
    for one in (ours, theirs):
        await ec2.delete_snapshot(SnapshotId=one)
    (binned,) = (await ec2.list_snapshots_in_recycle_bin())["Snapshots"]
    assert binned["SnapshotId"] == ours
    assert (binned["RecycleBinExitTime"] - binned["RecycleBinEnterTime"]).days == 2
    assert await ec2.refusal("describe_snapshots", SnapshotIds=[ours]) == ("InvalidSnapshot.NotFound", 400)
    restored = await ec2.restore_snapshot_from_recycle_bin(SnapshotId=ours)
    assert (restored["SnapshotId"], restored["State"]) == (ours, "completed")
    assert (await ec2.describe_snapshots(SnapshotIds=[ours]))["Snapshots"]
    await ec2.delete_snapshot(SnapshotId=ours)
    await rbin.delete_rule(Identifier=rule["Identifier"])
    await in_time(lambda view: view.get(Snapshot, ours) is None, step=3600)


async def test_images_are_kept_with_their_names(cloud, ec2, rbin, snapshot):
    await rbin.create_rule(ResourceType="EC2_IMAGE", RetentionPeriod=days(1))
    root = {"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": await snapshot()}}
    common = {"Architecture": "x86_64", "RootDeviceName": "/dev/xvda", "BlockDeviceMappings": [root]}
    image = (await ec2.register_image(Name="kept", **common))["ImageId"]
    await ec2.deregister_image(ImageId=image)
    assert await ec2.refusal("describe_images", ImageIds=[image]) == ("InvalidAMIID.NotFound", 400)
    assert await ec2.refusal("register_image", Name="kept", **common) == ("InvalidAMIName.Duplicate", 400)
    (binned,) = (await ec2.list_images_in_recycle_bin())["Images"]
    assert (binned["ImageId"], binned["Name"]) == (image, "kept")
    await rbin.create_rule(ResourceType="EBS_SNAPSHOT", RetentionPeriod=days(1))
    await ec2.delete_snapshot(SnapshotId=root["Ebs"]["SnapshotId"])
    assert await ec2.refusal("restore_image_from_recycle_bin", ImageId=image) == ("IncorrectState", 400)
    await ec2.restore_snapshot_from_recycle_bin(SnapshotId=root["Ebs"]["SnapshotId"])
    await ec2.restore_image_from_recycle_bin(ImageId=image)
    assert (await ec2.describe_images(ImageIds=[image]))["Images"]
    assert cloud.store.view().get(Image, image).binned is None


async def test_rules(rbin, clock):
    made = await rbin.create_rule(
        ResourceType="EBS_SNAPSHOT", RetentionPeriod=days(7), Tags=[{"Key": "a", "Value": "b"}], Description="all"
    )
    id_, arn = made["Identifier"], made["RuleArn"]
    assert (await rbin.list_tags_for_resource(ResourceArn=arn))["Tags"] == [{"Key": "a", "Value": "b"}]
    await rbin.tag_resource(ResourceArn=arn, Tags=[{"Key": "c", "Value": "d"}])
    await rbin.untag_resource(ResourceArn=arn, TagKeys=["a"])
    assert (await rbin.list_tags_for_resource(ResourceArn=arn))["Tags"] == [{"Key": "c", "Value": "d"}]
    changed = await rbin.update_rule(Identifier=id_, RetentionPeriod=days(9))
    assert changed["RetentionPeriod"] == days(9)
    (listed,) = (await rbin.list_rules(ResourceType="EBS_SNAPSHOT"))["Rules"]
    assert listed["Identifier"] == id_
    assert (await rbin.list_rules(ResourceType="EC2_IMAGE"))["Rules"] == []
    delay = {"UnlockDelay": {"UnlockDelayValue": 7, "UnlockDelayUnit": "DAYS"}}
    locked = await rbin.lock_rule(Identifier=id_, LockConfiguration=delay)
    assert (locked["LockState"], locked["LockConfiguration"]) == ("locked", delay)
    assert await rbin.refusal("delete_rule", Identifier=id_) == ("ConflictException", 409)
    assert (await rbin.unlock_rule(Identifier=id_))["LockState"] == "pending_unlock"
    assert await rbin.refusal("update_rule", Identifier=id_, Description="x") == ("ConflictException", 409)
    assert await rbin.refusal("get_rule", Identifier="0123456789a") == ("ResourceNotFoundException", 404)
    for wrong in (
        {"ResourceType": "EBS_SNAPSHOT", "RetentionPeriod": days(366)},
        {"ResourceType": "EBS_VOLUME", "RetentionPeriod": days(1)},
    ):
        assert await rbin.refusal("create_rule", **wrong) == ("ValidationException", 400)
