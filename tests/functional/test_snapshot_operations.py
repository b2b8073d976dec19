"""Snapshots on simulated hosts, whose volumes have blocks: from CreateSnapshot to a volume that is made of it."""

import asyncio
from datetime import timedelta

import pytest
from awaitable_client import Awaitable

from pileus.drivers.errors import PermanentError
from pileus.records import Snapshot, Volume

BLOCK = 512 * 1024
THEIRS = "000000000002"


@pytest.fixture
def root(described):
    """``await root(instance_id)``: the id of its root volume."""

    async def of(instance_id):
        return (await described(instance_id))["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]

    return of


@pytest.fixture
def snapshots(cloud):
    """``snapshots(id)``: what the store knows of a snapshot."""
    return lambda snapshot_id: cloud.store.view().get(Snapshot, snapshot_id)


@pytest.fixture
def completed(cloud, ec2, snapshots):
    """``await completed(volume_id)``: takes a snapshot and waits for its end."""

    async def take(volume_id, **params):
        made = await ec2.create_snapshot(VolumeId=volume_id, **params)
        await cloud.until(lambda _: snapshots(made["SnapshotId"]).state != "pending")
        return made["SnapshotId"]

    return take


def write(cloud, volume_id, index, text):
    """What a guest does."""
    host = next(host for host in cloud.hosts if volume_id in host.volumes.sizes)
    host.volumes.contents.setdefault(volume_id, {})[index] = text.encode().ljust(BLOCK, b"\0")


async def test_a_snapshot_is_taken_when_the_call_answers_and_completed_behind_it(cloud, ec2, launch, root, snapshots):
    (instance,) = await launch()
    volume = await root(instance)
    write(cloud, volume, 3, "before")
    made = await ec2.create_snapshot(
        VolumeId=volume,
        Description="first",
        TagSpecifications=[{"ResourceType": "snapshot", "Tags": [{"Key": "k", "Value": "v"}]}],
    )
    assert (made["State"], made["Progress"], made["VolumeSize"], made["Encrypted"]) == ("pending", "", 1, False)
    assert snapshots(made["SnapshotId"]).taken is not None
    await cloud.until(lambda _: snapshots(made["SnapshotId"]).state == "completed")
    (told,) = (await ec2.describe_snapshots(SnapshotIds=[made["SnapshotId"]]))["Snapshots"]
    assert (told["State"], told["Progress"], told["Description"]) == ("completed", "100%", "first")
    assert (told["VolumeId"], told["StorageTier"], told["Tags"]) == (volume, "standard", [{"Key": "k", "Value": "v"}])
    assert told["FullSnapshotSizeInBytes"] >= BLOCK
    assert told["CompletionTime"] >= told["StartTime"]
    await cloud.settled()


async def test_the_next_snapshot_of_a_line_is_on_top_of_the_last(cloud, ec2, launch, root, completed, snapshots):
    (instance,) = await launch()
    volume = await root(instance)
    first = await completed(volume)
    assert cloud.store.view().get(Volume, volume).line_root == snapshots(first).root
    host = cloud.hosts[0]
    parents = []
    original = host.volumes.upload

    async def spy(spec, on_progress):
        parents.append(spec.parent)
        return await original(spec, on_progress)

    host.volumes.upload = spy
    second = await completed(volume)
    assert parents == [snapshots(first).root]
    await ec2.delete_snapshot(SnapshotId=second)
    third = await completed(volume)
    assert parents[1] is not None
    assert snapshots(third).state == "completed"


async def test_what_hosts_can_not_take_fails(cloud, ec2, launch, root, completed, snapshots):
    (instance,) = await launch()
    cloud.hosts[0].volumes.fail_uploads.append(PermanentError("the disk is on fire"))
    failed = await completed(await root(instance))
    (told,) = (await ec2.describe_snapshots(SnapshotIds=[failed]))["Snapshots"]
    assert (told["State"], told["StateMessage"]) == ("error", "the disk is on fire")
    await ec2.delete_snapshot(SnapshotId=failed)
    assert snapshots(failed) is None


async def test_a_pending_snapshot_outlives_its_host_s_agent_and_the_controllers(cloud, ec2, launch, root, snapshots):
    (instance,) = await launch()
    volume = await root(instance)
    host = cloud.hosts[0]
    gate = asyncio.Event()
    original = host.volumes.upload

    async def slow(spec, on_progress):
        await gate.wait()
        return await original(spec, on_progress)

    host.volumes.upload = slow
    made = (await ec2.create_snapshot(VolumeId=volume))["SnapshotId"]
    await host.kill_agent()
    await cloud.kill_controllers()
    assert snapshots(made).state == "pending"
    gate.set()
    await cloud.start_controllers()
    host.start_agent()
    await cloud.until(lambda _: snapshots(made).state == "completed")


async def test_a_host_that_is_lost_before_the_instant_takes_nothing_later(cloud, ec2, launch, root, in_time, snapshots):
    (instance,) = await launch()
    volume = await root(instance)
    await cloud.hosts[0].kill_agent()
    asking = asyncio.create_task(ec2.create_snapshot(VolumeId=volume))
    await cloud.until(lambda view: any(one.volume_id == volume for one in view.list(Snapshot)))
    (pending,) = [one for one in cloud.store.view().list(Snapshot) if one.volume_id == volume]
    await in_time(lambda _: snapshots(pending.id).state == "error", step=2)
    assert "host" in snapshots(pending.id).state_message
    assert (await asking)["SnapshotId"] == pending.id
    cloud.hosts[0].start_agent()
    await cloud.settled()


async def test_a_volume_is_deleted_while_its_snapshot_is_read(cloud, ec2, launch, root, snapshots):
    (instance,) = await launch()
    volume = await root(instance)
    host = cloud.hosts[0]
    gate = asyncio.Event()
    original = host.volumes.upload

    async def slow(spec, on_progress):
        await gate.wait()
        return await original(spec, on_progress)

    host.volumes.upload = slow
    made = (await ec2.create_snapshot(VolumeId=volume))["SnapshotId"]
    await ec2.terminate_instances(InstanceIds=[instance])
    await ec2.wait("instance_terminated", instance)
    assert volume in host.volumes.sizes
    gate.set()
    await cloud.until(lambda _: snapshots(made).state == "completed")
    await cloud.until(lambda _: volume not in host.volumes.sizes)


async def test_five_at_a_time(cloud, ec2, launch, root):
    (instance,) = await launch()
    volume = await root(instance)
    gate = asyncio.Event()

    async def never(spec, on_progress):
        await gate.wait()
        raise PermanentError("given up")

    cloud.hosts[0].volumes.upload = never
    for _ in range(5):
        await ec2.create_snapshot(VolumeId=volume)
    assert await ec2.refusal("create_snapshot", VolumeId=volume) == ("ConcurrentSnapshotLimitExceeded", 400)
    gate.set()


async def test_volumes_that_nobody_wrote_to_are_their_source_at_once(cloud, ec2, snapshots):
    (zone,) = [f"{cloud.config.default_region}a"]
    empty = (await ec2.create_volume(AvailabilityZone=zone, Size=2))["VolumeId"]
    made = (await ec2.create_snapshot(VolumeId=empty))["SnapshotId"]
    assert (snapshots(made).state, snapshots(made).root, snapshots(made).content) == ("completed", None, None)
    again = (await ec2.create_volume(AvailabilityZone=zone, SnapshotId=made, Size=3))["VolumeId"]
    twice = (await ec2.create_snapshot(VolumeId=again))["SnapshotId"]
    assert (snapshots(twice).state, snapshots(twice).size) == ("completed", 3)


async def test_all_volumes_of_an_instance_at_one_instant(cloud, ec2, launch, described, snapshots):
    mappings = [{"DeviceName": f"/dev/sd{letter}", "Ebs": {"VolumeSize": 1}} for letter in "fgh"]
    (instance,) = await launch(
        BlockDeviceMappings=mappings,
        TagSpecifications=[{"ResourceType": "volume", "Tags": [{"Key": "from", "Value": "volume"}]}],
    )
    volumes = {one["DeviceName"]: one["Ebs"]["VolumeId"] for one in (await described(instance))["BlockDeviceMappings"]}
    made = await ec2.create_snapshots(
        InstanceSpecification={"InstanceId": instance, "ExcludeDataVolumeIds": [volumes["/dev/sdg"]]},
        CopyTagsFromSource="volume",
        Description="together",
    )
    told = {one["VolumeId"]: one for one in made["Snapshots"]}
    assert set(told) == set(volumes.values()) - {volumes["/dev/sdg"]}
    assert all(one["Tags"] == [{"Key": "from", "Value": "volume"}] for one in told.values())
    assert len({snapshots(one["SnapshotId"]).group for one in told.values()}) == 1
    await cloud.until(lambda _: all(snapshots(one["SnapshotId"]).state == "completed" for one in told.values()))
    without_root = await ec2.create_snapshots(InstanceSpecification={"InstanceId": instance, "ExcludeBootVolume": True})
    assert {one["VolumeId"] for one in without_root["Snapshots"]} == {volumes[f"/dev/sd{x}"] for x in "fgh"}
    root = next(volume for name, volume in volumes.items() if "xvda" in name)
    for asked, code in (
        ({"ExcludeDataVolumeIds": [root]}, "InvalidParameterValue"),
        ({"ExcludeDataVolumeIds": ["vol-0123456789abcdef0"]}, "InvalidParameterValue"),
        (
            {"ExcludeBootVolume": True, "ExcludeDataVolumeIds": [volumes[f"/dev/sd{x}"] for x in "fgh"]},
            "InvalidParameterCombination",
        ),
    ):
        answer = await ec2.refusal("create_snapshots", InstanceSpecification={"InstanceId": instance, **asked})
        assert answer == (code, 400)


async def test_a_volume_of_a_snapshot_has_its_blocks(cloud, ec2, launch, root, completed, snapshots):
    (instance,) = await launch()
    snapshot = await completed(await root(instance))
    zone = f"{cloud.config.default_region}a"
    made = (await ec2.create_volume(AvailabilityZone=zone, SnapshotId=snapshot, VolumeType="gp3"))["VolumeId"]
    volume = cloud.store.view().get(Volume, made)
    assert (volume.source_root, volume.source_bytes) == (snapshots(snapshot).root, 1 << 30)
    copied = (await ec2.create_snapshot(VolumeId=made))["SnapshotId"]
    assert (snapshots(copied).state, snapshots(copied).root) == ("completed", snapshots(snapshot).root)


async def test_sharing(cloud, ec2, launch, root, completed):
    (instance,) = await launch()
    snapshot = await completed(await root(instance), Description="mine")
    theirs = Awaitable(cloud.client("ec2", credentials=cloud.add_account(THEIRS)))
    await ec2.create_tags(Resources=[snapshot], Tags=[{"Key": "secret", "Value": "yes"}])
    assert await theirs.refusal("describe_snapshots", SnapshotIds=[snapshot]) == ("InvalidSnapshot.NotFound", 400)
    await ec2.modify_snapshot_attribute(
        SnapshotId=snapshot, Attribute="createVolumePermission", OperationType="add", UserIds=[THEIRS]
    )
    (seen,) = (await theirs.describe_snapshots(SnapshotIds=[snapshot]))["Snapshots"]
    assert "Tags" not in seen or seen["Tags"] == []
    assert await theirs.refusal("delete_snapshot", SnapshotId=snapshot) == ("AuthFailure", 400)
    shared = await theirs.describe_snapshots(RestorableByUserIds=["self"])
    assert [one["SnapshotId"] for one in shared["Snapshots"]] == [snapshot]
    mine = await ec2.describe_snapshots(OwnerIds=["self"])
    assert [one["SnapshotId"] for one in mine["Snapshots"]] == [snapshot]
    copied = await theirs.copy_snapshot(SourceRegion=cloud.config.default_region, SourceSnapshotId=snapshot)
    (told,) = (await theirs.describe_snapshots(SnapshotIds=[copied["SnapshotId"]]))["Snapshots"]
    assert (told["State"], told["OwnerId"], told["VolumeId"]) == ("completed", THEIRS, "vol-ffffffff")
    answer = await ec2.describe_snapshot_attribute(SnapshotId=snapshot, Attribute="createVolumePermission")
    assert answer["CreateVolumePermissions"] == [{"UserId": THEIRS}]
    await ec2.reset_snapshot_attribute(SnapshotId=snapshot, Attribute="createVolumePermission")
    assert await theirs.refusal("describe_snapshots", SnapshotIds=[snapshot]) == ("InvalidSnapshot.NotFound", 400)
    await ec2.modify_snapshot_attribute(SnapshotId=snapshot, CreateVolumePermission={"Add": [{"Group": "all"}]})
    assert (await theirs.describe_snapshots(SnapshotIds=[snapshot]))["Snapshots"]
    await ec2.enable_snapshot_block_public_access(State="block-all-sharing")
    assert await theirs.refusal("describe_snapshots", SnapshotIds=[snapshot]) == ("InvalidSnapshot.NotFound", 400)
    refused = await ec2.refusal(
        "modify_snapshot_attribute", SnapshotId=snapshot, CreateVolumePermission={"Add": [{"Group": "all"}]}
    )
    assert refused == ("OperationNotPermitted", 400)
    assert (await ec2.get_snapshot_block_public_access_state())["State"] == "block-all-sharing"
    await ec2.disable_snapshot_block_public_access()
    assert (await theirs.describe_snapshots(SnapshotIds=[snapshot]))["Snapshots"]
    refused = await ec2.refusal(
        "modify_snapshot_attribute", SnapshotId=snapshot, CreateVolumePermission={"Add": [{"UserId": "someone"}]}
    )
    assert refused == ("InvalidUserID.Malformed", 400)


async def test_encrypted_snapshots_and_their_copies(cloud, ec2, snapshots):
    kms = Awaitable(cloud.client("kms"))
    zone = f"{cloud.config.default_region}a"
    own = (await kms.create_key())["KeyMetadata"]["Arn"]
    volume = (await ec2.create_volume(AvailabilityZone=zone, Size=1, Encrypted=True))["VolumeId"]
    by_default = (await ec2.create_snapshot(VolumeId=volume))["SnapshotId"]
    (told,) = (await ec2.describe_snapshots(SnapshotIds=[by_default]))["Snapshots"]
    assert told["Encrypted"]
    refused = await ec2.refusal(
        "modify_snapshot_attribute", SnapshotId=by_default, OperationType="add", UserIds=[THEIRS]
    )
    assert refused == ("OperationNotPermitted", 400)
    region = cloud.config.default_region
    copy = await ec2.copy_snapshot(SourceRegion=region, SourceSnapshotId=by_default, KmsKeyId=own, Encrypted=True)
    await cloud.until(lambda _: snapshots(copy["SnapshotId"]).state == "completed")
    (told,) = (await ec2.describe_snapshots(SnapshotIds=[copy["SnapshotId"]]))["Snapshots"]
    assert (told["Encrypted"], told["KmsKeyId"]) == (True, own)
    await ec2.modify_snapshot_attribute(SnapshotId=copy["SnapshotId"], OperationType="add", UserIds=[THEIRS])
    refused = await ec2.refusal(
        "modify_snapshot_attribute", SnapshotId=copy["SnapshotId"], OperationType="add", GroupNames=["all"]
    )
    assert refused == ("OperationNotPermitted", 400)


async def test_a_copy_under_another_key_is_sealed_anew(cloud, ec2, launch, root, completed, snapshots):
    (instance,) = await launch()
    volume = await root(instance)
    write(cloud, volume, 0, "to be sealed")
    plain = await completed(volume)
    region = cloud.config.default_region
    same = (await ec2.copy_snapshot(SourceRegion=region, SourceSnapshotId=plain))["SnapshotId"]
    assert (snapshots(same).state, snapshots(same).root) == ("completed", snapshots(plain).root)
    made = await ec2.copy_snapshot(SourceRegion=region, SourceSnapshotId=plain, Encrypted=True)
    await cloud.until(lambda _: snapshots(made["SnapshotId"]).state != "pending")
    assert snapshots(made["SnapshotId"]).state_message is None
    assert snapshots(made["SnapshotId"]).root not in {None, snapshots(plain).root}
    again = await ec2.copy_snapshot(SourceRegion=region, SourceSnapshotId=made["SnapshotId"])
    assert snapshots(again["SnapshotId"]).root == snapshots(made["SnapshotId"]).root


async def test_locks(cloud, ec2, launch, root, completed, clock):
    (instance,) = await launch()
    snapshot = await completed(await root(instance))
    locked = await ec2.lock_snapshot(SnapshotId=snapshot, LockMode="governance", LockDuration=3)
    assert (locked["LockState"], locked["LockDuration"]) == ("governance", 3)
    assert locked["LockExpiresOn"] - locked["LockDurationStartTime"] == timedelta(days=3)
    assert await ec2.refusal("delete_snapshot", SnapshotId=snapshot) == ("OperationNotPermitted", 400)
    await ec2.unlock_snapshot(SnapshotId=snapshot)
    cooling = await ec2.lock_snapshot(SnapshotId=snapshot, LockMode="compliance", LockDuration=3, CoolOffPeriod=2)
    assert cooling["LockState"] == "compliance-cooloff"
    await ec2.unlock_snapshot(SnapshotId=snapshot)
    await ec2.lock_snapshot(SnapshotId=snapshot, LockMode="compliance", LockDuration=3)
    assert await ec2.refusal("unlock_snapshot", SnapshotId=snapshot) == ("OperationNotPermitted", 400)
    for wrong in ({"LockMode": "governance", "LockDuration": 9}, {"LockMode": "compliance", "LockDuration": 2}):
        assert await ec2.refusal("lock_snapshot", SnapshotId=snapshot, **wrong) == ("OperationNotPermitted", 400)
    longer = await ec2.lock_snapshot(SnapshotId=snapshot, LockMode="compliance", LockDuration=30)
    assert longer["LockDuration"] == 30
    (told,) = (await ec2.describe_locked_snapshots())["Snapshots"]
    assert (told["SnapshotId"], told["LockState"]) == (snapshot, "compliance")


async def test_pages_and_filters(cloud, ec2):
    zone = f"{cloud.config.default_region}a"
    volumes = [(await ec2.create_volume(AvailabilityZone=zone, Size=size))["VolumeId"] for size in range(1, 8)]
    made = [(await ec2.create_snapshot(VolumeId=volume))["SnapshotId"] for volume in volumes]
    found = await ec2.all("describe_snapshots", OwnerIds=["self"], PaginationConfig={"PageSize": 5})
    assert {one["SnapshotId"] for one in found["Snapshots"]} == set(made)
    for name, value, expected in (
        ("volume-id", volumes[2], made[2:3]),
        ("volume-size", "4", made[3:4]),
        ("status", "completed", made),
        ("encrypted", "true", []),
    ):
        answer = await ec2.describe_snapshots(OwnerIds=["self"], Filters=[{"Name": name, "Values": [value]}])
        assert {one["SnapshotId"] for one in answer["Snapshots"]} == set(expected), name
    amazon = await ec2.describe_snapshots(OwnerIds=["amazon"])
    assert len(amazon["Snapshots"]) == 2
    assert await ec2.refusal("describe_snapshots", OwnerIds=["me"]) == ("InvalidUserID.Malformed", 400)


async def test_tiers_are_told_and_refused(cloud, ec2):
    zone = f"{cloud.config.default_region}a"
    volume = (await ec2.create_volume(AvailabilityZone=zone, Size=1))["VolumeId"]
    snapshot = (await ec2.create_snapshot(VolumeId=volume))["SnapshotId"]
    (told,) = (await ec2.describe_snapshot_tier_status())["SnapshotTierStatuses"]
    assert (told["SnapshotId"], told["StorageTier"]) == (snapshot, "standard")
    refused = await ec2.refusal("modify_snapshot_tier", SnapshotId=snapshot, StorageTier="archive")
    assert refused == ("UnsupportedOperation", 400)
    assert (await ec2.describe_fast_snapshot_restores())["FastSnapshotRestores"] == []
