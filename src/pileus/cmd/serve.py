"""The processes of a cloud: api, controller, storage, agent. Started by the supervisor; each runs until it is told to stop."""

import asyncio
import ctypes
import gc
import logging
import os
import resource
import signal
import socket
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pileus.base import log
from pileus.base.clock import Clock, SystemClock
from pileus.base.config import Config
from pileus.base.sealing import Sealer, key_of_text, load_or_create_key
from pileus.cmd.elsewhere import SECRET_KEY, open_elsewhere
from pileus.cmd.layout import Layout

if TYPE_CHECKING:
    from pileus.agent.agent import Drivers

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # mallopt(3)
_log = logging.getLogger(__name__)


def run(process: str, main: Coroutine[Any, Any, None]) -> None:
    """Runs a process's main coroutine on uvloop until it ends or SIGTERM or SIGINT comes."""
    import uvloop

    log.configure(process)
    if process != "api":
        os.environ.pop(SECRET_KEY, None)
    gc.disable()  # until ``_started``: a start makes much that stays and nothing to collect
    # A fault must not write secrets to a core file.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    async def until_told() -> None:
        task = asyncio.ensure_future(main)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, task.cancel)
        try:
            await task
        except asyncio.CancelledError:
            _log.info("stopped")

    uvloop.run(until_told())


def _started() -> None:
    """From here on memory is collected, and what the start made, which stays for ever, is not looked through each time."""
    gc.freeze()
    gc.enable()


def _keep_freed_memory() -> None:
    """Lets the C library reuse what large answers took. Without this it gives the pages back and asks for them again."""
    libc = ctypes.CDLL(None)
    for option, size in ((_M_TRIM_THRESHOLD, 64 << 20), (_M_MMAP_THRESHOLD, 32 << 20)):
        libc.mallopt(option, size)


SEALING_KEY = "PILEUS_SEALING_KEY"
"""The environment variable that may hold the sealing key instead of the file."""


def _sealer(layout: Layout) -> Sealer:
    """What secrets of the store are sealed with. Programs that this process starts don't inherit the key.

    Raises ValueError when the key is none, or another than the one in the file.
    """
    given = os.environ.pop(SEALING_KEY, None)
    if given is None:
        return Sealer(load_or_create_key(layout.sealing_key))
    key = key_of_text(given)
    if layout.sealing_key.exists() and load_or_create_key(layout.sealing_key) != key:
        raise ValueError(f"{SEALING_KEY} is another key than {layout.sealing_key}, which secrets are sealed with")
    return Sealer(key)


async def api(layout: Layout, settings: Config, listener: int) -> None:
    """The gateway over the services. ``listener`` is the descriptor of the socket that it answers on."""
    import uvicorn

    from pileus.cmd.consoles import SocketConsoles
    from pileus.cmd.guest_door import GuestDoor
    from pileus.cmd.keyring import StoreKeyring
    from pileus.engines.blocks.client import BlockClient
    from pileus.engines.objects.store import ObjectStore
    from pileus.gateway.app import Gateway
    from pileus.gateway.throttle import Throttle
    from pileus.hostapi.channel import UnixAddress
    from pileus.operations.context import Environment
    from pileus.operations.dispatch import Dispatcher
    from pileus.operations.lazy_objects import LazyObjects
    from pileus.records import KINDS
    from pileus.scheduler import Scheduler
    from pileus.services.ec2.flow_delivery import FlowDelivery
    from pileus.services.ec2.transfers import Transfers
    from pileus.services.registry import SERVICES
    from pileus.services.s3 import lifecycle
    from pileus.services.s3.cors import BucketOrigins
    from pileus.store import open_store

    _keep_freed_memory()
    clock = SystemClock()
    store = open_store(layout.store_url(settings), KINDS, clock)
    sealer = _sealer(layout)
    elsewhere = open_elsewhere(layout, settings)
    os.environ.pop(SECRET_KEY, None)  # programs that this process starts don't inherit it
    objects = LazyObjects(lambda: ObjectStore(layout.objects, clock, elsewhere.blobs if elsewhere else None))
    env = Environment(
        config=settings,
        clock=clock,
        sealer=sealer,
        placement=Scheduler(settings),
        consoles=SocketConsoles(layout.console_socket),
        blocks=BlockClient(UnixAddress(path=layout.blocks_socket), layout.identity().cloud_id),
        objects=objects,
    )
    dispatcher = Dispatcher(SERVICES, store, env)
    gateway = Gateway(
        keyring=StoreKeyring(store, sealer),
        dispatch=dispatcher,
        regions=[region.name for region in settings.regions],
        default_region=settings.default_region,
        clock=clock,
        throttle=Throttle(clock) if settings.throttle else None,
        streams=dispatcher.streams,
        public=dispatcher.public,
        origins=BucketOrigins(objects),
    )
    server = uvicorn.Server(
        uvicorn.Config(
            gateway,
            http="httptools",
            loop="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=True,
            timeout_keep_alive=75,
            ssl_certfile=settings.certificate,
            ssl_keyfile=settings.key,
        )
    )
    _started()
    _log.info("answers", extra={"port": settings.port, "tls": settings.certificate is not None})
    ageing = asyncio.create_task(lifecycle.run(objects, clock))
    transfers = asyncio.create_task(Transfers(store, env).run())
    door = asyncio.create_task(GuestDoor(layout.guest_door, server).run())
    delivery = asyncio.create_task(FlowDelivery(store, env).run())
    try:
        await server.serve(sockets=[socket.socket(fileno=listener)])
    finally:
        ageing.cancel()
        transfers.cancel()
        door.cancel()
        delivery.cancel()
        await objects.close()
        if elsewhere is not None:
            await elsewhere.close()
        store.close()


async def storage(layout: Layout, settings: Config) -> None:
    """The owner of the snapshots' blocks: serves them to hosts and the API, and keeps them. SIGUSR1: collects now."""
    from pileus.controllers.storage.keeper import StorageKeeper
    from pileus.engines.blocks.directory import DirectoryShelf
    from pileus.engines.blocks.ledger import Ledger
    from pileus.engines.blocks.server import BlockServer
    from pileus.engines.blocks.store import LocalBlocks
    from pileus.hostapi.channel import UnixAddress
    from pileus.records import KINDS
    from pileus.store import open_store

    _keep_freed_memory()
    clock = SystemClock()

    def now() -> float:
        return clock.now().timestamp()

    shelf = DirectoryShelf(layout.blocks, now)
    ledger = Ledger(layout.blocks / "ledger.sqlite")
    blocks = LocalBlocks(shelf, ledger, now=now, grace=settings.block_grace, scratch=shelf.scratch)
    store = open_store(layout.store_url(settings), KINDS, clock)
    keeper = StorageKeeper(store, blocks, _sealer(layout), settings, clock)
    server = BlockServer(
        UnixAddress(path=layout.blocks_socket),
        blocks,
        cloud_id=layout.identity().cloud_id,
        allowed_uids=frozenset({0, os.geteuid()}),
    )
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, keeper.collect_soon)
    await server.start()
    _started()
    _log.info("stores", extra={"damaged": len(blocks.damaged)})
    try:
        await keeper.run()
    finally:
        await server.close()
        await blocks.close()
        store.close()


async def controller(layout: Layout, settings: Config, *, simulate: bool) -> None:
    """The controllers, the host link and the console socket; sets a new cloud up first."""
    from pileus.cmd.bootstrap import ensure_account, ensure_images
    from pileus.controllers.console import ConsoleServer
    from pileus.controllers.loop import Controllers
    from pileus.drivers.image.fake import FakeImages
    from pileus.drivers.image.local import LocalImages
    from pileus.hostapi.channel import UnixAddress
    from pileus.hostapi.link import LinkServer
    from pileus.records import KINDS
    from pileus.scheduler import Scheduler
    from pileus.store import open_store

    clock = SystemClock()
    store = open_store(layout.store_url(settings), KINDS, clock)
    sealer = _sealer(layout)
    ensure_account(store, sealer, settings, layout.credentials, clock.now())
    images = FakeImages() if simulate else LocalImages(layout.images)
    ensure_images(store, settings, await images.observe())
    controllers = Controllers(store, settings, Scheduler(settings), clock, sealer)
    link = LinkServer(
        UnixAddress(path=layout.link_socket),
        controllers.hosts,
        cloud_id=layout.identity().cloud_id,
        allowed_uids=frozenset({0, os.geteuid()}),
    )
    await link.start()
    consoles = ConsoleServer(layout.console_socket, controllers.hosts.sessions.get)
    await consoles.start()
    _started()
    _log.info("controls", extra={"store": store.view().revision})

    async def follow_images() -> None:
        while True:
            await clock.sleep(3)
            found = await images.observe()
            await asyncio.to_thread(ensure_images, store, settings, found)

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(controllers.run())
            group.create_task(follow_images())
    finally:
        await link.close()
        store.close()


async def real_drivers(layout: Layout, settings: Config, clock: Clock) -> "Drivers":
    """The drivers of this host: QEMU, Linux networking, local volumes and images."""
    from pileus.agent.agent import Drivers
    from pileus.drivers.hypervisor.qemu import QemuHypervisor
    from pileus.drivers.hypervisor.qemu.exports import Exports
    from pileus.drivers.image.conversion import QemuConversions
    from pileus.drivers.image.local import LocalImages
    from pileus.drivers.network.linux.network import LinuxNetwork
    from pileus.drivers.network.linux.uplink import host_resolvers
    from pileus.drivers.volume.local import LocalVolumes
    from pileus.engines.blocks.client import BlockClient
    from pileus.hostapi.channel import UnixAddress
    from pileus.hostapi.network_spec import PoolSpec

    images = LocalImages(layout.images)
    first, last = settings.guest_uids
    cloud_name = network_name(layout.identity().cloud_id)
    blocks = BlockClient(UnixAddress(path=layout.blocks_socket), layout.identity().cloud_id)
    return Drivers(
        hypervisor=QemuHypervisor(
            layout.root,
            accelerator=await choose_accelerator(layout, settings),
            uids=range(first, last),
            clock=clock,
        ),
        network=LinuxNetwork(
            Path("/run/pileus") / cloud_name,
            name=cloud_name,
            pools=tuple(
                PoolSpec(cidr=cidr, announce=region.announce)
                for region in settings.regions
                for cidr in (*region.public_pool, *region.carrier_pool)
            ),
            ipv6_pools=tuple(region.ipv6_pool for region in settings.regions),
            uplink=settings.uplink,
            resolvers=host_resolvers(),
            bgp=settings.bgp,
        ),
        volumes=LocalVolumes(layout.root, images, blocks, tool_uid=last if os.geteuid() == 0 else None, clock=clock),
        images=images,
        conversions=QemuConversions(layout.agent / "conversions", blocks),
        exports=Exports(layout.root, clock=clock),
    )


async def choose_accelerator(layout: Layout, settings: Config) -> str:
    """``kvm`` or ``tcg``: as configured, or what is found to boot one of this host's images (kept until the next reboot)."""
    from pileus.drivers.hypervisor.qemu.accelerator import probe
    from pileus.drivers.image.local import LocalImages

    if settings.accelerator != "auto":
        return settings.accelerator
    kernels = [
        layout.images / image.content / image.kernel
        for image in await LocalImages(layout.images).observe()
        if image.kernel
    ]
    # The last of the guests' user ids is left to the trial.
    verdict = await probe(layout.accelerator_file, kernels[-1] if kernels else None, uid=settings.guest_uids[1])
    _log.info("accelerator chosen", extra={"accelerator": verdict.accelerator, "reason": verdict.reason})
    return verdict.accelerator


async def agent(layout: Layout, settings: Config) -> None:
    """The agent of this host, with the real drivers. Needs root."""
    from pileus.agent.agent import Agent, AgentSettings
    from pileus.agent.inventory import measure_capacity
    from pileus.agent.relay import ApiSide
    from pileus.hostapi.channel import UnixAddress

    os.environ.pop(SEALING_KEY, None)  # not for hosts
    clock = SystemClock()
    identity = layout.identity()
    agent_settings = AgentSettings(
        host_id=identity.host_id,
        cloud_id=identity.cloud_id,
        state_dir=layout.agent,
        capacity=measure_capacity(layout.root),
        zones=settings.host_zones,
        launch_limit=settings.launch_watchdog,
        api=ApiSide(socket=layout.guest_door, ports=tuple(sorted({80, 443, settings.port}))),
    )
    drivers = await real_drivers(layout, settings, clock)
    _started()
    await Agent(drivers, UnixAddress(path=layout.link_socket), agent_settings, clock).run()


def network_name(cloud_id: str) -> str:
    """The prefix of everything this cloud makes on the host's network: clouds side by side must not meet."""
    return f"pl{cloud_id[:4]}"


async def simulated_agents(layout: Layout, settings: Config) -> None:
    """Many hosts over fake drivers in one process: guests that exist in memory only and run at once."""
    from pileus.agent.agent import Agent, AgentSettings, Drivers
    from pileus.agent.inventory import Capacity
    from pileus.drivers.hypervisor.fake import FakeHypervisor
    from pileus.drivers.image.conversion_fake import FakeConversions
    from pileus.drivers.image.fake import FakeImages
    from pileus.drivers.network.fake import FakeNetwork
    from pileus.drivers.volume.fake import FakeVolumes
    from pileus.engines.blocks.client import BlockClient
    from pileus.hostapi.channel import UnixAddress

    clock = SystemClock()
    identity = layout.identity()
    images = FakeImages()
    blocks = BlockClient(UnixAddress(path=layout.blocks_socket), identity.cloud_id)

    def one(number: int) -> Agent:
        name = f"{identity.host_id}-{number:03d}"
        agent_settings = AgentSettings(
            host_id=name,
            cloud_id=identity.cloud_id,
            state_dir=layout.agent / name,
            capacity=Capacity(vcpus=64, memory=64 << 10, disk=4096),
            zones=settings.host_zones,
            launch_limit=None,
        )
        drivers = Drivers(
            hypervisor=FakeHypervisor(clock=clock),
            network=FakeNetwork(),
            volumes=FakeVolumes(images, blocks),
            images=images,
            conversions=FakeConversions(blocks),
        )
        return Agent(drivers, UnixAddress(path=layout.link_socket), agent_settings, clock)

    async with asyncio.TaskGroup() as group:
        for number in range(settings.simulated_hosts):
            group.create_task(one(number).run())
        _started()
