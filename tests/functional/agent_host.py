"""A host on fakes for the agent's tests, and specs to give it."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from msgspec.structs import replace

from pileus.agent.agent import Agent, AgentSettings, Drivers
from pileus.agent.inventory import Capacity
from pileus.agent.relay import ApiSide
from pileus.base.clock import SystemClock
from pileus.drivers.hypervisor.fake import FakeHost, FakeHypervisor
from pileus.drivers.image.fake import TINY, FakeImages
from pileus.drivers.network.fake import FakeNetwork
from pileus.drivers.volume.fake import FakeVolumes
from pileus.hostapi.channel import UnixAddress
from pileus.hostapi.link import HostSession, LinkServer
from pileus.hostapi.network_spec import (
    AclSpec,
    AddressSpec,
    DhcpSpec,
    GroupSpec,
    InterfaceSpec,
    NetworkSpec,
    RouteTableSpec,
    SubnetSpec,
    VpcSpec,
)
from pileus.hostapi.observation import GuestObservation, HostReport, VolumeObservation
from pileus.hostapi.spec import (
    DiskSpec,
    GuestSpec,
    HostSpec,
    MetadataInterface,
    MetadataSpec,
    NicSpec,
    VolumeSpec,
)


class LoopbackNetwork(FakeNetwork):
    """Remembers the taps that were opened (interface ids) and where its listeners are (VPC id → port on 127.0.0.1)."""

    def __init__(self) -> None:
        super().__init__()
        self.taps: list[str] = []
        self.ports: dict[str, int] = {}

    async def open_tap(self, interface_id: str) -> int:
        self.taps.append(interface_id)
        return await super().open_tap(interface_id)

    async def listen(self, place: str, address: str, port: int) -> socket.socket:
        listener = await super().listen(place, address, port)
        self.ports[place] = listener.getsockname()[1]
        return listener

    @property
    def interfaces(self) -> set[str]:
        """The interfaces that are there now."""
        return {interface.interface_id for vpc in self.spec.vpcs for interface in vpc.interfaces}


class Controller:
    """The control plane's side: remembers what every guest and volume was last said to be."""

    def __init__(self) -> None:
        self.session: HostSession | None = None
        self.reports: list[HostReport] = []
        self.guests: dict[str, GuestObservation] = {}
        self.volumes: dict[str, VolumeObservation] = {}
        self.inventories: list[tuple[str, ...]] = []
        self.lost = 0

    async def on_hello(self, session: HostSession) -> None:
        self.session = session
        self.inventories.append(session.inventory.images)

    async def on_report(self, session: HostSession, report: HostReport) -> None:
        if report.full:
            self.guests, self.volumes = {}, {}
        self.reports.append(report)
        self.guests |= {guest.instance_id: guest for guest in report.guests}
        self.volumes |= {volume.volume_id: volume for volume in report.volumes}

    async def on_lost(self, session: HostSession) -> None:
        self.session = None
        self.lost += 1

    def phase(self, instance_id: str) -> str:
        guest = self.guests.get(instance_id)
        return "" if guest is None else guest.phase


class World:
    """One host, its disk, its control plane; agents come and go."""

    def __init__(self, directory: Path, api: Path | None = None) -> None:
        self.directory = directory
        self.host = FakeHost()
        self.hypervisor = FakeHypervisor(self.host)
        self.network = LoopbackNetwork()
        self.volumes = FakeVolumes()
        self.images = FakeImages([TINY])
        self.controller = Controller()
        self.address = UnixAddress(path=directory / "link")
        self.launch_limit: float | None = None
        self.api = None if api is None else ApiSide(socket=api, ports=(80,))

    @asynccontextmanager
    async def control_plane(self) -> AsyncIterator[Controller]:
        server = LinkServer(self.address, self.controller, cloud_id="cloud")
        await server.start()
        try:
            yield self.controller
        finally:
            await server.close()

    @asynccontextmanager
    async def agent(self) -> AsyncIterator[asyncio.Task[None]]:
        settings = AgentSettings(
            host_id="host-1",
            cloud_id="cloud",
            state_dir=self.directory / "agent",
            capacity=Capacity(vcpus=4, memory=8192, disk=100),
            launch_limit=self.launch_limit,
            patience=0.05,
            survey_interval=0.3,
            images_interval=0.05,
            flows_interval=0.05,
            api=self.api,
        )
        drivers = Drivers(hypervisor=self.hypervisor, network=self.network, volumes=self.volumes, images=self.images)
        task = asyncio.create_task(Agent(drivers, self.address, settings, SystemClock()).run())
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def push(self, spec: HostSpec) -> None:
        await until(lambda: self.controller.session)
        assert self.controller.session is not None
        await self.controller.session.send_spec(spec)


async def until(condition: Callable[[], object]) -> None:
    """Waits for a condition, at most some seconds."""
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it never came true")


def metadata_spec(number: int, **changes: object) -> MetadataSpec:
    """What the metadata service tells guest ``number``."""
    spec = MetadataSpec(
        instance_id=f"i-{number}",
        account="123456789012",
        region="eu-central-1",
        zone="eu-central-1a",
        zone_id="euc1-az2",
        image_id="ami-0123456789abcdef0",
        instance_type="t3.micro",
        reservation_id="r-0123456789abcdef0",
        launch_index=number,
        architecture="x86_64",
        pending_time="2026-01-01T00:00:00.123Z",
        local_hostname=f"ip-127-0-0-{number}.eu-central-1.compute.internal",
        security_groups=("default", "web"),
        public_keys=(("mine", "ssh-ed25519 AAAA mine"), ("yours", "ssh-rsa BBBB yours")),
        user_data="I2Nsb3VkLWNvbmZpZwo=",
        tags=(("Name", "first"), ("purpose", "test")),
        block_devices=(("ami", "/dev/xvda"), ("root", "/dev/xvda")),
        interfaces=(
            MetadataInterface(
                mac=f"06:00:00:00:00:{number:02x}",
                interface_id=f"eni-{number}",
                index=0,
                subnet_id="subnet-1",
                subnet_cidr="127.0.0.0/24",
                vpc_id="vpc-1",
                vpc_cidrs=("127.0.0.0/16", "10.1.0.0/16"),
                owner_id="123456789012",
                private_addresses=(f"127.0.0.{number}",),
                local_hostname=f"ip-127-0-0-{number}.eu-central-1.compute.internal",
                public_addresses=(("203.0.113.7", f"127.0.0.{number}"),),
                public_hostname="ec2-203-0-113-7.eu-central-1.compute.amazonaws.com",
                security_groups=("default", "web"),
                security_group_ids=("sg-1", "sg-2"),
            ),
        ),
    )
    return replace(spec, **changes)


def guest_spec(number: int, **changes: object) -> GuestSpec:
    """Guest ``i-<number>`` with volume ``vol-<number>`` and interface ``eni-<number>``, to be on."""
    spec = GuestSpec(
        instance_id=f"i-{number}",
        boot=1,
        power="on",
        uuid="ec2a0000-0000-0000-0000-000000000000",
        vcpus=1,
        memory=128,
        image=TINY.content,
        disks=(DiskSpec(volume_id=f"vol-{number}", index=0, device_name="/dev/xvda", serial=f"vol{number}"),),
        nics=(NicSpec(interface_id=f"eni-{number}", mac=f"06:00:00:00:00:{number:02x}", index=0),),
        metadata=metadata_spec(number),
    )
    return replace(spec, **changes)


def interface_spec(number: int) -> InterfaceSpec:
    """The network side of ``guest_spec(number)``."""
    return InterfaceSpec(
        interface_id=f"eni-{number}",
        mac=f"06:00:00:00:00:{number:02x}",
        addresses=(AddressSpec(address=f"127.0.0.{number}"),),
        subnet="subnet-1",
        groups=("sg-1",),
        hostname=f"ip-127-0-0-{number}",
    )


def vpc_spec(vpc_id: str, *interfaces: InterfaceSpec) -> VpcSpec:
    """A VPC with these interfaces and the group that they are in."""
    return VpcSpec(
        vpc_id=vpc_id,
        cidrs=("127.0.0.0/16",),
        domain="ec2.internal",
        dhcp=DhcpSpec(domain="ec2.internal"),
        subnets=(SubnetSpec(subnet_id="subnet-1", cidr="127.0.0.0/24", route_table="rtb-1", acl="acl-1"),),
        route_tables=(RouteTableSpec(route_table_id="rtb-1", routes=()),),
        acls=(AclSpec(acl_id="acl-1"),),
        groups=(GroupSpec(group_id="sg-1", ingress=(), egress=()),),
        interfaces=interfaces,
    )


def host_spec(revision: int, *guests: GuestSpec, interfaces: tuple[int, ...] | None = None) -> HostSpec:
    """A host's whole spec with these guests, their volumes and, unless told otherwise, their interfaces."""
    numbers = tuple(int(guest.instance_id[2:]) for guest in guests) if interfaces is None else interfaces
    vpc = vpc_spec("vpc-1", *(interface_spec(number) for number in numbers))
    return HostSpec(
        revision=revision,
        guests=guests,
        volumes=tuple(
            VolumeSpec(volume_id=disk.volume_id, size=1 << 30, image=TINY.content)
            for guest in guests
            for disk in guest.disks
        ),
        network=NetworkSpec(vpcs=(vpc,) if numbers else ()),
    )
