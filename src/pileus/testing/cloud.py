"""The whole cloud in one process over fake drivers, behind a real socket: what ``pileus up --simulate`` is, for tests.

async with SimulatedCloud(tmp_path) as cloud:
    ec2 = cloud.client("ec2")            # botocore's client: call it in a thread
    await asyncio.to_thread(ec2.run_instances, ImageId=cloud.image("tiny"), MinCount=1, MaxCount=1)
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
import uvicorn
from msgspec.structs import replace

from pileus.agent.agent import Agent, AgentSettings, Drivers
from pileus.agent.inventory import Capacity
from pileus.agent.state import StateDirectory
from pileus.aws.client import client
from pileus.base.clock import Clock, SystemClock
from pileus.base.config import Config
from pileus.base.sealing import Sealer
from pileus.cmd.bootstrap import ensure_account, ensure_images
from pileus.cmd.keyring import StoreKeyring
from pileus.cmd.layout import Credentials
from pileus.controllers.loop import Controllers
from pileus.controllers.storage.keeper import StorageKeeper
from pileus.drivers.hypervisor.fake import FakeHost, FakeHypervisor
from pileus.drivers.image.conversion_fake import FakeConversions
from pileus.drivers.image.fake import FakeImages
from pileus.drivers.network.fake import FakeNetwork
from pileus.drivers.volume.fake import FakeVolumes
from pileus.engines.blocks.fake import memory_blocks
from pileus.engines.blocks.interface import Blocks
from pileus.engines.objects.store import ObjectStore
from pileus.gateway.app import Gateway
from pileus.gateway.throttle import Throttle
from pileus.hostapi.channel import UnixAddress
from pileus.hostapi.link import ConsoleError, HostLostError, LinkServer
from pileus.hostapi.spec import HostSpec
from pileus.operations.context import ConsoleUnavailable, Environment
from pileus.operations.dispatch import Dispatcher
from pileus.operations.lazy_objects import LazyObjects
from pileus.records import KINDS, Image, Instance
from pileus.records import Host as HostRecord
from pileus.scheduler import Scheduler
from pileus.services.ec2.flow_delivery import FlowDelivery
from pileus.services.ec2.transfers import Transfers
from pileus.services.registry import SERVICES
from pileus.services.s3.cors import BucketOrigins
from pileus.store import Store, View, open_store
from pileus.testing.consistency import problems, unsettled

_CLOUD_ID = "simulated"


class Host:
    """One simulated host: its drivers outlive its agent, which can be killed and started."""

    def __init__(
        self, name: str, directory: Path, link: Path, clock: Clock, blocks: Blocks, zones: tuple[str, ...] = ()
    ) -> None:
        self.name = name
        self.images = FakeImages()
        self.hypervisor = FakeHypervisor(clock=clock)
        self.network = FakeNetwork()
        self.volumes = FakeVolumes(self.images, blocks)
        self.conversions = FakeConversions(blocks)
        self._link = link
        self._clock = clock
        self._settings = AgentSettings(
            host_id=name,
            cloud_id=_CLOUD_ID,
            state_dir=directory / name,
            capacity=Capacity(vcpus=64, memory=64 << 10, disk=4096),
            zones=zones,
            launch_limit=None,
        )
        self._task: asyncio.Task[None] | None = None

    @property
    def spec(self) -> HostSpec:
        """What the control plane wants of this host, as the agent has it on disk."""
        kept = StateDirectory(self._settings.state_dir).load_spec()
        return kept or HostSpec(revision=0)

    def start_agent(self) -> None:
        """Starts an agent over the drivers as they are."""
        drivers = Drivers(
            hypervisor=self.hypervisor,
            network=self.network,
            volumes=self.volumes,
            images=self.images,
            conversions=self.conversions,
        )
        agent = Agent(drivers, UnixAddress(path=self._link), self._settings, self._clock)
        self._task = asyncio.create_task(agent.run())

    async def kill_agent(self) -> None:
        """Ends the agent wherever it is; the guests run on."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None


class SimulatedCloud:
    """Gateway, controllers and hosts over one store. ``directory`` must be short: unix socket paths are.

    ``clock`` is that of controllers and hosts. The gateway has the machine's, since clients sign with that.
    ``zones`` are those that the hosts serve, each its own; without it every host serves all.
    """

    def __init__(
        self,
        directory: Path,
        *,
        config: Config | None = None,
        hosts: int = 1,
        zones: Sequence[tuple[str, ...]] = (),
        clock: Clock | None = None,
        store_url: str | None = None,
        durable: bool = False,
    ) -> None:
        self.config = config or Config()
        self.clock = clock or SystemClock()
        self.store: Store = open_store(
            store_url or f"sqlite:///{directory}/cloud.sqlite", KINDS, self.clock, durable=durable
        )
        self._sealer = Sealer(bytes(32))
        self.objects = LazyObjects(lambda: ObjectStore(directory / "objects", self.clock, None))
        self._directory = directory
        self._link_path = directory / "link"
        self._controllers: Controllers | None = None
        self._control_task: asyncio.Task[None] | None = None
        self.blocks = memory_blocks(lambda: self.clock.now().timestamp(), grace=self.config.block_grace)
        self.hosts = [
            Host(f"host-{n}", directory, self._link_path, self.clock, self.blocks, served)
            for n, served in enumerate(zones or [()] * hosts)
        ]
        self.keeper = StorageKeeper(self.store, self.blocks, self._sealer, self.config, self.clock)
        self._storage_task: asyncio.Task[None] | None = None
        self._link: LinkServer | None = None
        self._server: uvicorn.Server | None = None
        self._server_task: asyncio.Task[None] | None = None
        self._transfers: asyncio.Task[None] | None = None
        self._delivery: asyncio.Task[None] | None = None
        self.credentials: Credentials = Credentials(account="", access_key="", secret_key="")
        self.endpoint = ""

    async def __aenter__(self) -> Self:
        ensure_account(self.store, self._sealer, self.config, self._directory / "credentials.json", self.clock.now())
        self.credentials = msgspec.json.decode((self._directory / "credentials.json").read_bytes(), type=Credentials)
        ensure_images(self.store, self.config, await self.hosts[0].images.observe())
        await self.start_controllers()
        self.start_storage()
        for host in self.hosts:
            host.start_agent()
        await self.start_gateway()
        await self._until_hosts_are_up()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop_gateway()
        for host in self.hosts:
            await host.kill_agent()
        await self.kill_controllers()
        await self.kill_storage()
        await self.blocks.close()
        await self.objects.close()
        self.store.close()

    async def start_controllers(self) -> None:
        """Starts the controllers and the hosts' link."""
        controllers = Controllers(self.store, self.config, Scheduler(self.config), self.clock, self._sealer)
        self._controllers = controllers
        self._link = LinkServer(UnixAddress(path=self._link_path), controllers.hosts, cloud_id=_CLOUD_ID)
        await self._link.start()
        self._control_task = asyncio.create_task(controllers.run())

    async def kill_controllers(self) -> None:
        """Ends the controllers wherever they are."""
        if self._control_task is not None and self._link is not None:
            self._control_task.cancel()
            await asyncio.gather(self._control_task, return_exceptions=True)
            await self._link.close()
            self._control_task = self._link = self._controllers = None

    def start_storage(self) -> None:
        """Starts what keeps the snapshots' blocks."""
        self._storage_task = asyncio.create_task(self.keeper.run())

    async def kill_storage(self) -> None:
        """Ends it wherever it is. The blocks stay."""
        if self._storage_task is not None:
            self._storage_task.cancel()
            await asyncio.gather(self._storage_task, return_exceptions=True)
            self._storage_task = None

    async def start_gateway(self) -> None:
        """Serves the API on a loopback port."""
        env = Environment(
            config=self.config,
            clock=self.clock,
            sealer=self._sealer,
            placement=Scheduler(self.config),
            consoles=self,
            blocks=self.blocks,
            objects=self.objects,
        )
        dispatcher = Dispatcher(SERVICES, self.store, env)
        gateway = Gateway(
            keyring=StoreKeyring(self.store, self._sealer),
            dispatch=dispatcher,
            regions=[region.name for region in self.config.regions],
            default_region=self.config.default_region,
            clock=SystemClock(),
            throttle=Throttle(SystemClock()) if self.config.throttle else None,
            streams=dispatcher.streams,
            public=dispatcher.public,
            origins=BucketOrigins(self.objects),
        )
        listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}"
        settings = uvicorn.Config(gateway, lifespan="off", log_config=None, access_log=False, http="httptools")
        self._server = uvicorn.Server(settings)
        self._server.install_signal_handlers = lambda: None  # pyright: ignore[reportAttributeAccessIssue] - the test's signals stay the test's
        self._server_task = asyncio.create_task(self._server.serve(sockets=[listener]))
        while not self._server.started:
            await asyncio.sleep(0.005)
        self._transfers = asyncio.create_task(Transfers(self.store, env).run())
        self._delivery = asyncio.create_task(FlowDelivery(self.store, env).run())

    async def stop_gateway(self) -> None:
        """Stops serving."""
        for task in (self._transfers, self._delivery):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        if self._server is not None and self._server_task is not None:
            self._server.should_exit = True
            self._server.force_exit = True
            with contextlib.suppress(asyncio.CancelledError):
                await self._server_task

    async def read(self, host_id: str, instance_id: str, what: Any) -> bytes:
        """The API's way to consoles, without the socket between."""
        session = self._controllers.hosts.sessions.get(host_id) if self._controllers else None
        if session is None:
            raise ConsoleUnavailable("its host is not connected")
        try:
            return await session.console(instance_id, what)
        except (ConsoleError, HostLostError, TimeoutError) as error:
            raise ConsoleUnavailable(str(error)) from error

    def client(self, service: str, region: str | None = None, credentials: Credentials | None = None) -> Any:
        """A botocore client with the first account's root access key, or another. It blocks: call it in a thread."""
        keys = credentials or self.credentials
        return client(
            service,
            endpoint=self.endpoint,
            region=region or self.config.default_region,
            access_key=keys.access_key,
            secret_key=keys.secret_key,
        )

    def add_account(self, account: str) -> Credentials:
        """Makes another account, with default VPCs, and its root access key."""
        path = self._directory / f"credentials-{account}.json"
        ensure_account(self.store, self._sealer, replace(self.config, account=account), path, self.clock.now())
        return msgspec.json.decode(path.read_bytes(), type=Credentials)

    def host_of(self, instance_id: str) -> FakeHost:
        """The machine under an instance, to let things befall the guest."""
        instance = self.store.view().get(Instance, instance_id)
        assert instance is not None
        return next(host.hypervisor.host for host in self.hosts if host.name == instance.host_id)

    def connected(self, host_name: str) -> bool:
        """Whether the controllers have a connection to a host's agent."""
        return self._controllers is not None and host_name in self._controllers.hosts.sessions

    async def until(self, holds: Callable[[View], bool], patience: float = 30.0) -> None:
        """Waits until something is so in the records.

        Raises:
            TimeoutError: it is not, ``patience`` seconds later.
        """
        async with asyncio.timeout(patience):
            while not holds(self.store.view()):
                await asyncio.sleep(0.005)

    async def settled(self) -> None:
        """Waits until nothing is on its way any more, and sees that the records fit together.

        Raises:
            TimeoutError: it does not come to an end. AssertionError: they contradict one another.
        """
        await self.until(lambda view: not unsettled(view))
        found = problems(self.store.view(), self.config)
        assert not found, "\n".join(found)

    def image(self, family: str) -> str:
        """The AMI id of a family's image in the default region."""
        images = self.store.view().list(Image, region=self.config.default_region)
        return next(image.id for image in images if image.family == family)

    async def _until_hosts_are_up(self) -> None:
        await self.until(lambda view: sum(host.state == "up" for host in view.list(HostRecord)) == len(self.hosts))
