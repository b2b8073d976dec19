"""Random lives of volumes: owners attach, detach, change and delete; hosts are late, guests keep what they should let go.

However it goes, no volume is ever held by two guests (unless it is shared) or by one that the records don't know of, no
host loses the data of a volume that is not deleted, and once hosts are heard everything comes to rest.
"""

import asyncio
import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule
from model_host import ModelHost
from msgspec.structs import replace

from pileus.base.config import Config, RegionConfig
from pileus.base.errors import ServiceError
from pileus.controllers import instances, volumes
from pileus.controllers.host_spec import host_spec
from pileus.controllers.reading import Reading
from pileus.drivers.image.fake import TINY
from pileus.records import KINDS, Host, Instance, Volume
from pileus.records.instance import KeepConsole, State
from pileus.scheduler import Scheduler
from pileus.store import open_store
from pileus.testing.clock import ManualClock
from pileus.testing.consistency import problems, unsettled
from pileus.testing.in_process import DirectCloud, Lines

CONFIG = Config(
    regions=(RegionConfig(zones=("a",), public_pool=("203.0.113.0/26",)),),
    volume_modification_wait=0.0,
    instance_store_limit=8,
)
HOSTS = ("host-a", "host-b")
REFUSED = {
    "AttachmentLimitExceeded",
    "IncorrectInstanceState",
    "IncorrectModificationState",
    "IncorrectState",
    "InsufficientAddressCapacity",
    "InsufficientInstanceCapacity",
    "InvalidAttachment.NotFound",
    "InvalidInstanceAttributeValue",
    "InvalidInstanceID.NotFound",
    "InvalidParameterCombination",
    "InvalidParameterValue",
    "InvalidVolume.NotFound",
    "MissingParameter",
    "OperationNotPermitted",
    "UnsupportedOperation",
    "VolumeInUse",
}
"""What these calls may be answered, depending on how things stand."""

SHARED = {"VolumeType": "io2", "Iops": 100, "MultiAttachEnabled": True}
hosts = st.sampled_from(HOSTS)
devices = st.sampled_from(["/dev/sdf", "/dev/sdg", "/dev/sdh", "/dev/xvda"])


class Lives(RuleBasedStateMachine):
    ids = Bundle("ids")
    disks = Bundle("disks")

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
        self.hosts = {name: ModelHost(name) for name in HOSTS}
        for name in HOSTS:
            record = Host(id=name, account="", region="", vcpus=64, memory=65536, disk=100)
            self.store.transact(lambda tx, record=record: tx.put(record))

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
    def two_that_run(self):
        first, second = self.launch_one("t3.micro", []), self.launch_one("m5d.large", [])
        self.hear_everything()
        return multiple(first, second)

    @initialize(target=disks)
    def two_volumes(self):
        return multiple(self.create_one({}), self.create_one(SHARED))

    @rule(target=ids, type_=st.sampled_from(["t3.micro", "m5d.large", "m3.medium"]), data=st.booleans())
    def launch(self, type_, data):
        mappings = [{"DeviceName": "/dev/sdh", "Ebs": {"VolumeSize": 2, "DeleteOnTermination": False}}] if data else []
        return self.launch_one(type_, mappings)

    def launch_one(self, type_, mappings):
        answer = self.call(
            "RunInstances",
            ImageId=self.image.id,
            InstanceType=type_,
            MinCount=1,
            MaxCount=1,
            BlockDeviceMappings=[*mappings, {"DeviceName": "/dev/sdc", "VirtualName": "ephemeral0"}],
        )
        return answer["Instances"][0]["InstanceId"] if answer else multiple()

    @rule(target=disks, shared=st.booleans())
    def create(self, shared):
        return self.create_one(SHARED if shared else {"VolumeType": "gp3"})

    def create_one(self, params):
        return self.call("CreateVolume", AvailabilityZone="us-east-1a", Size=4, **params)["VolumeId"]

    @rule(id_=ids, disk=disks, device=devices)
    def attach(self, id_, disk, device):
        self.call("AttachVolume", InstanceId=id_, VolumeId=disk, Device=device)

    @rule(id_=ids, disk=disks, device=devices)
    def attach_in_time(self, id_, disk, device):
        self.follow()
        self.call("AttachVolume", InstanceId=id_, VolumeId=disk, Device=device)
        self.host_works_and_is_not_heard(HOSTS[0])
        self.host_works_and_is_not_heard(HOSTS[1])

    @rule(id_=ids, disk=disks, device=devices)
    def attach_and_think_better_of_it(self, id_, disk, device):
        """The guest has it, which was not heard yet; what was heard last is that it has it not."""
        self.attach_in_time(id_, disk, device)
        self.call("DetachVolume", VolumeId=disk, InstanceId=id_)
        self.follow()

    @rule(disk=disks, force=st.booleans())
    def detach(self, disk, force):
        volume = self.store.view().get(Volume, disk)
        named = {"InstanceId": volume.instance_id[0]} if volume and volume.attachments else {}
        self.call("DetachVolume", VolumeId=disk, Force=force, **named)

    @rule(id_=ids)
    def detach_the_root(self, id_):
        instance = self.store.view().get(Instance, id_)
        for device in instance.block_devices if instance else ():
            if device.device_name == instance.root_device_name:
                self.call("DetachVolume", VolumeId=device.volume_id)

    @rule(disk=disks)
    def delete(self, disk):
        self.call("DeleteVolume", VolumeId=disk)

    @rule(disk=disks, more=st.integers(0, 3), iops=st.sampled_from([None, 3100]))
    def modify(self, disk, more, iops):
        volume = self.store.view().get(Volume, disk)
        size = volume.size + more if volume else 1
        self.call("ModifyVolume", VolumeId=disk, Size=size, **({"Iops": iops} if iops else {}))

    @rule(id_=ids, keep=st.booleans())
    def keep_or_delete_with_the_instance(self, id_, keep):
        mapping = {"DeviceName": "/dev/sdf", "Ebs": {"DeleteOnTermination": not keep}}
        self.call("ModifyInstanceAttribute", InstanceId=id_, BlockDeviceMappings=[mapping])

    @rule(id_=ids)
    def start(self, id_):
        self.call("StartInstances", InstanceIds=[id_])

    @rule(id_=ids, force=st.booleans())
    def stop(self, id_, force):
        self.call("StopInstances", InstanceIds=[id_], Force=force)

    @rule(id_=ids)
    def terminate(self, id_):
        self.call("TerminateInstances", InstanceIds=[id_])

    # What hosts do

    @rule(name=hosts)
    def host_works_on_an_old_spec(self, name):
        self.hosts[name].work()

    @rule(name=hosts)
    def host_works_and_is_not_heard(self, name):
        self.hosts[name].take(self.spec(name))
        self.hosts[name].work()

    @rule(name=hosts)
    def host_reports(self, name):
        self.hear(self.hosts[name].report())

    @rule(name=hosts)
    def all_is_well_on_a_host(self, name):
        host = self.hosts[name]
        host.take(self.spec(name))
        host.work()
        self.hear(host.report())

    @rule(name=hosts, data=st.data())
    def an_old_report_comes_late(self, name, data):
        said = self.hosts[name].said
        if said:
            self.observe(name, data.draw(st.sampled_from(said)))

    @rule(name=hosts, id_=ids)
    def a_guest_keeps_its_disks(self, name, id_):
        self.hosts[name].keeps_disks.add(id_)

    @rule(name=hosts, id_=ids)
    def a_guest_lets_go(self, name, id_):
        self.hosts[name].keeps_disks.discard(id_)

    @rule(name=hosts, id_=ids, cause=st.sampled_from(["crash", "guest-shutdown"]))
    def guest_ends(self, name, id_, cause):
        self.hosts[name].turn_off(id_, cause)

    @rule(name=hosts)
    def launch_will_fail(self, name):
        self.hosts[name].fails_next = True

    @rule(minutes=st.sampled_from([0, 1, 61]))
    def time_passes(self, minutes):
        self.clock.advance(minutes * 60)
        self.follow()

    @rule()
    def hear_everything(self):
        for host in self.hosts.values():
            host.keeps_disks.clear()
        for _ in range(20):
            for name, host in self.hosts.items():
                host.take(self.spec(name))
                host.work()
                self.hear(host.report())
            self.follow()
            if not unsettled(self.store.view()):
                break
        assert not (waiting := unsettled(self.store.view())), waiting
        self.hosts_hold_what_the_records_say()

    # The control plane, in the same few lines as the controllers have

    def follow(self):
        now = self.clock.now()

        def settle(tx):
            for one in tx.list(Instance):
                self.settle_instance(tx, one.id)
            for one in tx.list(Volume):
                volumes.settle(tx, one.id, now)

        self.store.transact(settle)

    def spec(self, name):
        view = self.store.view()
        return host_spec(Reading(view), name, CONFIG, view.revision)

    def hear(self, report):
        now = self.clock.now()
        for volume in report.volumes:
            self.store.transact(lambda tx, volume=volume: volumes.observe(tx, report.host_id, volume, now))
        for guest in report.guests:
            self.observe(report.host_id, guest)

    def observe(self, name, guest):
        now = self.clock.now()

        def note(tx):
            if instances.observe(tx, name, guest, now) is not None:
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
    def nobody_else_has_what_a_guest_holds(self):
        view, holders = self.store.view(), {}
        for host in self.hosts.values():
            for id_, guest in host.guests.items():
                for volume_id in guest.volumes if guest.running else ():
                    if volume_id.startswith("store-"):
                        assert volume_id.startswith(f"store-{id_.removeprefix('i-')}-")
                        continue
                    holders.setdefault(volume_id, []).append(id_)
        for volume_id, guests in holders.items():
            volume = view.get(Volume, volume_id)
            assert volume is not None, f"{volume_id} is gone and {guests} have it"
            assert set(guests) <= set(volume.instance_id), f"{volume_id} is attached to {volume.instance_id}: {guests}"
            assert len(guests) == 1 or volume.multi_attach, f"{volume_id} is held by {guests}"

    @invariant()
    def no_data_is_lost(self):
        for name, host in self.hosts.items():
            for volume in self.store.view().list(Volume, host_id=name):
                assert volume.bytes_seen == 0 or volume.state == "deleting" or volume.id in host.sizes

    def hosts_hold_what_the_records_say(self):
        """At rest, guests have exactly their volumes, of the right size, and hosts keep nothing that is deleted or wiped."""
        view = self.store.view()
        for name, host in self.hosts.items():
            kept = {volume.id: volume.size << 30 for volume in view.list(Volume, host_id=name)}
            running = [one for one in view.list(Instance, host_id=name) if one.state is State.RUNNING]
            stores = {id_: disk.size for one in running for id_, disk in one.store_volumes}
            assert host.sizes == {**kept, **stores}
            for one in running:
                attached = {volume.id for volume in view.list(Volume, instance_id=one.id)}
                assert set(host.guests[one.id].volumes) == attached | {id_ for id_, _ in one.store_volumes}


TestVolumeLives = Lives.TestCase
TestVolumeLives.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
