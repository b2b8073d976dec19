"""What instances start with: every kind of block device mapping, on simulated hosts."""

import pytest
from awaitable_client import Awaitable
from msgspec.structs import replace

from pileus.base.ids import new_id
from pileus.drivers.errors import PermanentError
from pileus.records import DataKey, Image, Instance, NetworkInterface, Snapshot, Volume
from pileus.records.image import ImageDevice

MIB = 1 << 20


@pytest.fixture
def plain(cloud):
    return {"ImageId": cloud.image("tiny"), "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1}


@pytest.fixture
def mapped(launch, described, ec2):
    """``await mapped({"DeviceName": …}, …)``: the volumes of a new instance by device name, as DescribeVolumes has them."""

    async def run(*mappings, **params):
        (instance_id,) = await launch(BlockDeviceMappings=list(mappings), **params)
        filters = [{"Name": "attachment.instance-id", "Values": [instance_id]}]
        volumes = (await ec2.describe_volumes(Filters=filters))["Volumes"]
        instance = await described(instance_id)
        assert {one["Ebs"]["VolumeId"] for one in instance["BlockDeviceMappings"]} == {v["VolumeId"] for v in volumes}
        assert {one["Ebs"]["Status"] for one in instance["BlockDeviceMappings"]} == {"attached"}
        return {volume["Attachments"][0]["Device"]: volume for volume in volumes}

    return run


@pytest.fixture
def snapshot(cloud):
    """``snapshot()``: one of an empty volume of 3 GiB, completed, of this account."""

    def make(**fields):
        record = Snapshot(
            id=new_id("snap"),
            account=cloud.config.account,
            region=cloud.config.default_region,
            volume_id="vol-ffffffff",
            size=3,
            started=cloud.clock.now(),
            state="completed",
            progress=100,
        )
        return cloud.store.transact(lambda tx: tx.put(replace(record, **fields)))

    return make


@pytest.fixture
def image_with(cloud):
    """``image_with(devices…)``: the id of an image like tiny with further mappings."""

    def make(*devices, **fields):
        tiny = cloud.store.view().get(Image, cloud.image("tiny"))
        copy = replace(
            tiny,
            id=new_id("ami"),
            account=cloud.config.account,
            version=0,
            name="mine",
            family="",
            ssm_path=None,
            block_devices=devices,
            **fields,
        )
        return cloud.store.transact(lambda tx: tx.put(copy)).id

    return make


def ebs(device, **fields):
    return {"DeviceName": device, "Ebs": fields}


async def test_the_root_volume_as_the_call_wants_it(mapped):
    volumes = await mapped(ebs("/dev/xvda", VolumeSize=9, VolumeType="io1", Iops=200, DeleteOnTermination=False))
    root = volumes["/dev/xvda"]
    assert (root["Size"], root["VolumeType"], root["Iops"]) == (9, "io1", 200)
    assert root["Attachments"][0]["DeleteOnTermination"] is False


async def test_a_larger_root_volume_is_larger_on_the_host(cloud, launch, described):
    (instance_id,) = await launch(BlockDeviceMappings=[ebs("/dev/xvda", VolumeSize=9)])
    root = (await described(instance_id))["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
    assert cloud.hosts[0].volumes.sizes[root] == 9 << 30


async def test_empty_volumes_beside_it(cloud, mapped):
    volumes = await mapped(
        ebs("/dev/sdb", VolumeSize=2),
        ebs("/dev/sdc", VolumeSize=10, VolumeType="gp3", Iops=4000, Throughput=300, DeleteOnTermination=False),
        TagSpecifications=[{"ResourceType": "volume", "Tags": [{"Key": "k", "Value": "v"}]}],
    )
    assert (volumes["/dev/sdb"]["VolumeType"], volumes["/dev/sdb"]["Iops"]) == ("gp2", 100)
    third = volumes["/dev/sdc"]
    assert (third["Iops"], third["Throughput"], third["SnapshotId"]) == (4000, 300, "")
    assert {d: v["Attachments"][0]["DeleteOnTermination"] for d, v in volumes.items()} == {
        "/dev/xvda": True,
        "/dev/sdb": True,
        "/dev/sdc": False,
    }
    assert all(volume["Tags"] == [{"Key": "k", "Value": "v"}] for volume in volumes.values())
    (guest,) = cloud.hosts[0].hypervisor.host.disks.values()
    limits = {disk.index: (disk.iops, disk.throughput) for disk in guest.values()}
    assert limits == {0: (3000, 125 * MIB), 1: (3000, 128 * MIB), 2: (4000, int(260.625 * MIB))}


async def test_volumes_of_snapshots(mapped, snapshot):
    source = snapshot()
    volumes = await mapped(ebs("/dev/sdb", SnapshotId=source.id), ebs("/dev/sdc", SnapshotId=source.id, VolumeSize=7))
    assert {device: (volume["Size"], volume["SnapshotId"]) for device, volume in volumes.items()} | {
        "/dev/xvda": None
    } == {"/dev/xvda": None, "/dev/sdb": (3, source.id), "/dev/sdc": (7, source.id)}


async def test_encrypted_volumes(cloud, mapped):
    kms = Awaitable(cloud.client("kms"))
    key = (await kms.create_key())["KeyMetadata"]
    volumes = await mapped(
        ebs("/dev/xvda", Encrypted=True),
        ebs("/dev/sdb", VolumeSize=1, Encrypted=True, KmsKeyId=key["KeyId"]),
        ebs("/dev/sdc", VolumeSize=1),
    )
    assert {device: volume["Encrypted"] for device, volume in volumes.items()} == {
        "/dev/xvda": True,
        "/dev/sdb": True,
        "/dev/sdc": False,
    }
    assert volumes["/dev/sdb"]["KmsKeyId"] == key["Arn"]
    assert volumes["/dev/xvda"]["KmsKeyId"] != key["Arn"]


async def test_what_an_image_maps(mapped, snapshot, image_with):
    source = snapshot()
    image = image_with(
        ImageDevice(device_name="/dev/sdb", snapshot_id=source.id, size=3, delete_on_termination=False),
        ImageDevice(device_name="/dev/sdc", size=10, volume_type="gp3", iops=4000, throughput=200),
        ImageDevice(device_name="/dev/sdd", virtual_name="ephemeral0"),
    )
    volumes = await mapped(ImageId=image)
    assert sorted(volumes) == ["/dev/sdb", "/dev/sdc", "/dev/xvda"]
    assert (volumes["/dev/sdb"]["SnapshotId"], volumes["/dev/sdb"]["Size"]) == (source.id, 3)
    assert volumes["/dev/sdb"]["Attachments"][0]["DeleteOnTermination"] is False
    assert (volumes["/dev/sdc"]["Iops"], volumes["/dev/sdc"]["Throughput"]) == (4000, 200)


async def test_what_a_call_changes_of_an_images_mappings(mapped, snapshot, image_with):
    source = snapshot()
    image = image_with(
        ImageDevice(device_name="/dev/sdb", snapshot_id=source.id, size=3),
        ImageDevice(device_name="/dev/sdc", size=10, volume_type="gp3", iops=4000),
    )
    volumes = await mapped(
        {"DeviceName": "/dev/sdb", "NoDevice": ""}, ebs("/dev/sdc", VolumeSize=11, VolumeType="gp2"), ImageId=image
    )
    assert sorted(volumes) == ["/dev/sdc", "/dev/xvda"]
    assert (volumes["/dev/sdc"]["Size"], volumes["/dev/sdc"]["VolumeType"]) == (11, "gp2")
    volumes = await mapped(ebs("/dev/sdb", VolumeSize=5), ImageId=image)
    assert (volumes["/dev/sdb"]["Size"], volumes["/dev/sdb"]["SnapshotId"]) == (5, source.id)


@pytest.mark.parametrize(
    ("mapping", "code"),
    [
        ({"DeviceName": "/dev/xvda", "NoDevice": ""}, "InvalidBlockDeviceMapping"),
        ({"DeviceName": "/dev/xvda", "VirtualName": "ephemeral0"}, "InvalidBlockDeviceMapping"),
        ({"DeviceName": "/dev/sdb", "VirtualName": "ephemeral24"}, "InvalidBlockDeviceMapping"),
        ({"DeviceName": "/dev/sdb", "VirtualName": "disk"}, "InvalidBlockDeviceMapping"),
        (
            {"DeviceName": "/dev/sdb", "VirtualName": "ephemeral0", "Ebs": {"VolumeSize": 1}},
            "InvalidBlockDeviceMapping",
        ),
        (ebs("/dev/sdb"), "InvalidBlockDeviceMapping"),
        (ebs("/dev/sdb", VolumeSize=16385), "InvalidParameterValue"),
        (ebs("/dev/sdb", VolumeSize=10, VolumeType="io1"), "MissingParameter"),
        (ebs("/dev/sdb", VolumeSize=10, Iops=100), "InvalidParameterCombination"),
        (ebs("/dev/sdb", VolumeSize=10, KmsKeyId="alias/none"), "InvalidParameterDependency"),
        (ebs("/dev/sdb", VolumeSize=10, Encrypted=True, KmsKeyId="alias/none"), "InvalidKMSKey.NotFound"),
        (ebs("/dev/sdb", SnapshotId="snap-0123456789abcdef0"), "InvalidSnapshot.NotFound"),
        (ebs("/dev/xvda", VolumeSize=500, VolumeType="sc1"), "InvalidBlockDeviceMapping"),
    ],
)
async def test_launches_that_are_refused_leave_nothing(cloud, ec2, plain, mapping, code):
    assert (await ec2.refusal("run_instances", **plain, BlockDeviceMappings=[mapping]))[0] == code
    view = cloud.store.view()
    assert not (view.list(Instance) or view.list(Volume) or view.list(NetworkInterface) or view.list(DataKey))


async def test_snapshots_that_do_not_fit(ec2, plain, snapshot):
    source = snapshot()
    for mapping, code in (
        (ebs("/dev/sdb", SnapshotId=source.id, VolumeSize=2), "InvalidBlockDeviceMapping"),
        (ebs("/dev/xvda", SnapshotId=source.id), "InvalidBlockDeviceMapping"),
        (ebs("/dev/sdb", SnapshotId=snapshot(state="pending").id), "IncorrectState"),
        (ebs("/dev/sdb", SnapshotId=snapshot(account="000000000002").id), "InvalidSnapshot.NotFound"),
    ):
        assert (await ec2.refusal("run_instances", **plain, BlockDeviceMappings=[mapping]))[0] == code


async def test_more_volumes_than_the_type_takes(ec2, plain):
    mappings = [ebs(f"/dev/sd{letter}", VolumeSize=1) for letter in "bcdefghijklmnopqrstuvwxyz"]
    one_more = [*mappings, ebs("/dev/xvdba", VolumeSize=1)]
    code = await ec2.refusal("run_instances", **plain, BlockDeviceMappings=one_more)
    assert code == ("AttachmentLimitExceeded", 400)
    await ec2.run_instances(**plain, BlockDeviceMappings=mappings)


async def test_a_volume_that_fails_on_the_host_ends_the_launch(cloud, ec2, plain, described):
    reason = "Client.InvalidKMSKey.InvalidState: The KMS key provided is in an incorrect state"
    cloud.hosts[0].volumes.fail_next = PermanentError(reason)
    answer = await ec2.run_instances(**plain)
    instance_id = answer["Instances"][0]["InstanceId"]
    await cloud.until(lambda view: view.get(Instance, instance_id).state == "terminated")
    told = await described(instance_id)
    assert told["StateReason"] == {"Code": "Client.InvalidKMSKey.InvalidState", "Message": reason}
    await cloud.settled()
    assert cloud.store.view().list(Volume) == []
    assert cloud.hosts[0].volumes.sizes == {}


async def test_a_key_that_was_disabled_since_ends_the_start(cloud, ec2, launch, described):
    kms = Awaitable(cloud.client("kms"))
    key = (await kms.create_key())["KeyMetadata"]["KeyId"]
    (instance_id,) = await launch(BlockDeviceMappings=[ebs("/dev/xvda", Encrypted=True, KmsKeyId=key)])
    await ec2.stop_instances(InstanceIds=[instance_id])
    await ec2.wait("instance_stopped", instance_id)
    await kms.disable_key(KeyId=key)
    await ec2.start_instances(InstanceIds=[instance_id])
    await cloud.until(lambda view: view.get(Instance, instance_id).reason is not None)
    await ec2.wait("instance_stopped", instance_id)
    told = await described(instance_id)
    assert told["StateReason"]["Code"].startswith("Client.InvalidKMSKey")
    await kms.enable_key(KeyId=key)
    await ec2.start_instances(InstanceIds=[instance_id])
    await ec2.wait("instance_running", instance_id)
