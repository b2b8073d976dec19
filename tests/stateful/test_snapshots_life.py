"""Random lives of snapshots and images: owners take, share and delete them, launch from them, reboot, stop and terminate
what they are taken of; hosts are late, take, upload, forget what they said, and fail.

However it goes, a snapshot shows its volume at one moment after it was asked for, those of a group the same moment, those of
an image that reboots its instance a moment without a guest; what is deleted stays on its host while it is read; and once
hosts are heard everything comes to rest.
"""

import asyncio
import shutil
import tempfile
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule
from model_host import ModelHost
from msgspec.structs import replace

from pileus.base.config import Config, RegionConfig
from pileus.base.errors import ServiceError
from pileus.controllers import images, instances, snapshots, volumes
from pileus.controllers.host_spec import host_spec
from pileus.controllers.reading import Reading
from pileus.drivers.image.fake import TINY
from pileus.hostapi.observation import SnapshotObservation
from pileus.records import KINDS, Host, Image, Instance, Snapshot, Volume
from pileus.records.instance import KeepConsole, State
from pileus.scheduler import Scheduler
from pileus.store import open_store
from pileus.testing.clock import ManualClock
from pileus.testing.consistency import problems, unsettled
from pileus.testing.in_process import DirectCloud, Lines

CONFIG = Config(regions=(RegionConfig(zones=("a",), public_pool=("203.0.113.0/26",)),), volume_modification_wait=0.0)
HOST = "host-a"
REFUSED = {
    "ConcurrentSnapshotLimitExceeded",
    "IncorrectInstanceState",
    "IncorrectState",
    "InsufficientAddressCapacity",
    "InsufficientInstanceCapacity",
    "InvalidAMIID.NotFound",
    "InvalidAMIID.Unavailable",
    "InvalidInstanceID.NotFound",
    "InvalidSnapshot.InUse",
    "InvalidSnapshot.NotFound",
    "InvalidVolume.NotFound",
    "OperationNotPermitted",
    "UnsupportedOperation",
    "VolumeInUse",
}
"""What these calls may be answered, depending on how things stand."""


class SnapshotHost(ModelHost):
    """Its guests count up on all their volumes; ``moment`` numbers its steps.

    ``shown`` is what each snapshot shows: its volume's counter, the step, and the guests that ran then.
    """

    def __init__(self, name):
        super().__init__(name)
        self.moment = 0
        self.counters = {}
        self.shown = {}
        self.sent = {}
        self.failing = set()

    def work(self):
        self.moment += 1
        for guest in self.guests.values():
            for volume_id in guest.volumes if guest.running else ():
                self.counters[volume_id] = self.counters.get(volume_id, 0) + 1
        self.forget()
        self.take_snapshots()  # before anything else that the spec asks for: hosts do things in any order
        super().work()

    def forget(self):
        """What the spec does not list any more is on record, or not wanted."""
        wanted = {one.snapshot_id for one in self.spec.snapshots}
        for snapshot_id in self.shown.keys() - wanted:
            self.shown[snapshot_id] = self.shown[snapshot_id] | {"over": True}
        self.sent = {id_: root for id_, root in self.sent.items() if id_ in wanted}

    def take_snapshots(self):
        groups = {}
        for one in self.spec.snapshots:
            groups.setdefault(one.group, []).append(one)
        running = {id_ for id_, guest in self.guests.items() if guest.running}
        for members in groups.values():
            fresh = [one for one in members if one.snapshot_id not in self.shown]
            if all(one.volume_id in self.sizes for one in fresh):
                for one in fresh:
                    counter = self.counters.get(one.volume_id, 0)
                    self.shown[one.snapshot_id] = {
                        "counter": counter,
                        "moment": self.moment,
                        "running": running,
                        "parent": one.parent,
                    }

    def upload(self):
        """The next one is uploaded, or fails."""
        for one in self.spec.snapshots:
            if one.snapshot_id in self.shown and one.snapshot_id not in self.sent:
                assert one.volume_id in self.sizes, f"{one.volume_id} is gone while {one.snapshot_id} is read"
                self.sent[one.snapshot_id] = f"{one.snapshot_id}:{self.shown[one.snapshot_id]['counter']}"
                return

    def report(self):
        return replace(super().report(), snapshots=tuple(self._told()))

    def _told(self):
        for one in self.spec.snapshots:
            if one.snapshot_id in self.failing:
                yield SnapshotObservation(snapshot_id=one.snapshot_id, phase="failed", detail="broken")
            elif one.snapshot_id in self.sent:
                root = self.sent[one.snapshot_id]
                yield SnapshotObservation(snapshot_id=one.snapshot_id, phase="uploaded", root=root, full_bytes=1)
            elif one.snapshot_id in self.shown:
                yield SnapshotObservation(snapshot_id=one.snapshot_id, phase="taken", progress=7)


class Lives(RuleBasedStateMachine):
    ids = Bundle("ids")
    shots = Bundle("shots")
    amis = Bundle("amis")

    def __init__(self):
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.directory = Path(tempfile.mkdtemp(prefix="pileus-"))
        self.clock = ManualClock()
        self.store = open_store(f"sqlite:///{self.directory}/store", KINDS, self.clock, durable=False)
        self.placement = Scheduler(CONFIG)
        self.cloud = DirectCloud(self.store, CONFIG, self.clock, self.placement, Lines())
        self.cloud.add_account(CONFIG.account)
        self.image = self.cloud.add_image(content=TINY.content)
        self.host = SnapshotHost(HOST)
        self.asked = {}
        self.numbers = iter(range(1, 10_000))
        record = Host(id=HOST, account="", region="", vcpus=64, memory=65536, disk=1000)
        self.store.transact(lambda tx: tx.put(record))

    def teardown(self):
        try:
            self.hear_everything()
        finally:
            self.store.close()
            self.loop.close()
            shutil.rmtree(self.directory)

    def call(self, operation, **params):
        """The result of an operation, or None when it was refused as it may be."""
        self.clock.advance(0.01)
        try:
            return self.loop.run_until_complete(self.cloud.call("ec2", operation, **params))
        except ServiceError as error:
            assert error.code in REFUSED, error
            return None

    # What owners do

    @initialize(target=ids)
    def one_that_runs(self):
        first = self.launch_one(self.image.id, 1)
        self.hear_everything()
        return first

    @rule(target=ids, volumes=st.integers(0, 2))
    def launch(self, volumes):
        return self.launch_one(self.image.id, volumes)

    @rule(target=ids, ami=amis)
    def launch_from_an_image(self, ami):
        return self.launch_one(ami, 0)

    def launch_one(self, image_id, count):
        mappings = [
            {"DeviceName": f"/dev/sd{'fgh'[number]}", "Ebs": {"VolumeSize": 2, "DeleteOnTermination": number == 0}}
            for number in range(count)
        ]
        answer = self.call(
            "RunInstances",
            ImageId=image_id,
            InstanceType="t3.micro",
            MinCount=1,
            MaxCount=1,
            BlockDeviceMappings=mappings,
        )
        return answer["Instances"][0]["InstanceId"] if answer else multiple()

    def ask(self, snapshot_ids):
        """Notes what volumes hold when their snapshots are asked for."""
        for snapshot_id in snapshot_ids:
            volume_id = self.store.view().get(Snapshot, snapshot_id).volume_id
            self.asked[snapshot_id] = self.host.counters.get(volume_id, 0)
        return multiple(*snapshot_ids)

    @rule(target=shots, id_=ids, which=st.integers(0, 2))
    def take_one(self, id_, which):
        instance = self.store.view().get(Instance, id_)
        devices = instance.block_devices if instance else ()
        if not devices:
            return multiple()
        made = self.call("CreateSnapshot", VolumeId=devices[which % len(devices)].volume_id)
        return self.ask([made["SnapshotId"]] if made else [])

    @rule(target=shots, id_=ids)
    def take_all(self, id_):
        made = self.call("CreateSnapshots", InstanceSpecification={"InstanceId": id_})
        return self.ask([one["SnapshotId"] for one in made["Snapshots"]] if made else [])

    @rule(target=shots, shot=shots)
    def copy(self, shot):
        made = self.call("CopySnapshot", SourceRegion="us-east-1", SourceSnapshotId=shot)
        return made["SnapshotId"] if made else multiple()

    @rule(shot=shots)
    def delete_snapshot(self, shot):
        self.call("DeleteSnapshot", SnapshotId=shot)

    @rule(target=amis, id_=ids, reboot=st.booleans())
    def make_image(self, id_, reboot):
        made = self.call("CreateImage", InstanceId=id_, Name=f"image {next(self.numbers)}", NoReboot=not reboot)
        if made is None:
            return multiple()
        self.ask(self.store.view().get(Image, made["ImageId"]).snapshot_ids)
        return made["ImageId"]

    @rule(ami=amis, snapshots_too=st.booleans())
    def deregister(self, ami, snapshots_too):
        self.call("DeregisterImage", ImageId=ami, DeleteAssociatedSnapshots=snapshots_too)

    @rule(ami=amis)
    def turn_off_and_on(self, ami):
        self.call("DisableImage", ImageId=ami)
        self.call("EnableImage", ImageId=ami)

    @rule(id_=ids)
    def start(self, id_):
        self.call("StartInstances", InstanceIds=[id_])

    @rule(id_=ids, force=st.booleans())
    def stop(self, id_, force):
        self.call("StopInstances", InstanceIds=[id_], Force=force)

    @rule(id_=ids)
    def reboot(self, id_):
        self.call("RebootInstances", InstanceIds=[id_])

    @rule(id_=ids)
    def terminate(self, id_):
        self.call("TerminateInstances", InstanceIds=[id_])

    @rule()
    def delete_a_volume(self):
        for volume in self.store.view().list(Volume):
            if volume.state == "available":
                self.call("DeleteVolume", VolumeId=volume.id)
                return

    # What the host does

    @rule()
    def works_on_an_old_spec(self):
        self.host.work()

    @rule()
    def works_and_is_not_heard(self):
        self.host.take(self.spec())
        self.host.work()

    @rule()
    def uploads_one(self):
        self.host.upload()

    @rule()
    def reports(self):
        self.hear(self.host.report())
        self.follow()

    @rule(id_=ids, cause=st.sampled_from(["crash", "guest-shutdown"]))
    def guest_ends(self, id_, cause):
        self.host.turn_off(id_, cause)

    @rule(shot=shots)
    def can_not_upload(self, shot):
        self.host.failing.add(shot)

    @rule()
    def is_lost_for_a_while(self):
        self.store.transact(lambda tx: snapshots.lose(tx, [HOST]))
        self.follow()

    @rule()
    def hear_everything(self):
        for _ in range(30):
            self.host.take(self.spec())
            self.host.work()
            self.host.upload()
            self.hear(self.host.report())
            self.follow()
            if not unsettled(self.store.view()):
                break
        assert not (waiting := unsettled(self.store.view())), waiting
        view = self.store.view()
        assert not [one.id for one in view.list(Snapshot) if one.held]
        assert not [one.id for one in view.list(Instance) if one.imaging]

    # The control plane, in the same few lines as the controllers have

    def follow(self):
        now = self.clock.now()

        def settle(tx):
            for one in tx.list(Instance):
                self.settle_instance(tx, one.id)
            for one in tx.list(Volume):
                volumes.settle(tx, one.id, now)
            images.settle(tx, images.unsettled(tx))

        self.store.transact(settle)

    def spec(self):
        view = self.store.view()
        return host_spec(Reading(view), HOST, CONFIG, view.revision)

    def hear(self, report):
        now = self.clock.now()

        def note(tx):
            for volume in report.volumes:
                volumes.observe(tx, HOST, volume, now)
            for snapshot in report.snapshots:
                snapshots.observe(tx, HOST, snapshot, now)
            for guest in report.guests:
                if instances.observe(tx, HOST, guest, now) is not None:
                    self.settle_instance(tx, guest.instance_id)
                    volumes.settle_of(tx, guest.instance_id, now)

        self.store.transact(note)

    def settle_instance(self, tx, id_):
        now = self.clock.now()
        if isinstance(instances.settle(tx, id_, self.placement, now), KeepConsole):
            tx.put(replace(tx.get(Instance, id_), console_kept=True))
            instances.settle(tx, id_, self.placement, now)

    # What must hold

    @invariant()
    def everything_fits(self):
        assert not (found := problems(self.store.view(), CONFIG)), "\n".join(found)

    @invariant()
    def snapshots_show_what_was_there_when_they_were_asked_for(self):
        for snapshot_id, shown in self.host.shown.items():
            assert shown["counter"] >= self.asked.get(snapshot_id, 0)

    @invariant()
    def groups_have_one_moment(self):
        moments = {}
        for one in self.store.view().list(Snapshot):
            shown = self.host.shown.get(one.id)
            if one.group and shown is not None:
                moments.setdefault(one.group, set()).add(shown["moment"])
        assert all(len(several) == 1 for several in moments.values()), moments

    @invariant()
    def images_that_reboot_show_no_running_guest(self):
        for image in self.store.view().list(Image):
            for snapshot_id in image.snapshot_ids if image.rebooting else ():
                shown = self.host.shown.get(snapshot_id)
                assert shown is None or image.instance_id not in shown["running"]

    @invariant()
    def lines_go_on_from_what_is_stored(self):
        roots = set(self.host.sent.values())
        for volume in self.store.view().list(Volume):
            if volume.line_root is not None:
                snapshot_id = volume.line_root.partition(":")[0]
                assert volume.line_root == f"{snapshot_id}:{self.host.shown[snapshot_id]['counter']}", roots

    @invariant()
    def what_runs_runs(self):
        """An image never leaves an instance down without a reason."""
        for one in self.store.view().list(Instance):
            if one.imaging is not None and one.state in {State.PENDING, State.RUNNING}:
                assert self.store.view().get(Image, one.imaging) is not None


TestSnapshotLives = Lives.TestCase
