"""Volumes as botocore's clients and waiters see them, on simulated hosts: attached hot, moved, grown, shared, encrypted."""

import asyncio

import pytest
from awaitable_client import OFTEN, Awaitable
from msgspec.structs import replace

from pileus.base.config import Config
from pileus.drivers.errors import PermanentError
from pileus.records import Volume
from pileus.testing.cloud import SimulatedCloud

MIB = 1 << 20


@pytest.fixture
def volume(cloud):
    """``volume(id)``: what the store knows of a volume."""
    return lambda volume_id: cloud.store.view().get(Volume, volume_id)


@pytest.fixture
def wait(ec2):
    """``await wait("volume_available", id)``: as the AWS CLI does."""

    async def until(waiter, *ids):
        waits = ec2.blocking.get_waiter(waiter).wait
        await asyncio.to_thread(waits, VolumeIds=list(ids), WaiterConfig=OFTEN)

    return until


@pytest.fixture
def create(cloud, ec2, wait):
    """``await create()``: the id of an available volume in the zone of the first instance, or the first zone."""

    async def make(zone="us-east-1a", **params):
        answer = await ec2.create_volume(**{"AvailabilityZone": zone, "Size": 5, "VolumeType": "gp3", **params})
        await wait("volume_available", answer["VolumeId"])
        return answer["VolumeId"]

    return make


@pytest.fixture
def here(launch):
    """``await here()``: an instance that runs in the first zone."""

    async def run(**params):
        (instance_id,) = await launch(Placement={"AvailabilityZone": "us-east-1a"}, **params)
        return instance_id

    return run


def disks(cloud, instance_id):
    """The disks of a guest as it has them now, by volume id."""
    return cloud.host_of(instance_id).disks[instance_id]


def attached(volume, volume_id, *instance_ids):
    return lambda _: (
        [(one.instance_id, one.status) for one in volume(volume_id).attachments]
        == [(instance_id, "attached") for instance_id in instance_ids]
    )


async def test_a_volume_goes_from_guest_to_guest(cloud, ec2, here, create, volume, wait):
    first, second = await here(), await here()
    disk = await create()
    assert not any(disk in host.volumes.sizes for host in cloud.hosts)

    await ec2.attach_volume(VolumeId=disk, InstanceId=first, Device="/dev/sdf")
    await cloud.until(attached(volume, disk, first))
    plugged = disks(cloud, first)[disk]
    assert (plugged.serial, plugged.iops, plugged.throughput) == (disk.replace("-", ""), 3000, 125 * MIB)
    assert await ec2.refusal("attach_volume", VolumeId=disk, InstanceId=second, Device="/dev/sdf") == (
        "VolumeInUse",
        400,
    )
    await ec2.detach_volume(VolumeId=disk)
    await wait("volume_available", disk)
    assert disk not in disks(cloud, first)

    await ec2.attach_volume(VolumeId=disk, InstanceId=second, Device="/dev/sdf")
    await cloud.until(attached(volume, disk, second))
    await ec2.detach_volume(VolumeId=disk, InstanceId=second, Device="/dev/sdf")
    await wait("volume_available", disk)
    await ec2.delete_volume(VolumeId=disk)
    await wait("volume_deleted", disk)
    assert not any(disk in host.volumes.sizes for host in cloud.hosts)
    await cloud.settled()


async def test_a_volume_stays_over_stop_and_start(cloud, ec2, here, create, volume, described):
    instance = await here()
    disk = await create()
    await ec2.attach_volume(VolumeId=disk, InstanceId=instance, Device="/dev/sdf")
    await cloud.until(attached(volume, disk, instance))
    await ec2.stop_instances(InstanceIds=[instance])
    await ec2.wait("instance_stopped", instance)
    assert volume(disk).attachments[0].status == "attached"
    await ec2.start_instances(InstanceIds=[instance])
    await ec2.wait("instance_running", instance)
    assert disk in disks(cloud, instance)
    await ec2.stop_instances(InstanceIds=[instance])
    await ec2.wait("instance_stopped", instance)
    await ec2.detach_volume(VolumeId=disk)
    await cloud.until(lambda _: volume(disk).state == "available")
    await ec2.start_instances(InstanceIds=[instance])
    await ec2.wait("instance_running", instance)
    assert disk not in disks(cloud, instance)
    assert [one["DeviceName"] for one in (await described(instance))["BlockDeviceMappings"]] == ["/dev/xvda"]
    await cloud.settled()


async def test_what_goes_with_its_instance_and_what_stays(cloud, ec2, here, create, volume, described):
    instance = await here()
    stays, goes = await create(), await create()
    for disk, device in ((stays, "/dev/sdf"), (goes, "/dev/sdg")):
        await ec2.attach_volume(VolumeId=disk, InstanceId=instance, Device=device)
    mapping = {"DeviceName": "/dev/sdg", "Ebs": {"DeleteOnTermination": True}}
    await ec2.modify_instance_attribute(InstanceId=instance, BlockDeviceMappings=[mapping])
    told = (await ec2.describe_instance_attribute(InstanceId=instance, Attribute="blockDeviceMapping"))[
        "BlockDeviceMappings"
    ]
    assert {one["DeviceName"]: one["Ebs"]["DeleteOnTermination"] for one in told} == {
        "/dev/xvda": True,
        "/dev/sdf": False,
        "/dev/sdg": True,
    }
    await cloud.settled()
    await ec2.terminate_instances(InstanceIds=[instance])
    await ec2.wait("instance_terminated", instance)
    await cloud.settled()
    assert (volume(stays).state, volume(goes)) == ("available", None)


async def test_a_guest_that_does_not_let_go(cloud, clock, in_time, ec2, here, create, volume):
    instance = await here()
    disk = await create()
    await ec2.attach_volume(VolumeId=disk, InstanceId=instance, Device="/dev/sdf")
    await cloud.until(attached(volume, disk, instance))
    cloud.host_of(instance).keeps_disks.add(instance)
    await ec2.detach_volume(VolumeId=disk)
    await in_time(lambda _: volume(disk).attachments[0].status == "busy")
    assert disk in disks(cloud, instance)
    answer = await ec2.detach_volume(VolumeId=disk, Force=True)
    assert answer["State"] == "detaching"
    await cloud.until(lambda _: volume(disk).state == "available")
    assert disk not in disks(cloud, instance)
    await cloud.settled()


async def test_a_volume_grows_and_gets_faster_while_it_is_used(cloud, ec2, here, create, volume):
    instance = await here()
    disk = await create()
    await ec2.attach_volume(VolumeId=disk, InstanceId=instance, Device="/dev/sdf")
    await cloud.until(attached(volume, disk, instance))
    answer = await ec2.modify_volume(VolumeId=disk, Size=8, Iops=3500, Throughput=200)
    assert answer["VolumeModification"]["ModificationState"] == "modifying"
    await cloud.until(lambda _: volume(disk).modification.state == "completed")
    plugged = disks(cloud, instance)[disk]
    assert (plugged.size, plugged.iops, plugged.throughput) == (8 << 30, 3500, 200 * MIB)
    (told,) = (await ec2.describe_volumes_modifications(VolumeIds=[disk]))["VolumesModifications"]
    assert (told["ModificationState"], told["Progress"], told["TargetSize"]) == ("completed", 100, 8)
    assert await ec2.refusal("modify_volume", VolumeId=disk, Size=9) == ("VolumeModificationRateExceeded", 400)
    await cloud.settled()


async def test_one_volume_in_several_guests(cloud, ec2, here, create, volume):
    first, second = await here(), await here()
    disk = await create(VolumeType="io2", Iops=100, MultiAttachEnabled=True)
    for instance in (first, second):
        await ec2.attach_volume(VolumeId=disk, InstanceId=instance, Device="/dev/sdf")
    await cloud.until(attached(volume, disk, first, second))
    assert {spec.shared for host in cloud.hosts for spec in host.spec.volumes if spec.volume_id == disk} == {True}
    await ec2.detach_volume(VolumeId=disk, InstanceId=first)
    await cloud.until(attached(volume, disk, second))
    await ec2.terminate_instances(InstanceIds=[second])
    await ec2.wait("instance_terminated", second)
    assert volume(disk).state == "available"
    await cloud.settled()


async def test_processes_that_die_meanwhile_lose_nothing(cloud, ec2, here, create, volume):
    instance = await here()
    disk = await create()
    await cloud.kill_controllers()
    await ec2.attach_volume(VolumeId=disk, InstanceId=instance, Device="/dev/sdf")
    await cloud.hosts[0].kill_agent()
    await cloud.start_controllers()
    cloud.hosts[0].start_agent()
    await cloud.until(attached(volume, disk, instance))
    await cloud.hosts[0].kill_agent()
    await ec2.detach_volume(VolumeId=disk)
    assert volume(disk).attachments[0].status == "detaching"
    await cloud.kill_controllers()
    await cloud.start_controllers()
    cloud.hosts[0].start_agent()
    await cloud.until(lambda _: volume(disk).state == "available")
    await cloud.settled()


async def test_a_volume_that_can_not_be_plugged_is_taken_back(cloud, ec2, here, create, volume):
    instance = await here()
    disk = await create()
    reason = "Client.InvalidKMSKey.InvalidState: The KMS key is disabled"
    cloud.host_of(instance).fail_on["plug"] = PermanentError(reason)
    await ec2.attach_volume(VolumeId=disk, InstanceId=instance, Device="/dev/sdf")
    await cloud.until(lambda _: volume(disk).state == "available")
    await ec2.attach_volume(VolumeId=disk, InstanceId=instance, Device="/dev/sdf")
    await cloud.until(attached(volume, disk, instance))
    await cloud.settled()


async def test_volumes_of_other_hosts_are_refused(directory, clock):
    async with SimulatedCloud(directory, hosts=2, clock=clock) as cloud:
        ec2 = Awaitable(cloud.client("ec2"))
        params = {
            "ImageId": cloud.image("tiny"),
            "InstanceType": "t3.micro",
            "Placement": {"AvailabilityZone": "us-east-1a"},
            "MinCount": 1,
            "MaxCount": 1,
        }
        answers = [await ec2.run_instances(**params) for _ in range(2)]
        first, second = (answer["Instances"][0]["InstanceId"] for answer in answers)
        await ec2.wait("instance_running", first, second)
        answer = await ec2.create_volume(AvailabilityZone="us-east-1a", Size=1)
        disk = answer["VolumeId"]
        await cloud.until(lambda view: view.get(Volume, disk).state == "available")
        await ec2.attach_volume(VolumeId=disk, InstanceId=first, Device="/dev/sdf")
        await cloud.settled()
        await ec2.detach_volume(VolumeId=disk)
        await cloud.until(lambda view: view.get(Volume, disk).state == "available")
        code = await ec2.refusal("attach_volume", VolumeId=disk, InstanceId=second, Device="/dev/sdf")
        assert code == ("UnsupportedOperation", 400)


@pytest.mark.parametrize("wait_", [0.0, 60.0])
async def test_the_time_between_changes_can_be_set(directory, clock, wait_):
    config = replace(Config(), volume_modification_wait=wait_)
    async with SimulatedCloud(directory, config=config, clock=clock) as cloud:
        ec2 = Awaitable(cloud.client("ec2"))
        disk = (await ec2.create_volume(AvailabilityZone="us-east-1a", Size=1))["VolumeId"]
        await cloud.settled()
        await ec2.modify_volume(VolumeId=disk, Size=2)
        await cloud.settled()
        if wait_:
            code = await ec2.refusal("modify_volume", VolumeId=disk, Size=3)
            assert code == ("VolumeModificationRateExceeded", 400)
        else:
            await ec2.modify_volume(VolumeId=disk, Size=3)


async def test_encrypted_volumes_and_a_key_that_is_disabled(cloud, ec2, here, create, volume):
    kms = Awaitable(cloud.client("kms"))
    key = (await kms.create_key())["KeyMetadata"]
    disk = await create(Encrypted=True, KmsKeyId=key["KeyId"])
    instance = await here()
    await ec2.attach_volume(VolumeId=disk, InstanceId=instance, Device="/dev/sdf")
    await cloud.until(attached(volume, disk, instance))
    spec = next(spec for spec in cloud.hosts[0].spec.volumes if spec.volume_id == disk)
    assert spec.key_id == volume(disk).data_key_id
    (told,) = (await ec2.describe_volumes(VolumeIds=[disk]))["Volumes"]
    assert (told["Encrypted"], told["KmsKeyId"]) == (True, key["Arn"])
    await kms.disable_key(KeyId=key["KeyId"])
    code = await ec2.refusal(
        "create_volume", AvailabilityZone="us-east-1a", Size=1, Encrypted=True, KmsKeyId=key["KeyId"]
    )
    assert code == ("InvalidKMSKey.InvalidState", 400)


async def test_volumes_are_their_accounts_own(cloud, ec2, create):
    disk = await create()
    stranger = Awaitable(cloud.client("ec2", credentials=cloud.add_account("000000000002")))
    for operation, params in (
        ("delete_volume", {}),
        ("detach_volume", {}),
        ("modify_volume", {"Size": 9}),
        ("enable_volume_io", {}),
        ("describe_volume_attribute", {"Attribute": "autoEnableIO"}),
    ):
        assert await stranger.refusal(operation, VolumeId=disk, **params) == ("InvalidVolume.NotFound", 400)
    assert (await stranger.describe_volumes())["Volumes"] == []
    assert (await stranger.describe_volume_status())["VolumeStatuses"] == []
