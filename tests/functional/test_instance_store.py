"""The instance store on simulated hosts: given with the type, kept over reboot, wiped at stop and at the end."""

import pytest
from awaitable_client import Awaitable
from msgspec.structs import replace

from pileus.base.config import Config
from pileus.records import Host, Instance
from pileus.testing.cloud import SimulatedCloud

LIMIT = 4 << 30


@pytest.fixture
async def cloud(directory, clock):
    config = replace(Config(), instance_store_limit=4)
    async with SimulatedCloud(directory, config=config, clock=clock) as running:
        yield running


def stores(cloud):
    """The volumes of instance stores that the host has, with their sizes."""
    return {id_: size for id_, size in cloud.hosts[0].volumes.sizes.items() if id_.startswith("store-")}


def store_of(instance_id, epoch, *numbers):
    return {f"store-{instance_id.removeprefix('i-')}-{epoch}-{number}" for number in numbers}


def in_guest(cloud, instance_id):
    return {disk for disk in cloud.host_of(instance_id).disks[instance_id] if disk.startswith("store-")}


async def test_disks_come_with_the_type(cloud, launch, described):
    (instance_id,) = await launch(InstanceType="m5d.large")
    assert stores(cloud) == dict.fromkeys(store_of(instance_id, 1, 0), LIMIT)
    assert in_guest(cloud, instance_id) == store_of(instance_id, 1, 0)
    (disk,) = (one for one in cloud.host_of(instance_id).disks[instance_id].values() if one.volume_id in stores(cloud))
    assert (len(disk.serial), disk.serial[:3], disk.index) == (20, "AWS", 1)
    assert [one["DeviceName"] for one in (await described(instance_id))["BlockDeviceMappings"]] == ["/dev/xvda"]
    (guest,) = cloud.hosts[0].spec.guests
    assert dict(guest.metadata.block_devices) == {
        "ami": "/dev/xvda",
        "root": "/dev/xvda",
        "ephemeral0": f"disk/by-id/virtio-{disk.serial}",
    }


async def test_types_without_a_store_have_none(cloud, launch):
    (instance_id,) = await launch(BlockDeviceMappings=[{"DeviceName": "/dev/sdb", "VirtualName": "ephemeral0"}])
    assert stores(cloud) == {}
    assert in_guest(cloud, instance_id) == set()


async def test_older_types_have_what_is_mapped(cloud, launch):
    (bare,) = await launch(InstanceType="m3.xlarge")
    assert in_guest(cloud, bare) == set()
    (mapped,) = await launch(
        InstanceType="m3.xlarge",
        BlockDeviceMappings=[
            {"DeviceName": "/dev/sdc", "VirtualName": "ephemeral1"},
            {"DeviceName": "/dev/sdd", "VirtualName": "ephemeral7"},
        ],
    )
    assert in_guest(cloud, mapped) == store_of(mapped, 1, 1)
    guest = next(one for one in cloud.hosts[0].spec.guests if one.instance_id == mapped)
    assert dict(guest.metadata.block_devices)["ephemeral1"] == "/dev/sdc"


async def test_kept_over_reboot_and_wiped_at_stop(cloud, ec2, launch):
    (instance_id,) = await launch(InstanceType="m5d.large")
    await ec2.reboot_instances(InstanceIds=[instance_id])
    await cloud.until(lambda _: cloud.host_of(instance_id).guests[instance_id].reset == 1)
    assert stores(cloud).keys() == store_of(instance_id, 1, 0)
    cloud.host_of(instance_id).crash(instance_id)
    await cloud.until(lambda view: view.get(Instance, instance_id).boot == 2)
    await cloud.settled()
    assert stores(cloud).keys() == store_of(instance_id, 1, 0)

    await ec2.stop_instances(InstanceIds=[instance_id])
    await ec2.wait("instance_stopped", instance_id)
    await cloud.settled()
    assert stores(cloud) == {}
    await ec2.start_instances(InstanceIds=[instance_id])
    await ec2.wait("instance_running", instance_id)
    assert in_guest(cloud, instance_id) == stores(cloud).keys() == store_of(instance_id, 2, 0)

    await ec2.terminate_instances(InstanceIds=[instance_id])
    await ec2.wait("instance_terminated", instance_id)
    await cloud.settled()
    assert stores(cloud) == {}


async def test_nothing_is_forgotten_while_the_host_is_away(cloud, ec2, launch):
    (instance_id,) = await launch(InstanceType="m5d.large")
    await ec2.stop_instances(InstanceIds=[instance_id])
    await ec2.wait("instance_stopped", instance_id)
    await ec2.start_instances(InstanceIds=[instance_id])
    await ec2.wait("instance_running", instance_id)
    await cloud.hosts[0].kill_agent()
    await ec2.terminate_instances(InstanceIds=[instance_id])
    assert stores(cloud).keys() >= store_of(instance_id, 2, 0)
    cloud.hosts[0].start_agent()
    await ec2.wait("instance_terminated", instance_id)
    await cloud.settled()
    assert stores(cloud) == {}


async def test_it_can_not_be_detached(cloud, ec2, launch):
    await launch(InstanceType="m5d.large")
    (store,) = stores(cloud)
    assert (await ec2.refusal("detach_volume", VolumeId=store))[0] == "InvalidVolumeID.Malformed"
    assert (await ec2.refusal("delete_volume", VolumeId=store))[0] == "InvalidVolumeID.Malformed"
    assert [one["VolumeType"] for one in (await ec2.describe_volumes())["Volumes"]] == ["gp3"]


async def test_the_type_decides_at_every_start(cloud, ec2, launch):
    (instance_id,) = await launch(InstanceType="m5d.large")
    await ec2.stop_instances(InstanceIds=[instance_id])
    await ec2.wait("instance_stopped", instance_id)
    await ec2.modify_instance_attribute(InstanceId=instance_id, InstanceType={"Value": "t3.micro"})
    await ec2.start_instances(InstanceIds=[instance_id])
    await ec2.wait("instance_running", instance_id)
    await cloud.settled()
    assert stores(cloud) == {}
    await ec2.stop_instances(InstanceIds=[instance_id])
    await ec2.wait("instance_stopped", instance_id)
    await ec2.modify_instance_attribute(InstanceId=instance_id, InstanceType={"Value": "m5d.large"})
    await ec2.start_instances(InstanceIds=[instance_id])
    await ec2.wait("instance_running", instance_id)
    assert len(in_guest(cloud, instance_id)) == 1
    await cloud.settled()


async def test_disk_is_promised_to_stores(cloud, ec2, launch):
    (instance_id,) = await launch(InstanceType="m5d.large")
    (host,) = cloud.store.view().list(Host)
    assert (host.disk, host.used_disk) == (4096, 4)
    cloud.store.transact(lambda tx: tx.put(replace(tx.get(Host, host.id), disk=7)))
    plain = {"ImageId": cloud.image("tiny"), "MinCount": 1, "MaxCount": 1}
    code = await ec2.refusal("run_instances", **plain, InstanceType="m5d.large")
    assert code == ("InsufficientInstanceCapacity", 500)
    await ec2.run_instances(**plain, InstanceType="t3.micro")
    await ec2.stop_instances(InstanceIds=[instance_id])
    await ec2.wait("instance_stopped", instance_id)
    await cloud.settled()
    assert cloud.store.view().get(Host, host.id).used_disk == 0


async def test_without_a_limit_disks_are_as_large_as_the_type_says(directory, clock):
    async with SimulatedCloud(directory, clock=clock) as cloud:
        ec2 = Awaitable(cloud.client("ec2"))
        answer = await ec2.run_instances(ImageId=cloud.image("tiny"), InstanceType="m5d.large", MinCount=1, MaxCount=1)
        await ec2.wait("instance_running", answer["Instances"][0]["InstanceId"])
        (size,) = stores(cloud).values()
        assert size == 75 * 10**9 // (1 << 20) * (1 << 20)
