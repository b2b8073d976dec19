"""What follows for volumes from what hosts report: attachments settle by what is newer than the wish, and nothing else."""

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from pileus.base.config import Config, RegionConfig
from pileus.base.errors import ServiceError
from pileus.controllers import instances, volumes
from pileus.controllers.reading import Reading
from pileus.controllers.volume_spec import guest_disks, host_volumes, torn_out
from pileus.hostapi.observation import GuestObservation, VolumeObservation
from pileus.records import Instance, Snapshot, Volume
from pileus.records.instance import Observed, State, decide
from pileus.records.volume import GIB, MIB, Modification, VolumeAttachment, limits, settled
from pileus.testing.in_process import HOST, DirectCloud

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
ZONE = "us-east-1a"


@pytest.fixture
def cloud(tmp_path):
    config = Config(
        regions=(RegionConfig(zones=("a",), public_pool=("203.0.113.0/26",)),), volume_modification_wait=0.0
    )
    cloud = DirectCloud.open(tmp_path, config)
    yield cloud
    cloud.close()


@pytest.fixture
async def running(cloud):
    """The id of an instance that runs."""
    image = cloud.add_image()
    answer = await cloud.call("ec2", "RunInstances", ImageId=image.id, InstanceType="t3.micro", MinCount=1, MaxCount=1)
    instance_id = answer["Instances"][0]["InstanceId"]
    cloud.enter(instance_id, State.RUNNING)
    return instance_id


@pytest.fixture
async def disk(cloud):
    """The id of a volume of 10 GiB."""
    answer = await cloud.call("ec2", "CreateVolume", AvailabilityZone=ZONE, Size=10, VolumeType="gp3")
    settle(cloud, answer["VolumeId"])
    return answer["VolumeId"]


def settle(cloud, volume_id):
    cloud.store.transact(lambda tx: volumes.settle(tx, volume_id, cloud.clock.now()))


def volume_of(cloud, volume_id):
    return cloud.store.view().get(Volume, volume_id)


def instance_of(cloud, instance_id):
    return cloud.store.view().get(Instance, instance_id)


def spec_of(cloud, instance_id):
    view = Reading(cloud.store.view())
    return [disk.volume_id for disk in guest_disks(view, instance_of(cloud, instance_id))]


def report(cloud, instance_id, *held, phase="running", wiring=None):
    """The host says what an instance's guest holds, and what follows is done."""
    instance = instance_of(cloud, instance_id)
    root = instance.block_devices[0].volume_id
    seen = GuestObservation(
        instance_id=instance_id,
        boot=instance.boot,
        phase=phase,
        volumes=(root, *held) if phase == "running" else (),
        wiring=instance.wiring if wiring is None else wiring,
    )

    def note(tx):
        instances.observe(tx, HOST, seen, cloud.clock.now())
        volumes.settle_of(tx, instance_id, cloud.clock.now())

    cloud.store.transact(note)


async def test_a_volume_is_attached_when_the_guest_has_it(cloud, running, disk):
    answer = await cloud.call("ec2", "AttachVolume", VolumeId=disk, InstanceId=running, Device="/dev/sdf")
    assert answer["State"] == "attaching"
    assert disk in spec_of(cloud, running)
    assert volume_of(cloud, disk).host_id == HOST
    report(cloud, running)
    assert volume_of(cloud, disk).attachments[0].status == "attaching"
    report(cloud, running, disk)
    assert volume_of(cloud, disk).attachments[0].status == "attached"


async def test_what_was_seen_before_a_wish_does_not_answer_it(cloud, running, disk):
    await cloud.call("ec2", "AttachVolume", VolumeId=disk, InstanceId=running, Device="/dev/sdf")
    before = instance_of(cloud, running).wiring
    # The host has plugged it, and has not said so. The last that was heard is that the guest does not have it.
    await cloud.call("ec2", "DetachVolume", VolumeId=disk)
    assert disk not in spec_of(cloud, running)
    report(cloud, running, wiring=before)
    settle(cloud, disk)
    assert volume_of(cloud, disk).state == "in-use"
    report(cloud, running, disk)
    assert volume_of(cloud, disk).attachments[0].status == "detaching"
    report(cloud, running)
    assert (volume_of(cloud, disk).state, volume_of(cloud, disk).attachments) == ("available", ())
    assert disk not in {device.volume_id for device in instance_of(cloud, running).block_devices}


async def test_a_guest_that_keeps_a_volume_is_told_busy_and_can_be_forced(cloud, running, disk):
    await cloud.call("ec2", "AttachVolume", VolumeId=disk, InstanceId=running, Device="/dev/sdf")
    report(cloud, running, disk)
    await cloud.call("ec2", "DetachVolume", VolumeId=disk)
    report(cloud, running, disk)
    cloud.clock.advance(61)
    settle(cloud, disk)
    assert volume_of(cloud, disk).attachments[0].status == "busy"
    view = Reading(cloud.store.view())
    assert torn_out(view, instance_of(cloud, running)) == ()
    await cloud.call("ec2", "DetachVolume", VolumeId=disk, Force=True)
    view = Reading(cloud.store.view())
    assert torn_out(view, instance_of(cloud, running)) == (disk,)
    report(cloud, running)
    assert volume_of(cloud, disk).state == "available"


@pytest.mark.parametrize("phase", ["off", "absent", "preparing"])
async def test_a_guest_without_a_process_has_nothing(cloud, running, disk, phase):
    await cloud.call("ec2", "AttachVolume", VolumeId=disk, InstanceId=running, Device="/dev/sdf")
    report(cloud, running, disk)
    await cloud.call("ec2", "DetachVolume", VolumeId=disk)
    report(cloud, running, phase=phase)
    assert volume_of(cloud, disk).state == "available"


async def test_what_a_host_says_of_an_older_boot_frees_nothing(cloud, running, disk):
    await cloud.call("ec2", "AttachVolume", VolumeId=disk, InstanceId=running, Device="/dev/sdf")
    report(cloud, running, disk)
    await cloud.call("ec2", "DetachVolume", VolumeId=disk)
    instance = instance_of(cloud, running)
    cloud.store.transact(lambda tx: tx.put(replace(instance, boot=2)))
    settle(cloud, disk)
    assert volume_of(cloud, disk).state == "in-use"


async def test_a_volume_that_the_host_can_not_give_is_taken_back(cloud, running, disk):
    await cloud.call("ec2", "AttachVolume", VolumeId=disk, InstanceId=running, Device="/dev/sdf")
    seen = VolumeObservation(
        volume_id=disk, phase="failed", detail="Client.InvalidKMSKey.InvalidState: the key is disabled"
    )
    cloud.store.transact(lambda tx: volumes.observe(tx, HOST, seen, NOW))
    report(cloud, running)
    assert volume_of(cloud, disk).attachments == ()
    status = (await cloud.call("ec2", "DescribeVolumeStatus", VolumeIds=[disk]))["VolumeStatuses"][0]
    assert status["VolumeStatus"]["Status"] == "impaired"
    assert status["Events"][0]["EventType"] == "potential-data-inconsistency"
    assert "InvalidKMSKey.InvalidState" in status["Events"][0]["Description"]
    assert status["Actions"][0]["Code"] == "enable-volume-io"
    await cloud.call("ec2", "ModifyVolumeAttribute", VolumeId=disk, AutoEnableIO={"Value": True})
    status = (await cloud.call("ec2", "DescribeVolumeStatus", VolumeIds=[disk]))["VolumeStatuses"][0]
    assert status["Actions"] == []
    await cloud.call("ec2", "EnableVolumeIO", VolumeId=disk)
    status = (await cloud.call("ec2", "DescribeVolumeStatus", VolumeIds=[disk]))["VolumeStatuses"][0]
    assert status["VolumeStatus"]["Status"] == "ok"


async def test_a_launch_fails_with_the_reason_of_its_volume(cloud, running):
    instance = instance_of(cloud, running)
    told = (
        "volume vol-0123456789abcdef0: Client.InvalidKMSKey.InvalidState: The KMS key provided is in an incorrect state"
    )
    seen = Observed(boot=1, reset=0, phase="failed", detail=told, since=NOW)
    step = decide(replace(instance, state=State.PENDING, observed=seen), NOW)
    assert (step.state, step.reason.code) == (State.SHUTTING_DOWN, "Client.InvalidKMSKey.InvalidState")
    assert step.reason.message == ("Client.InvalidKMSKey.InvalidState: The KMS key provided is in an incorrect state")
    seen = replace(seen, detail="the disk is full")
    assert decide(replace(instance, state=State.PENDING, observed=seen), NOW).reason.code == "Server.InternalError"


async def test_a_deleted_volume_goes_with_its_data(cloud, running, disk):
    await cloud.call("ec2", "AttachVolume", VolumeId=disk, InstanceId=running, Device="/dev/sdf")
    report(cloud, running, disk)
    await cloud.call("ec2", "DetachVolume", VolumeId=disk)
    report(cloud, running)
    snapshot = Snapshot(
        id="snap-0123456789abcdef0",
        account=cloud.account,
        region=cloud.region,
        volume_id=disk,
        size=10,
        started=NOW,
        host_id=HOST,
    )
    taken = cloud.store.transact(lambda tx: tx.put(snapshot))
    await cloud.call("ec2", "DeleteVolume", VolumeId=disk)
    settle(cloud, disk)

    def wanted():
        specs = host_volumes(Reading(cloud.store.view()), HOST)
        return {spec.volume_id: spec.state for spec in specs}[disk]

    assert wanted() == "present"
    cloud.store.transact(lambda tx: tx.put(replace(taken, state="completed")))
    assert wanted() == "gone"
    gone = VolumeObservation(volume_id=disk, phase="gone")
    cloud.store.transact(lambda tx: volumes.observe(tx, "host-2", gone, NOW))
    assert volume_of(cloud, disk) is not None
    cloud.store.transact(lambda tx: volumes.observe(tx, HOST, gone, NOW))
    assert volume_of(cloud, disk) is None


async def test_a_volume_that_no_host_has_goes_at_once(cloud, disk):
    await cloud.call("ec2", "DeleteVolume", VolumeId=disk)
    settle(cloud, disk)
    assert volume_of(cloud, disk) is None


async def test_a_modification_is_over_when_guest_and_host_have_it(cloud, running, disk):
    await cloud.call("ec2", "AttachVolume", VolumeId=disk, InstanceId=running, Device="/dev/sdf")
    report(cloud, running, disk)
    grown = VolumeObservation(volume_id=disk, phase="present", size=10 * GIB)
    cloud.store.transact(lambda tx: volumes.observe(tx, HOST, grown, NOW))
    answer = await cloud.call("ec2", "ModifyVolume", VolumeId=disk, Size=12, Iops=4000)
    assert answer["VolumeModification"]["ModificationState"] == "modifying"

    def state():
        return volume_of(cloud, disk).modification.state

    settle(cloud, disk)
    assert state() == "modifying"
    with pytest.raises(ServiceError, match="modifying"):
        await cloud.call("ec2", "ModifyVolume", VolumeId=disk, Size=13)
    before = instance_of(cloud, running).wiring - 1
    cloud.store.transact(lambda tx: volumes.observe(tx, HOST, replace(grown, size=12 * GIB), NOW))
    report(cloud, running, disk, wiring=before)
    assert state() == "optimizing"
    (listed,) = [
        one for one in guest_disks(Reading(cloud.store.view()), instance_of(cloud, running)) if one.volume_id == disk
    ]
    assert (listed.iops, listed.throughput) == (4000, 125 * MIB)
    report(cloud, running, disk)
    change = volume_of(cloud, disk).modification
    assert (change.state, change.progress, change.ended) == ("completed", 100, cloud.clock.now())


def volume(**fields):
    plain = {"id": "vol-1", "account": "1", "region": "r", "zone": ZONE, "size": 100, "created": NOW}
    return Volume(**{**plain, **fields})


@pytest.mark.parametrize(
    ("fields", "iops", "throughput"),
    [
        ({"volume_type": "gp2"}, 3000, 128),
        ({"volume_type": "gp2", "size": 2000}, 6000, 250),
        ({"volume_type": "gp2", "size": 16384}, 16000, 250),
        ({"volume_type": "gp3", "iops": 5000, "throughput": 300}, 5000, 300),
        ({"volume_type": "io1", "iops": 1000}, 1000, 250),
        ({"volume_type": "io1", "iops": 32000}, 32000, 500),
        ({"volume_type": "io1", "iops": 64000}, 64000, 1000),
        ({"volume_type": "io2", "iops": 256000, "size": 1000}, 256000, 4000),
        ({"volume_type": "st1", "size": 1024}, 500, 250),
        ({"volume_type": "st1", "size": 16384}, 500, 500),
        ({"volume_type": "sc1", "size": 1024}, 250, 80),
        ({"volume_type": "standard"}, 200, 90),
    ],
)
def test_what_a_type_gives(fields, iops, throughput):
    assert limits(volume(**fields)) == (iops, throughput * MIB)


def test_attachments_of_instances_that_are_gone_go_too():
    attachment = VolumeAttachment(instance_id="i-1", device="/dev/sdf", attached=NOW, delete_on_termination=False)
    before = volume(state="in-use", attachments=(attachment,))
    after = settled(before, {}, NOW + timedelta(hours=1))
    assert (after.state, after.attachments) == ("available", ())
    assert settled(after, {}, NOW) == after


def test_a_modification_of_a_volume_that_is_nowhere_needs_no_host():
    change = Modification(
        state="modifying",
        size=(1, 2),
        volume_type=("gp3", "gp3"),
        iops=(3000, 3000),
        throughput=(125, 125),
        multi_attach=(False, False),
        started=NOW,
    )
    step = settled(volume(state="available", modification=change), {}, NOW)
    assert step.modification.state == "optimizing"
    assert settled(step, {}, NOW).modification.state == "completed"
