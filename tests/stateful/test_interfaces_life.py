"""Random lives of network interfaces: owners attach, detach, move and delete them; hosts are late, guests hold on to them.

However it goes, no interface, MAC or address is ever in two guests, or in one that the records don't know of; addresses
that nobody has are free; and once hosts are heard everything comes to rest.
"""

import asyncio
import shutil
import tempfile
from collections import Counter
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule
from model_host import ModelHost
from msgspec.structs import replace

from pileus.base.config import Config, RegionConfig
from pileus.base.errors import ServiceError
from pileus.controllers import instances, interfaces
from pileus.controllers.host_spec import host_spec
from pileus.controllers.reading import Reading
from pileus.drivers.image.fake import TINY
from pileus.records import KINDS, Host, Instance, NetworkInterface
from pileus.records.instance import KeepConsole, State
from pileus.scheduler import Scheduler
from pileus.store import open_store
from pileus.testing.clock import ManualClock
from pileus.testing.consistency import problems, unsettled
from pileus.testing.in_process import DirectCloud, Lines

CONFIG = Config(regions=(RegionConfig(zones=("a",), public_pool=("203.0.113.0/27",)),))
HOSTS = ("host-a", "host-b")
REFUSED = {
    "AddressLimitExceeded",
    "AttachmentLimitExceeded",
    "IncorrectInstanceState",
    "IncorrectState",
    "InsufficientAddressCapacity",
    "InsufficientCidrBlocks",
    "InsufficientFreeAddressesInSubnet",
    "InsufficientInstanceCapacity",
    "InvalidAddress.NotFound",
    "InvalidAllocationID.NotFound",
    "InvalidAttachmentID.NotFound",
    "InvalidIPAddress.InUse",
    "InvalidInstanceID",
    "InvalidInstanceID.NotFound",
    "InvalidNetworkInterface.InUse",
    "InvalidNetworkInterfaceID.NotFound",
    "InvalidParameterCombination",
    "InvalidParameterValue",
    "OperationNotPermitted",
    "PrivateIpAddressLimitExceeded",
    "Resource.AlreadyAssociated",
}
"""What these calls may be answered, depending on how things stand."""

CIDR, NAMED = "10.0.0.0/22", "10.0.0.16/28"
hosts = st.sampled_from(HOSTS)
numbers = st.integers(20, 24)


class Lives(RuleBasedStateMachine):
    ids = Bundle("ids")
    nics = Bundle("nics")
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
            record = Host(id=name, account="", region="", vcpus=64, memory=65536, disk=100)
            self.store.transact(lambda tx, record=record: tx.put(record))
        self.make_vpc()

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

    def make_vpc(self):
        vpc = self.call("CreateVpc", CidrBlock="10.0.0.0/16", AmazonProvidedIpv6CidrBlock=True)["Vpc"]
        gateway = self.call("CreateInternetGateway")["InternetGateway"]["InternetGatewayId"]
        self.call("AttachInternetGateway", InternetGatewayId=gateway, VpcId=vpc["VpcId"])
        (block,) = vpc["Ipv6CidrBlockAssociationSet"]
        ipv6 = block["Ipv6CidrBlock"].replace("/56", "/64")
        made = self.call("CreateSubnet", VpcId=vpc["VpcId"], CidrBlock=CIDR, Ipv6CidrBlock=ipv6)
        self.subnet = made["Subnet"]["SubnetId"]
        # What the cloud chooses is random, and must not be what the rules name.
        self.call("CreateSubnetCidrReservation", SubnetId=self.subnet, Cidr=NAMED, ReservationType="explicit")

    @initialize(target=ids)
    def two_that_run(self):
        first, second = self.launch_one([]), self.launch_one([])
        self.hear_everything()
        return multiple(first, second)

    @initialize(target=nics)
    def two_interfaces(self):
        made = [
            self.call("CreateNetworkInterface", SubnetId=self.subnet, **extra) for extra in ({}, {"Ipv4PrefixCount": 1})
        ]
        return multiple(*(one["NetworkInterface"]["NetworkInterfaceId"] for one in made))

    @rule(target=ids, nic=nics)
    def launch_with(self, nic):
        return self.launch_one([{"DeviceIndex": 1, "NetworkInterfaceId": nic}])

    @rule(target=ids, keep=st.booleans())
    def launch_with_a_new_one(self, keep):
        new = {"DeviceIndex": 1, "SubnetId": self.subnet, "DeleteOnTermination": not keep, "Ipv6AddressCount": 1}
        return self.launch_one([new])

    def launch_one(self, more):
        answer = self.call(
            "RunInstances",
            ImageId=self.image.id,
            InstanceType="m5.large",
            MinCount=1,
            MaxCount=1,
            NetworkInterfaces=[{"DeviceIndex": 0, "SubnetId": self.subnet}, *more],
        )
        return answer["Instances"][0]["InstanceId"] if answer else multiple()

    @rule(target=nics, secondary=st.integers(0, 2), six=st.integers(0, 1), number=st.none() | numbers)
    def create(self, secondary, six, number):
        named = {"PrivateIpAddress": f"10.0.0.{number}"} if number else {}
        answer = self.call(
            "CreateNetworkInterface",
            SubnetId=self.subnet,
            SecondaryPrivateIpAddressCount=secondary,
            Ipv6AddressCount=six,
            **named,
        )
        return answer["NetworkInterface"]["NetworkInterfaceId"] if answer else multiple()

    @rule(nic=nics)
    def delete(self, nic):
        self.call("DeleteNetworkInterface", NetworkInterfaceId=nic)

    @rule(id_=ids, nic=nics, index=st.integers(1, 3))
    def attach(self, id_, nic, index):
        self.call("AttachNetworkInterface", InstanceId=id_, NetworkInterfaceId=nic, DeviceIndex=index)

    @rule(id_=ids, nic=nics, index=st.integers(1, 3))
    def attach_and_think_better_of_it(self, id_, nic, index):
        """The guest has it, which was not heard yet; what was heard last is that it has it not."""
        self.attach(id_, nic, index)
        for name in HOSTS:
            self.host_works_and_is_not_heard(name)
        self.detach(nic, force=False)
        self.follow()

    @rule(nic=nics, force=st.booleans())
    def detach(self, nic, force):
        found = self.store.view().get(NetworkInterface, nic)
        if found is not None and found.attachment is not None:
            self.call("DetachNetworkInterface", AttachmentId=found.attachment.id, Force=force)

    @rule(one=ids, other=ids, nic=nics)
    def move(self, one, other, nic):
        """Away from the one, and tried at the other again and again while the hosts work."""
        self.attach(one, nic, 2)
        self.hear_everything()
        self.detach(nic, force=False)
        for _ in range(3):
            self.attach(other, nic, 2)
            for name in HOSTS:
                self.all_is_well_on_a_host(name)

    @rule(nic=nics, keep=st.booleans())
    def keep_or_delete_with_the_instance(self, nic, keep):
        found = self.store.view().get(NetworkInterface, nic)
        if found is not None and found.attachment is not None:
            attachment = {"AttachmentId": found.attachment.id, "DeleteOnTermination": not keep}
            self.call("ModifyNetworkInterfaceAttribute", NetworkInterfaceId=nic, Attachment=attachment)

    @rule(nic=nics, number=numbers, again=st.booleans())
    def assign(self, nic, number, again):
        self.call(
            "AssignPrivateIpAddresses",
            NetworkInterfaceId=nic,
            PrivateIpAddresses=[f"10.0.0.{number}"],
            AllowReassignment=again,
        )

    @rule(nic=nics, six=st.booleans())
    def assign_a_prefix(self, nic, six):
        if six:
            self.call("AssignIpv6Addresses", NetworkInterfaceId=nic, Ipv6PrefixCount=1)
        else:
            self.call("AssignPrivateIpAddresses", NetworkInterfaceId=nic, Ipv4PrefixCount=1)

    @rule(nic=nics, six=st.booleans())
    def unassign(self, nic, six):
        found = self.store.view().get(NetworkInterface, nic)
        if found is None:
            return
        if six and found.ipv6_addresses:
            self.call("UnassignIpv6Addresses", NetworkInterfaceId=nic, Ipv6Addresses=found.ipv6_addresses[:1])
        elif found.ipv4_prefixes:
            self.call("UnassignPrivateIpAddresses", NetworkInterfaceId=nic, Ipv4Prefixes=found.ipv4_prefixes[:1])
        elif found.addresses[1:]:
            self.call(
                "UnassignPrivateIpAddresses", NetworkInterfaceId=nic, PrivateIpAddresses=[found.addresses[1].address]
            )

    @rule(target=allocations)
    def allocate(self):
        answer = self.call("AllocateAddress")
        return answer["AllocationId"] if answer else multiple()

    @rule(nic=nics, allocation=allocations, last=st.booleans(), again=st.booleans())
    def associate(self, nic, allocation, last, again):
        found = self.store.view().get(NetworkInterface, nic)
        private = found.addresses[-1 if last else 0].address if found else "10.0.0.9"
        self.call(
            "AssociateAddress",
            AllocationId=allocation,
            NetworkInterfaceId=nic,
            PrivateIpAddress=private,
            AllowReassociation=again,
        )

    @rule(allocation=allocations)
    def release(self, allocation):
        self.call("ReleaseAddress", AllocationId=allocation)

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
    def all_is_well_on_a_host(self, name):
        self.host_works_and_is_not_heard(name)
        for guest in self.hosts[name].report().guests:
            self.observe(name, guest)

    @rule(name=hosts, data=st.data())
    def an_old_report_comes_late(self, name, data):
        said = self.hosts[name].said
        if said:
            self.observe(name, data.draw(st.sampled_from(said)))

    @rule(name=hosts, id_=ids, keeps=st.booleans())
    def a_guest_keeps_its_interfaces(self, name, id_, keeps):
        (self.hosts[name].keeps_disks.add if keeps else self.hosts[name].keeps_disks.discard)(id_)

    @rule(name=hosts, id_=ids, cause=st.sampled_from(["crash", "guest-shutdown"]))
    def guest_ends(self, name, id_, cause):
        self.hosts[name].turn_off(id_, cause)

    @rule(minutes=st.sampled_from([0, 61]))
    def time_passes(self, minutes):
        self.clock.advance(minutes * 60)
        self.follow()

    @rule()
    def hear_everything(self):
        for host in self.hosts.values():
            host.keeps_disks.clear()
        for _ in range(20):
            for name in HOSTS:
                self.all_is_well_on_a_host(name)
            self.follow()
            if not self.unsettled():
                break
        assert not (waiting := self.unsettled()), waiting
        self.guests_have_what_the_records_say()

    def unsettled(self):
        """Volumes and disks of their own kind are not looked at here: see the lives of volumes."""
        return [line for line in unsettled(self.store.view()) if not line.startswith(("vol-", "snap-"))]

    # The control plane, in the same few lines as the controllers have

    def follow(self):
        def settle(tx):
            for one in tx.list(Instance):
                self.settle_instance(tx, one.id)

        self.store.transact(settle)

    def spec(self, name):
        view = self.store.view()
        return host_spec(Reading(view), name, CONFIG, view.revision)

    def observe(self, name, guest):
        def note(tx):
            if instances.observe(tx, name, guest, self.clock.now()) is not None:
                self.settle_instance(tx, guest.instance_id)

        self.store.transact(note)

    def settle_instance(self, tx, id_):
        now = self.clock.now()
        if isinstance(instances.settle(tx, id_, self.placement, now), KeepConsole):
            tx.put(replace(tx.get(Instance, id_), console_kept=True))
            instances.settle(tx, id_, self.placement, now)
        interfaces.settle_of(tx, id_)

    # What must hold

    @invariant()
    def everything_fits(self):
        assert not (found := problems(self.store.view(), CONFIG)), "\n".join(found)

    @invariant()
    def nobody_else_has_what_a_guest_holds(self):
        view = self.store.view()
        held = [
            (id_, interface_id)
            for host in self.hosts.values()
            for id_, guest in host.guests.items()
            if guest.running
            for interface_id in guest.interfaces
        ]
        for id_, interface_id in held:
            interface = view.get(NetworkInterface, interface_id)
            assert interface is not None, f"{interface_id} is gone and {id_} has it"
            assert interface.instance_id == id_, f"{interface_id} is in {interface.instance_id}, and {id_} has it"
        assert not [one for one, count in Counter(interface_id for _, interface_id in held).items() if count > 1]

    @invariant()
    def nothing_is_had_twice(self):
        found = self.store.view().list(NetworkInterface)
        for things in (
            [one.mac for one in found],
            [(one.subnet_id, claimed) for one in found for claimed in one.claimed],
            [public for one in found for public in one.public_addresses],
            [(one.instance_id, one.device_index) for one in found if one.attachment],
        ):
            assert not [thing for thing, count in Counter(things).items() if count > 1]

    def guests_have_what_the_records_say(self):
        view = self.store.view()
        for name, host in self.hosts.items():
            for one in view.list(Instance, host_id=name):
                if one.state is State.RUNNING:
                    recorded = {each.id for each in view.list(NetworkInterface, instance_id=one.id)}
                    assert set(host.guests[one.id].interfaces) == recorded


TestInterfaceLives = Lives.TestCase
TestInterfaceLives.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
