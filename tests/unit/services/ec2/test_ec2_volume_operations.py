"""The rules of volumes: what each operation takes, what it gives, what it refuses and how."""

import pytest
from msgspec.structs import replace

from pileus.base.ids import new_id
from pileus.controllers import volumes
from pileus.records import Instance, Snapshot, Volume
from pileus.records.instance import State

ZONE = "us-east-1a"
STRANGER = "000000000002"


@pytest.fixture
def create(cloud, ec2):
    """``await create()``: the id of an available volume of 10 GiB."""

    async def make(**params):
        answer = await ec2("CreateVolume", **{"AvailabilityZone": ZONE, "Size": 10, "VolumeType": "gp3", **params})
        cloud.store.transact(lambda tx: volumes.settle(tx, answer["VolumeId"], cloud.clock.now()))
        return answer["VolumeId"]

    return make


@pytest.fixture
async def running(cloud, launch):
    """The id of an instance that runs."""
    instance_id = (await launch(Placement={"AvailabilityZone": ZONE}))["InstanceId"]
    cloud.enter(instance_id, State.RUNNING)
    return instance_id


@pytest.fixture
async def stopped(cloud, launch):
    instance_id = (await launch(Placement={"AvailabilityZone": ZONE}))["InstanceId"]
    for state in (State.RUNNING, State.STOPPING, State.STOPPED):
        cloud.enter(instance_id, state)
    return instance_id


@pytest.fixture
def snapshot(cloud):
    """``snapshot()``: a completed one of 8 GiB."""

    def make(**fields):
        record = Snapshot(
            id=new_id("snap"),
            account=cloud.account,
            region=cloud.region,
            volume_id="vol-ffffffff",
            size=8,
            started=cloud.clock.now(),
            state="completed",
            root="ab" * 32,
        )
        return cloud.store.transact(lambda tx: tx.put(replace(record, **fields)))

    return make


def volume_of(cloud, volume_id):
    return cloud.store.view().get(Volume, volume_id)


def settle(cloud, volume_id):
    cloud.store.transact(lambda tx: volumes.settle(tx, volume_id, cloud.clock.now()))


# CreateVolume


async def test_a_volume_as_it_is_made(cloud, ec2):
    tags = [{"Key": "Name", "Value": "data"}]
    answer = await ec2(
        "CreateVolume",
        AvailabilityZone=ZONE,
        Size=10,
        TagSpecifications=[{"ResourceType": "volume", "Tags": tags}],
    )
    assert answer == {
        "VolumeId": answer["VolumeId"],
        "VolumeArn": f"arn:aws:ec2:us-east-1:{cloud.account}:volume/{answer['VolumeId']}",
        "OwnerId": cloud.account,
        "AvailabilityZone": ZONE,
        "AvailabilityZoneId": "use1-az2",
        "State": "creating",
        "Size": 10,
        "VolumeType": "gp2",
        "Iops": 100,
        "Encrypted": False,
        "MultiAttachEnabled": False,
        "SnapshotId": "",
        "CreateTime": cloud.clock.now(),
        "Operator": {"Managed": False},
        "Tags": tags,
    }
    settle(cloud, answer["VolumeId"])
    described = (await ec2("DescribeVolumes"))["Volumes"][0]
    assert (described["State"], described["Attachments"]) == ("available", [])
    assert volume_of(cloud, answer["VolumeId"]).host_id is None


@pytest.mark.parametrize(
    ("params", "iops", "throughput"),
    [
        ({"VolumeType": "gp2", "Size": 1}, 100, None),
        ({"VolumeType": "gp2", "Size": 1000}, 3000, None),
        ({"VolumeType": "gp2", "Size": 16384}, 16000, None),
        ({"VolumeType": "gp3"}, 3000, 125),
        ({"VolumeType": "gp3", "Size": 10, "Iops": 5000, "Throughput": 1000}, 5000, 1000),
        ({"VolumeType": "gp3", "Size": 65536, "Iops": 80000, "Throughput": 2000}, 80000, 2000),
        ({"VolumeType": "io1", "Iops": 500}, 500, None),
        ({"VolumeType": "io2", "Iops": 10000}, 10000, None),
        ({"VolumeType": "st1", "Size": 125}, None, None),
        ({"VolumeType": "sc1", "Size": 16384}, None, None),
        ({"VolumeType": "standard", "Size": 1024}, None, None),
    ],
)
async def test_types_and_their_settings(cloud, create, params, iops, throughput):
    made = volume_of(cloud, await create(**params))
    assert (made.volume_type, made.iops, made.throughput) == (params["VolumeType"], iops, throughput)


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"VolumeType": "floppy"}, "InvalidParameterValue"),
        ({"Size": 0}, "InvalidParameterValue"),
        ({"Size": 65537}, "InvalidParameterValue"),
        ({"VolumeType": "gp2", "Size": 16385}, "InvalidParameterValue"),
        ({"VolumeType": "standard", "Size": 1025}, "InvalidParameterValue"),
        ({"VolumeType": "st1", "Size": 124}, "InvalidParameterValue"),
        ({"VolumeType": "io1", "Size": 3, "Iops": 100}, "InvalidParameterValue"),
        ({"VolumeType": "io1"}, "MissingParameter"),
        ({"VolumeType": "io2"}, "MissingParameter"),
        ({"VolumeType": "io1", "Iops": 99}, "InvalidParameterValue"),
        ({"VolumeType": "io1", "Iops": 501}, "InvalidParameterValue"),
        ({"VolumeType": "io1", "Size": 16384, "Iops": 64001}, "InvalidParameterValue"),
        ({"VolumeType": "io2", "Iops": 10001}, "InvalidParameterValue"),
        ({"VolumeType": "gp2", "Iops": 100}, "InvalidParameterCombination"),
        ({"VolumeType": "st1", "Size": 500, "Iops": 100}, "InvalidParameterCombination"),
        ({"VolumeType": "gp3", "Iops": 2999}, "InvalidParameterValue"),
        ({"VolumeType": "gp3", "Size": 10, "Iops": 5001}, "InvalidParameterValue"),
        ({"VolumeType": "gp3", "Throughput": 124}, "InvalidParameterValue"),
        ({"VolumeType": "gp3", "Throughput": 2001}, "InvalidParameterValue"),
        ({"VolumeType": "gp3", "Throughput": 751}, "InvalidParameterValue"),
        ({"VolumeType": "io1", "Iops": 100, "Throughput": 200}, "InvalidParameterCombination"),
        ({"VolumeType": "gp3", "MultiAttachEnabled": True}, "InvalidParameterCombination"),
        ({"Size": None}, "MissingParameter"),
        ({"AvailabilityZone": None}, "MissingParameter"),
        ({"AvailabilityZone": "us-east-1f"}, "InvalidZone.NotFound"),
        ({"AvailabilityZoneId": "use1-az2"}, "InvalidParameterCombination"),
        ({"AvailabilityZone": None, "AvailabilityZoneId": "use1-az99"}, "InvalidZone.NotFound"),
        ({"SnapshotId": "snap-0123456789abcdef0"}, "InvalidSnapshot.NotFound"),
        ({"SnapshotId": "picture"}, "InvalidSnapshotID.Malformed"),
        ({"KmsKeyId": "alias/mine"}, "InvalidParameterDependency"),
        ({"Encrypted": True, "KmsKeyId": "alias/mine"}, "InvalidKMSKey.NotFound"),
        ({"OutpostArn": "arn:aws:outposts:us-east-1:1:outpost/op-1"}, "Unsupported"),
    ],
)
async def test_volumes_that_can_not_be(cloud, refused, params, code):
    plain = {"AvailabilityZone": ZONE, "Size": 10, "VolumeType": "gp3"}
    given = {name: value for name, value in {**plain, **params}.items() if value is not None}
    assert await refused("CreateVolume", **given) == code
    assert cloud.store.view().list(Volume) == []


async def test_a_zone_by_its_id(cloud, ec2):
    answer = await ec2("CreateVolume", AvailabilityZoneId="use1-az2", Size=1)
    assert answer["AvailabilityZone"] == ZONE


async def test_a_token_makes_one_volume(cloud, ec2, refused):
    first = await ec2("CreateVolume", AvailabilityZone=ZONE, Size=1, ClientToken="one")
    assert await ec2("CreateVolume", AvailabilityZone=ZONE, Size=1, ClientToken="one") == first
    assert len(cloud.store.view().list(Volume)) == 1
    code = await refused("CreateVolume", AvailabilityZone=ZONE, Size=2, ClientToken="one")
    assert code == "IdempotentParameterMismatch"


async def test_a_volume_of_a_snapshot(cloud, ec2, refused, snapshot):
    source = snapshot()
    answer = await ec2("CreateVolume", AvailabilityZone=ZONE, SnapshotId=source.id)
    assert (answer["Size"], answer["SnapshotId"]) == (8, source.id)
    made = volume_of(cloud, answer["VolumeId"])
    assert (made.source_root, made.source_bytes, made.filled) == (source.root, 8 << 30, False)
    assert (await ec2("CreateVolume", AvailabilityZone=ZONE, SnapshotId=source.id, Size=9))["Size"] == 9
    code = await refused("CreateVolume", AvailabilityZone=ZONE, SnapshotId=source.id, Size=7)
    assert code == "InvalidParameterValue"


@pytest.mark.parametrize("state", ["pending", "error"])
async def test_snapshots_that_are_not_whole(refused, snapshot, state):
    source = snapshot(state=state)
    assert await refused("CreateVolume", AvailabilityZone=ZONE, SnapshotId=source.id) == "IncorrectState"


async def test_whose_snapshots_can_be_used(cloud, snapshot):
    cloud.of(STRANGER)
    cases = [
        (snapshot(account=STRANGER), "InvalidSnapshot.NotFound"),
        (snapshot(account=STRANGER, public=True), None),
        (snapshot(account=STRANGER, accounts=(cloud.account,)), None),
        (snapshot(state="recoverable"), "IncorrectState"),
    ]
    for source, code in cases:
        if code is None:
            await cloud.call("ec2", "CreateVolume", AvailabilityZone=ZONE, SnapshotId=source.id)
        else:
            error = await cloud.refusal("ec2", "CreateVolume", AvailabilityZone=ZONE, SnapshotId=source.id)
            assert error.code == code


async def test_encrypted_volumes(cloud, ec2, create):
    key = (await cloud.call("kms", "CreateKey"))["KeyMetadata"]
    named = await create(Encrypted=True, KmsKeyId=key["KeyId"])
    default = await create(Encrypted=True)
    found = {one["VolumeId"]: one for one in (await ec2("DescribeVolumes"))["Volumes"]}
    assert found[named]["KmsKeyId"] == key["Arn"]
    assert (found[default]["Encrypted"], found[default]["SseType"]) == (True, "sse-kms")
    assert found[default]["KmsKeyId"] != key["Arn"]
    assert len({volume_of(cloud, id_).data_key_id for id_ in (named, default)}) == 2
    await ec2("EnableEbsEncryptionByDefault")
    assert volume_of(cloud, await create()).encrypted


# AttachVolume and DetachVolume


async def test_an_attachment_as_it_is_drawn(cloud, ec2, create, running):
    disk = await create()
    answer = await ec2("AttachVolume", VolumeId=disk, InstanceId=running, Device="/dev/sdf")
    assert answer == {
        "VolumeId": disk,
        "InstanceId": running,
        "Device": "/dev/sdf",
        "State": "attaching",
        "AttachTime": cloud.clock.now(),
        "DeleteOnTermination": False,
    }
    described = (await ec2("DescribeVolumes", VolumeIds=[disk]))["Volumes"][0]
    assert (described["State"], described["Attachments"]) == ("in-use", [answer])
    instance = (await ec2("DescribeInstances"))["Reservations"][0]["Instances"][0]
    mapped = {one["DeviceName"]: one["Ebs"]["Status"] for one in instance["BlockDeviceMappings"]}
    assert mapped == {"/dev/xvda": "attached", "/dev/sdf": "attaching"}
    wanted = [{"Name": "block-device-mapping.status", "Values": ["attaching"]}]
    assert (await ec2("DescribeInstances", Filters=wanted))["Reservations"]


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"Device": "/dev/xvda"}, "InvalidParameterValue"),
        ({"Device": "disk"}, "InvalidParameterValue"),
        ({"Device": ""}, "InvalidParameterValue"),
        ({"InstanceId": "i-0123456789abcdef0"}, "InvalidInstanceID.NotFound"),
        ({"InstanceId": "machine"}, "InvalidInstanceID.Malformed"),
        ({"VolumeId": "vol-0123456789abcdef0"}, "InvalidVolume.NotFound"),
        ({"VolumeId": "disk"}, "InvalidVolumeID.Malformed"),
        ({"EbsCardIndex": 1}, "Unsupported"),
    ],
)
async def test_attachments_that_can_not_be(cloud, create, running, refused, params, code):
    disk = await create()
    plain = {"VolumeId": disk, "InstanceId": running, "Device": "/dev/sdf"}
    assert await refused("AttachVolume", **{**plain, **params}) == code
    assert volume_of(cloud, disk).attachments == ()


async def test_a_volume_is_attached_once(cloud, ec2, create, running, stopped, refused):
    disk = await create()
    await ec2("AttachVolume", VolumeId=disk, InstanceId=running, Device="/dev/sdf")
    for instance_id in (running, stopped):
        code = await refused("AttachVolume", VolumeId=disk, InstanceId=instance_id, Device="/dev/sdg")
        assert code == "VolumeInUse"
    other = await create()
    code = await refused("AttachVolume", VolumeId=other, InstanceId=running, Device="/dev/sdf")
    assert code == "InvalidParameterValue"
    assert await refused("DeleteVolume", VolumeId=disk) == "VolumeInUse"


async def test_zones_hosts_and_accounts_keep_volumes_apart(cloud, create, running, refused):
    elsewhere = await create(AvailabilityZone="us-east-1b")
    code = await refused("AttachVolume", VolumeId=elsewhere, InstanceId=running, Device="/dev/sdf")
    assert code == "InvalidVolume.ZoneMismatch"
    disk = await create()
    stranger = cloud.of(STRANGER)
    error = await stranger.refusal("ec2", "AttachVolume", VolumeId=disk, InstanceId=running, Device="/dev/sdf")
    assert error.code == "InvalidVolume.NotFound"
    mine = (await stranger.call("ec2", "CreateVolume", AvailabilityZone=ZONE, Size=1))["VolumeId"]
    error = await stranger.refusal("ec2", "AttachVolume", VolumeId=mine, InstanceId=running, Device="/dev/sdf")
    assert error.code == "InvalidInstanceID.NotFound"
    record = volume_of(cloud, disk)
    cloud.store.transact(lambda tx: tx.put(replace(record, host_id="host-2")))
    error = await cloud.refusal("ec2", "AttachVolume", VolumeId=disk, InstanceId=running, Device="/dev/sdf")
    assert error.code == "UnsupportedOperation"
    assert "another host" in error.message


@pytest.mark.parametrize("state", [State.SHUTTING_DOWN, State.TERMINATED])
async def test_instances_at_their_end_take_no_volumes(cloud, create, running, refused, state):
    disk = await create()
    cloud.enter(running, State.SHUTTING_DOWN)
    if state is State.TERMINATED:
        cloud.enter(running, State.TERMINATED)
    code = await refused("AttachVolume", VolumeId=disk, InstanceId=running, Device="/dev/sdf")
    assert code == "IncorrectState"


@pytest.mark.parametrize("state", ["creating", "deleting", "error"])
async def test_volumes_that_are_not_available(cloud, create, running, refused, state):
    disk = await create()
    record = volume_of(cloud, disk)
    cloud.store.transact(lambda tx: tx.put(replace(record, state=state)))
    code = await refused("AttachVolume", VolumeId=disk, InstanceId=running, Device="/dev/sdf")
    assert code == "IncorrectState"


async def test_a_stopped_instance_has_its_volumes_at_once(cloud, ec2, create, stopped):
    disk = await create()
    await ec2("AttachVolume", VolumeId=disk, InstanceId=stopped, Device="sdf")
    settle(cloud, disk)
    assert volume_of(cloud, disk).attachments[0].status == "attached"
    await ec2("DetachVolume", VolumeId=disk)
    settle(cloud, disk)
    assert volume_of(cloud, disk).state == "available"


async def test_as_many_volumes_as_the_type_takes(cloud, ec2, create, stopped, refused):
    # t3.micro: 27 attachments, of which the interface and the root volume have one each.
    for letter in "bcdefghijklmnopqrstuvwxyz":
        await ec2("AttachVolume", VolumeId=await create(), InstanceId=stopped, Device=f"/dev/sd{letter}")
    disk = await create()
    code = await refused("AttachVolume", VolumeId=disk, InstanceId=stopped, Device="/dev/xvdba")
    assert code == "AttachmentLimitExceeded"


async def test_multi_attach(cloud, ec2, launch, create, refused):
    disk = await create(VolumeType="io2", Iops=100, MultiAttachEnabled=True)
    ids = []
    for _ in range(11):
        instance_id = (await launch(Placement={"AvailabilityZone": ZONE}))["InstanceId"]
        for state in (State.RUNNING, State.STOPPING, State.STOPPED):
            cloud.enter(instance_id, state)
        instance = cloud.store.view().get(Instance, instance_id)
        ids.append(instance.id)
    for instance_id in ids:
        await ec2("AttachVolume", VolumeId=disk, InstanceId=instance_id, Device="/dev/sdf")
    assert await refused("AttachVolume", VolumeId=disk, InstanceId=ids[0], Device="/dev/sdg") == "VolumeInUse"
    settle(cloud, disk)
    assert len(volume_of(cloud, disk).attachments) == 11
    assert await refused("DetachVolume", VolumeId=disk) == "MissingParameter"
    await ec2("DetachVolume", VolumeId=disk, InstanceId=ids[3])
    settle(cloud, disk)
    assert ids[3] not in volume_of(cloud, disk).instance_id
    record = volume_of(cloud, disk)
    many = tuple(replace(record.attachments[0], instance_id=f"i-{number:017x}") for number in range(16))
    cloud.store.transact(lambda tx: tx.put(replace(record, attachments=many)))
    code = await refused("AttachVolume", VolumeId=disk, InstanceId=ids[3], Device="/dev/sdg")
    assert code == "AttachmentLimitExceeded"
    await ec2("ModifyVolume", VolumeId=await create(VolumeType="io2", Iops=100), MultiAttachEnabled=True)


async def test_what_detaching_refuses(cloud, ec2, create, running, stopped, refused):
    disk = await create()
    assert await refused("DetachVolume", VolumeId=disk) == "IncorrectState"
    await ec2("AttachVolume", VolumeId=disk, InstanceId=running, Device="/dev/sdf")
    assert await refused("DetachVolume", VolumeId=disk, InstanceId=stopped) == "InvalidAttachment.NotFound"
    assert await refused("DetachVolume", VolumeId=disk, Device="/dev/sdg") == "InvalidAttachment.NotFound"
    answer = await ec2("DetachVolume", VolumeId=disk, InstanceId=running, Device="/dev/sdf")
    assert answer["State"] == "detaching"
    assert await refused("DetachVolume", VolumeId=disk) == "IncorrectState"
    root = cloud.store.view().get(Instance, running).block_devices[0].volume_id
    assert await refused("DetachVolume", VolumeId=root, Force=True) == "OperationNotPermitted"


async def test_a_root_volume_leaves_and_comes_back(cloud, ec2, stopped, refused):
    root = cloud.store.view().get(Instance, stopped).block_devices[0].volume_id
    await ec2("DetachVolume", VolumeId=root)
    assert await refused("StartInstances", InstanceIds=[stopped]) == "InvalidParameterValue"
    settle(cloud, root)
    assert await refused("StartInstances", InstanceIds=[stopped]) == "InvalidParameterValue"
    await ec2("AttachVolume", VolumeId=root, InstanceId=stopped, Device="/dev/sdb")
    await ec2("DetachVolume", VolumeId=root)
    settle(cloud, root)
    await ec2("AttachVolume", VolumeId=root, InstanceId=stopped, Device="/dev/xvda")
    assert cloud.store.view().get(Instance, stopped).block_devices[0].index == 0
    await ec2("StartInstances", InstanceIds=[stopped])


# DeleteVolume


async def test_deleting(cloud, ec2, create, refused):
    disk = await create()
    await ec2("DeleteVolume", VolumeId=disk)
    assert volume_of(cloud, disk).state == "deleting"
    assert await refused("DeleteVolume", VolumeId=disk) == "InvalidVolume.NotFound"
    settle(cloud, disk)
    assert (await ec2("DescribeVolumes"))["Volumes"] == []
    fresh = (await ec2("CreateVolume", AvailabilityZone=ZONE, Size=1))["VolumeId"]
    assert await refused("DeleteVolume", VolumeId=fresh) == "IncorrectState"


# ModifyVolume


@pytest.mark.parametrize(
    ("before", "change", "after"),
    [
        ({}, {"Size": 20}, ("gp3", 20, 3000, 125)),
        ({"Iops": 4000, "Throughput": 500}, {"Size": 20}, ("gp3", 20, 4000, 500)),
        ({}, {"Iops": 5000, "Throughput": 250}, ("gp3", 10, 5000, 250)),
        ({"VolumeType": "gp2"}, {"Size": 100}, ("gp2", 100, 300, None)),
        ({"VolumeType": "gp2"}, {"VolumeType": "gp3"}, ("gp3", 10, 3000, 125)),
        ({"VolumeType": "gp2", "Size": 100}, {"VolumeType": "io1"}, ("io1", 100, 3000, None)),
        ({"VolumeType": "io1", "Iops": 400}, {"VolumeType": "gp2"}, ("gp2", 10, 100, None)),
        ({"Size": 200}, {"VolumeType": "st1"}, ("st1", 200, None, None)),
    ],
)
async def test_changes(cloud, ec2, create, before, change, after):
    disk = await create(**before)
    old = volume_of(cloud, disk)
    answer = (await ec2("ModifyVolume", VolumeId=disk, **change))["VolumeModification"]
    now = volume_of(cloud, disk)
    assert (now.volume_type, now.size, now.iops, now.throughput) == after
    assert answer == {
        "VolumeId": disk,
        "ModificationState": "modifying",
        "OriginalSize": old.size,
        "OriginalVolumeType": old.volume_type,
        **({"OriginalIops": old.iops} if old.iops else {}),
        **({"OriginalThroughput": old.throughput} if old.throughput else {}),
        "OriginalMultiAttachEnabled": False,
        "TargetSize": now.size,
        "TargetVolumeType": now.volume_type,
        **({"TargetIops": now.iops} if now.iops else {}),
        **({"TargetThroughput": now.throughput} if now.throughput else {}),
        "TargetMultiAttachEnabled": False,
        "Progress": 0,
        "StartTime": cloud.clock.now(),
    }


@pytest.mark.parametrize(
    ("before", "change", "code"),
    [
        ({}, {}, "InvalidParameterCombination"),
        ({}, {"Size": 9}, "InvalidParameterValue"),
        ({}, {"Size": 65537}, "InvalidParameterValue"),
        ({}, {"Iops": 5001}, "InvalidParameterValue"),
        ({}, {"VolumeType": "floppy"}, "InvalidParameterValue"),
        ({}, {"VolumeType": "st1"}, "InvalidParameterValue"),
        ({}, {"VolumeType": "io1"}, "InvalidParameterValue"),
        ({"VolumeType": "gp2"}, {"Iops": 3000}, "InvalidParameterCombination"),
        ({}, {"MultiAttachEnabled": True}, "InvalidParameterCombination"),
        ({"VolumeType": "io1", "Iops": 100}, {"MultiAttachEnabled": True}, "UnsupportedOperation"),
        (
            {"VolumeType": "io2", "Iops": 100, "MultiAttachEnabled": True},
            {"VolumeType": "gp3"},
            "UnsupportedOperation",
        ),
    ],
)
async def test_changes_that_can_not_be(cloud, create, refused, before, change, code):
    disk = await create(**before)
    old = volume_of(cloud, disk)
    assert await refused("ModifyVolume", VolumeId=disk, **change) == code
    assert volume_of(cloud, disk) == old


async def test_a_root_volume_stays_one_that_boots(cloud, ec2, running, refused):
    root = cloud.store.view().get(Instance, running).block_devices[0].volume_id
    assert await refused("ModifyVolume", VolumeId=root, Size=500, VolumeType="sc1") == "UnsupportedOperation"


async def test_six_hours_between_changes(cloud, ec2, create, refused):
    disk = await create()
    await ec2("ModifyVolume", VolumeId=disk, Size=11)
    assert await refused("ModifyVolume", VolumeId=disk, Size=12) == "IncorrectModificationState"
    settle(cloud, disk)
    cloud.clock.advance(6 * 3600 - 1)
    assert await refused("ModifyVolume", VolumeId=disk, Size=12) == "VolumeModificationRateExceeded"
    cloud.clock.advance(1)
    await ec2("ModifyVolume", VolumeId=disk, Size=12)


async def test_modifications_that_are_described(cloud, ec2, create, refused):
    changed, other = await create(), await create()
    await ec2("ModifyVolume", VolumeId=changed, Size=20, Iops=4000)
    settle(cloud, changed)
    (found,) = (await ec2("DescribeVolumesModifications"))["VolumesModifications"]
    assert (found["VolumeId"], found["ModificationState"], found["Progress"]) == (changed, "completed", 100)
    for name, value in (
        ("modification-state", "completed"),
        ("original-iops", "3000"),
        ("original-size", "10"),
        ("original-volume-type", "gp3"),
        ("originalMultiAttachEnabled", "false"),
        ("start-time", "2026-11-23*"),
        ("target-iops", "4000"),
        ("target-size", "20"),
        ("target-volume-type", "gp3"),
        ("targetMultiAttachEnabled", "false"),
        ("volume-id", changed),
    ):
        filters = [{"Name": name, "Values": [value]}]
        assert (await ec2("DescribeVolumesModifications", Filters=filters))["VolumesModifications"], name
    code = await refused("DescribeVolumesModifications", VolumeIds=[other])
    assert code == "InvalidVolumeModification.NotFound"


# Status and attributes


async def test_the_status_of_volumes_that_are_well(cloud, ec2, create, running, snapshot):
    await create()
    found = (await ec2("DescribeVolumeStatus"))["VolumeStatuses"]
    root = next(one for one in found if one["AttachmentStatuses"])
    free = next(one for one in found if not one["AttachmentStatuses"])
    assert root["VolumeStatus"] == {
        "Status": "ok",
        "Details": [{"Name": "io-enabled", "Status": "passed"}, {"Name": "io-performance", "Status": "normal"}],
    }
    assert root["AttachmentStatuses"] == [{"InstanceId": running, "IoPerformance": "normal"}]
    assert free["VolumeStatus"]["Details"][1] == {"Name": "io-performance", "Status": "not-applicable"}
    assert (free["Events"], free["Actions"], free["AvailabilityZone"]) == ([], [], ZONE)
    answer = await ec2("CreateVolume", AvailabilityZone=ZONE, SnapshotId=snapshot().id)
    (fresh,) = (await ec2("DescribeVolumeStatus", VolumeIds=[answer["VolumeId"]]))["VolumeStatuses"]
    assert fresh["VolumeStatus"]["Status"] == "insufficient-data"
    assert fresh["VolumeStatus"]["Details"][2] == {"Name": "initialization-state", "Status": "initializing"}


async def test_pages_of_statuses(ec2, create, refused):
    ids = [await create() for _ in range(7)]
    first = await ec2("DescribeVolumeStatus", MaxResults=5)
    second = await ec2("DescribeVolumeStatus", MaxResults=5, NextToken=first["NextToken"])
    told = [one["VolumeId"] for one in (*first["VolumeStatuses"], *second["VolumeStatuses"])]
    assert sorted(told) == sorted(ids)
    assert await refused("DescribeVolumeStatus", MaxResults=5, VolumeIds=ids) == "InvalidParameterCombination"


async def test_attributes(ec2, create, refused):
    disk = await create()
    answer = await ec2("DescribeVolumeAttribute", VolumeId=disk, Attribute="autoEnableIO")
    assert answer == {"VolumeId": disk, "AutoEnableIO": {"Value": False}}
    await ec2("ModifyVolumeAttribute", VolumeId=disk, AutoEnableIO={"Value": True})
    answer = await ec2("DescribeVolumeAttribute", VolumeId=disk, Attribute="autoEnableIO")
    assert answer["AutoEnableIO"] == {"Value": True}
    answer = await ec2("DescribeVolumeAttribute", VolumeId=disk, Attribute="productCodes")
    assert answer == {"VolumeId": disk, "ProductCodes": []}
    assert await refused("ModifyVolumeAttribute", VolumeId=disk) == "MissingParameter"
    assert await refused("DescribeVolumeAttribute", VolumeId=disk, Attribute="colour") == "InvalidParameterValue"
