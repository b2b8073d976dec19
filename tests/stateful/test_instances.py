"""Random lives of instances: owners, hosts and accidents in any order, reports that are late, repeated or made up.

Whatever happens, the records fit together after every step; and as soon as the hosts are heard, everything comes to rest.
"""

import asyncio
import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule
from model_host import ModelHost
from msgspec.structs import replace

from pileus.base.config import Config, RegionConfig
from pileus.base.errors import ServiceError
from pileus.controllers import instances, volumes
from pileus.controllers.host_spec import host_spec
from pileus.controllers.reading import Reading
from pileus.drivers.image.fake import TINY
from pileus.hostapi.observation import GuestObservation
from pileus.records import KINDS, Host, Instance, NetworkInterface
from pileus.records.instance import TRANSITIONS, KeepConsole, State
from pileus.scheduler import Scheduler
from pileus.store import open_store
from pileus.testing.clock import ManualClock
from pileus.testing.consistency import problems, unsettled
from pileus.testing.in_process import DirectCloud, Lines

CONFIG = Config(regions=(RegionConfig(zones=("a",), public_pool=("203.0.113.0/28",)),))
"""Ten public addresses."""

HOSTS = ("host-a", "host-b")
REFUSED = {
    "AddressLimitExceeded",
    "IncorrectInstanceState",
    "InvalidInstanceID.NotFound",
    "InsufficientInstanceCapacity",
    "InsufficientAddressCapacity",
    "OperationNotPermitted",
    "InvalidInstanceID",
    "InvalidIPAddress.InUse",
    "Resource.AlreadyAssociated",
    "InvalidAllocationID.NotFound",
    "InvalidAddress.NotFound",
    "InvalidNetworkInterface.InUse",
    "InvalidNetworkInterfaceID.NotFound",
    "IdempotentParameterMismatch",
}
"""What these calls may be answered, depending on how things stand."""

REACHABLE = {state: {state, *TRANSITIONS[state]} for state in State}
for _ in State:
    REACHABLE = {state: {far for near in nears for far in REACHABLE[near]} for state, nears in REACHABLE.items()}

hosts = st.sampled_from(HOSTS)
phases = st.sampled_from(["absent", "preparing", "running", "stopping", "off", "failed", "gone"])
causes = st.sampled_from(["", "asked", "guest-shutdown", "guest-panic", "crash", "watchdog", "host-restart"])


class Lives(RuleBasedStateMachine):
    ids = Bundle("ids")
    allocations = Bundle("allocations")

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
            record = Host(id=name, account="", region="", vcpus=8, memory=12288)
            self.store.transact(lambda tx, record=record: tx.put(record))
        self.known = {}

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

    @rule(
        target=ids,
        count=st.tuples(st.integers(1, 2), st.integers(0, 3)),
        type_=st.sampled_from(["t3.micro", "t3.micro", "m5.large"]),
        token=st.sampled_from(["", "", "one", "two"]),
        behaviour=st.sampled_from(["stop", "terminate"]),
        recovery=st.sampled_from(["default", "default", "disabled"]),
        keep=st.booleans(),
    )
    def launch(self, count, type_, token, behaviour, recovery, keep):
        answer = self.call(
            "RunInstances",
            ImageId=self.image.id,
            InstanceType=type_,
            MinCount=count[0],
            MaxCount=sum(count),
            InstanceInitiatedShutdownBehavior=behaviour,
            MaintenanceOptions={"AutoRecovery": recovery},
            BlockDeviceMappings=[{"DeviceName": "/dev/xvda", "Ebs": {"DeleteOnTermination": not keep}}],
            NetworkInterfaces=[{"DeviceIndex": 0, "DeleteOnTermination": not keep}],
            ClientToken=token,
        )
        return multiple(*(one["InstanceId"] for one in answer["Instances"])) if answer else multiple()

    @rule(target=ids)
    def launch_on_a_kept_interface(self):
        kept = [one for one in self.store.view().list(NetworkInterface) if one.attachment is None]
        if not kept:
            return multiple()
        answer = self.call(
            "RunInstances",
            ImageId=self.image.id,
            InstanceType="t3.micro",
            MinCount=1,
            MaxCount=1,
            NetworkInterfaces=[{"DeviceIndex": 0, "NetworkInterfaceId": kept[0].id}],
        )
        return answer["Instances"][0]["InstanceId"] if answer else multiple()

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

    @rule(target=allocations)
    def allocate(self):
        answer = self.call("AllocateAddress")
        return answer["AllocationId"] if answer else multiple()

    @rule(id_=ids, allocation=allocations, again=st.booleans())
    def associate(self, id_, allocation, again):
        self.call("AssociateAddress", InstanceId=id_, AllocationId=allocation, AllowReassociation=again)

    @rule(allocation=allocations)
    def disassociate(self, allocation):
        found = self.call("DescribeAddresses", AllocationIds=[allocation])
        association = found and found["Addresses"][0].get("AssociationId")
        if association:
            self.call("DisassociateAddress", AssociationId=association)

    @rule(allocation=allocations)
    def release(self, allocation):
        self.call("ReleaseAddress", AllocationId=allocation)

    # What hosts do

    @rule(name=hosts)
    def spec_arrives(self, name):
        self.hosts[name].take(self.spec(name))

    @rule(name=hosts)
    def host_works(self, name):
        self.hosts[name].work()

    @rule(name=hosts)
    def host_reports(self, name):
        self.hear(self.hosts[name].report())

    @rule(name=hosts, data=st.data())
    def an_old_report_comes_late(self, name, data):
        said = self.hosts[name].said
        if said:
            self.observe(name, data.draw(st.sampled_from(said)))

    @rule(name=hosts, id_=ids, boot=st.integers(0, 4), phase=phases, cause=causes, impaired=st.booleans())
    def a_host_talks_nonsense(self, name, id_, boot, phase, cause, impaired):
        self.observe(
            name, GuestObservation(instance_id=id_, boot=boot, phase=phase, cause=cause, impaired=impaired, reset=boot)
        )

    @rule(name=hosts, id_=ids, cause=st.sampled_from(["crash", "crash", "guest-shutdown", "guest-panic"]))
    def guest_ends(self, name, id_, cause):
        self.hosts[name].turn_off(id_, cause)

    @rule(name=hosts, id_=ids)
    def guest_panics(self, name, id_):
        self.hosts[name].panic(id_)

    @rule(name=hosts)
    def launch_will_fail(self, name):
        self.hosts[name].fails_next = True

    @rule(name=hosts)
    def host_loses_power(self, name):
        host = self.hosts[name]
        for id_ in host.guests:
            host.turn_off(id_, "host-restart")
        host.troubles.clear()

    @rule(name=hosts, state=st.sampled_from(["up", "lost"]))
    def host_comes_or_goes(self, name, state):
        host = self.store.view().get(Host, name)
        self.store.transact(lambda tx: tx.put(replace(host, state=state)))

    @rule(minutes=st.sampled_from([1, 61]))
    def time_passes(self, minutes):
        self.clock.advance(minutes * 60)
        self.store.transact(
            lambda tx: [instances.settle(tx, one.id, self.placement, self.clock.now()) for one in tx.list(Instance)]
        )

    @rule()
    def hear_everything(self):
        """Hosts that get their specs, work and report bring everything to rest, in a bounded number of rounds."""
        for _ in range(20):
            for name, host in self.hosts.items():
                host.take(self.spec(name))
                host.work()
                self.hear(host.report())
            if not unsettled(self.store.view()):
                break
        assert not unsettled(self.store.view())
        self.everything_fits()
        self.hosts_hold_nothing_else()

    # The control plane, in the same few lines as the controllers have

    def spec(self, name):
        view = self.store.view()
        return host_spec(Reading(view), name, CONFIG, view.revision)

    def hear(self, report):
        for volume in report.volumes:
            self.store.transact(lambda tx, volume=volume: volumes.observe(tx, report.host_id, volume, self.clock.now()))
        for guest in report.guests:
            self.observe(report.host_id, guest)

    def observe(self, name, guest):
        now = self.clock.now()

        def note(tx):
            if instances.observe(tx, name, guest, now) is None:
                return
            if isinstance(instances.settle(tx, guest.instance_id, self.placement, now), KeepConsole):
                tx.put(replace(tx.get(Instance, guest.instance_id), console_kept=True))
                instances.settle(tx, guest.instance_id, self.placement, now)
            volumes.settle_of(tx, guest.instance_id, now)

        before = self.store.view().get(Instance, guest.instance_id)
        self.store.transact(note)
        if before is not None and (before.host_id, before.boot) != (name, guest.boot):
            assert self.store.view().get(Instance, guest.instance_id) == before

    # What must hold

    @invariant()
    def everything_fits(self):
        assert not (found := problems(self.store.view(), CONFIG)), "\n".join(found)

    @invariant()
    def states_follow_one_another_as_they_may(self):
        view = self.store.view()
        for id_, before in list(self.known.items()):
            after = view.get(Instance, id_)
            if after is None:
                assert State.TERMINATED in REACHABLE[before.state]
                del self.known[id_]
            else:
                assert after.state in REACHABLE[before.state]
                assert after.boot >= before.boot
                assert after.host_id in {before.host_id, None}
                assert before.ended in {after.ended, None}
        self.known.update({one.id: one for one in view.list(Instance)})

    def hosts_hold_nothing_else(self):
        """At rest, each host has the guests and the volumes that the records put there, running as they say."""
        view = self.store.view()
        for name, host in self.hosts.items():
            here = {one.id: one for one in view.list(Instance, host_id=name)}
            assert host.guests.keys() <= here.keys()
            running = {id_ for id_, guest in host.guests.items() if guest.running}
            assert running == {one.id for one in here.values() if one.state is State.RUNNING}
            assert host.sizes.keys() == {volume.volume_id for volume in host.spec.volumes if volume.state == "present"}


TestLives = Lives.TestCase
TestLives.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
