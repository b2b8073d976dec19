"""What the records make of what hosts say of snapshots, and what hosts are told of them."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from pileus.controllers import images, snapshots
from pileus.controllers.reading import Reading
from pileus.controllers.snapshot_spec import host_snapshots
from pileus.hostapi.observation import SnapshotObservation
from pileus.hostapi.spec import SnapshotSpec
from pileus.records import Image, Instance, Snapshot, Volume
from pileus.records.instance import State
from pileus.testing.in_process import HOST, DirectCloud


@pytest.fixture
def cloud(tmp_path):
    cloud = DirectCloud.open(tmp_path)
    yield cloud
    cloud.close()


@pytest.fixture
async def instance(cloud):
    """The id of an instance that runs."""
    answer = await cloud.call(
        "ec2", "RunInstances", ImageId=cloud.add_image().id, InstanceType="t3.nano", MinCount=1, MaxCount=1
    )
    id_ = answer["Instances"][0]["InstanceId"]
    cloud.enter(id_, State.RUNNING)
    return id_


@pytest.fixture
def volume(cloud, instance):
    """The id of its root volume."""
    return cloud.store.view().get(Instance, instance).block_devices[0].volume_id


@pytest.fixture
def take(cloud, volume):
    """``await take()``: the id of a pending snapshot."""

    async def make():
        cloud.clock.advance(1)
        return (await cloud.call("ec2", "CreateSnapshot", VolumeId=volume))["SnapshotId"]

    return make


@pytest.fixture
def say(cloud):
    """``say(id, "taken", progress=3)``: a host reports; the snapshot as it is then."""

    def report(snapshot_id, phase, host=HOST, **fields):
        seen = SnapshotObservation(snapshot_id=snapshot_id, phase=phase, **fields)
        cloud.store.transact(lambda tx: snapshots.observe(tx, host, seen, cloud.clock.now()))
        return cloud.store.view().get(Snapshot, snapshot_id)

    return report


def spec(cloud):
    return {one.snapshot_id: one for one in host_snapshots(Reading(cloud.store.view()), HOST)}


async def test_from_the_instant_to_the_end(cloud, volume, take, say):
    id_ = await take()
    assert spec(cloud) == {id_: SnapshotSpec(snapshot_id=id_, volume_id=volume, group=id_)}
    asked = cloud.clock.now()
    cloud.clock.advance(1)
    taken = say(id_, "taken", progress=40)
    assert (taken.state, taken.progress, taken.taken) == ("pending", 40, asked + timedelta(seconds=1))
    cloud.clock.advance(1)
    assert say(id_, "taken", progress=30).progress == 40
    assert say(id_, "taken", progress=100).progress == 99
    done = say(id_, "uploaded", root="aa", uploaded_bytes=5, full_bytes=7)
    assert (done.state, done.root, done.progress, done.full_bytes, done.taken) == (
        "completed",
        "aa",
        100,
        7,
        taken.taken,
    )
    assert spec(cloud) == {}
    assert cloud.store.view().get(Volume, volume).line_root == "aa"
    assert spec(cloud).keys() == set()
    second = await take()
    assert spec(cloud)[second].parent == "aa"


async def test_reports_that_say_nothing(cloud, take, say):
    id_ = await take()
    assert say(id_, "uploaded", host="host-2", root="bb").state == "pending"
    assert say(id_, "uploaded", root="aa").root == "aa"
    assert say(id_, "failed", detail="late").state == "completed"
    assert say("snap-0123456789abcdef0", "taken") is None


async def test_failures_are_told(cloud, take, say):
    id_ = await take()
    failed = say(id_, "failed", detail="broken disk")
    assert (failed.state, failed.state_message, failed.host_id) == ("error", "broken disk", None)
    assert say(await take(), "uploaded").state == "error"


async def test_a_line_never_goes_back(cloud, volume, take, say):
    first, second = await take(), await take()
    say(second, "uploaded", root="22")
    say(first, "uploaded", root="11")
    assert cloud.store.view().get(Volume, volume).line_root == "22"


async def test_only_what_was_not_taken_is_lost_with_its_host(cloud, take, say):
    taken, waiting = await take(), await take()
    say(taken, "taken")
    cloud.store.transact(lambda tx: snapshots.lose(tx, [HOST]))
    view = cloud.store.view()
    assert view.get(Snapshot, taken).state == "pending"
    assert view.get(Snapshot, waiting).state == "error"
    assert spec(cloud).keys() == {taken}


async def test_what_is_held_is_not_told(cloud, instance, say):
    image_id = (await cloud.call("ec2", "CreateImage", InstanceId=instance, Name="held"))["ImageId"]

    def settle():
        cloud.store.transact(lambda tx: images.settle(tx, images.unsettled(tx)))
        view = cloud.store.view()
        return view.get(Image, image_id), view.get(Instance, instance)

    image, running = settle()
    assert image.rebooting
    assert running.imaging == image_id
    assert spec(cloud) == {}
    off = replace(running.observed, phase="off", cause="asked")
    cloud.store.transact(lambda tx: tx.put(replace(tx.get(Instance, instance), observed=off)))
    settle()
    (snapshot_id,) = spec(cloud)
    assert settle()[0].rebooting, "it must stay down until the snapshot is taken"
    say(snapshot_id, "taken")
    image, running = settle()
    assert (image.rebooting, image.state) == (False, "pending")
    assert (running.imaging, running.boot) == (None, 2)
    say(snapshot_id, "uploaded", root="aa")
    assert settle()[0].state == "available"


async def test_what_was_binned_goes_in_time(cloud, take, say):
    id_ = await take()
    say(id_, "uploaded", root="aa")
    now = cloud.clock.now()
    binned = {"binned": now, "bin_until": now + timedelta(days=1)}
    cloud.store.transact(lambda tx: tx.put(replace(tx.get(Snapshot, id_), **binned)))
    cloud.store.transact(lambda tx: snapshots.empty_bin(tx, now))
    assert cloud.store.view().get(Snapshot, id_) is not None
    cloud.store.transact(lambda tx: snapshots.empty_bin(tx, now + timedelta(days=1)))
    assert cloud.store.view().get(Snapshot, id_) is None
