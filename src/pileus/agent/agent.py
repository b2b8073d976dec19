"""The agent of one host: puts drivers, reconcilers, metadata service and link together. Started by ``pileus.cmd``.

It may be killed at any instruction: what it knows is on disk or can be seen in the drivers, and guests run on.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from pileus.agent.chains import Chains
from pileus.agent.conversions import ConversionKeeper
from pileus.agent.disks import VolumeAccess
from pileus.agent.guest import Surroundings
from pileus.agent.guests import GuestKeeper
from pileus.agent.inventory import Capacity
from pileus.agent.launcher import Launcher
from pileus.agent.loop import Loop, Signal
from pileus.agent.metadata.service import MetadataService
from pileus.agent.networking import NetworkKeeper
from pileus.agent.nics import NetworkAccess
from pileus.agent.relay import ApiRelay, ApiSide
from pileus.agent.reports import Board
from pileus.agent.sharing import Holders
from pileus.agent.sightings import Sightings
from pileus.agent.snapshots import SnapshotKeeper, SnapshotSurroundings
from pileus.agent.state import StateDirectory
from pileus.agent.upkeep import Upkeep
from pileus.agent.uplink import Uplink
from pileus.agent.volumes import VolumeKeeper
from pileus.base.clock import Clock
from pileus.drivers.errors import DriverError, RetryableError
from pileus.drivers.hypervisor.interface import DiskLayer, Exports, Hypervisor
from pileus.drivers.image.conversion_interface import Conversions
from pileus.drivers.image.interface import Images
from pileus.drivers.network.interface import Network
from pileus.drivers.volume.interface import Volumes
from pileus.hostapi.channel import Address, Hello
from pileus.hostapi.observation import ConsoleAnswer, ConsoleRequest, HostInventory, HostReport
from pileus.hostapi.spec import GuestSpec, HostSpec

log = logging.getLogger(__name__)


class Drivers(msgspec.Struct, frozen=True, kw_only=True):
    """One driver of each family.

    ``conversions`` is None on hosts that don't convert disk images; ``exports`` where the volume driver serves shared
    volumes by itself.
    """

    hypervisor: Hypervisor
    network: Network
    volumes: Volumes
    images: Images
    conversions: Conversions | None = None
    exports: Exports | None = None


class AgentSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Who the host is, and the agent's habits.

    Attributes:
        state_dir: the agent's own directory. zones: those that the host serves; none means all.
        launch_limit: seconds in which a launched guest must say something on its serial console, and send a packet or
            go on printing, or it is restarted once; None: never. The default suits emulated guests on a busy machine.
        patience: seconds after which a guest is told again (to go off, to reboot) what it didn't follow.
        survey_interval: seconds between looks at everything, each followed by a full report.
        images_interval: seconds between looks for new images.
        flows_interval: seconds between looks at what was captured for flow logs.
        api: where guests' connections to the cloud's own services go; None: nowhere.
        uploads_at_once: how many snapshots are uploaded at the same time.
    """

    host_id: str
    cloud_id: str
    state_dir: Path
    capacity: Capacity
    zones: tuple[str, ...] = ()
    launch_limit: float | None = 60.0
    patience: float = 10.0
    survey_interval: float = 30.0
    images_interval: float = 3.0
    flows_interval: float = 10.0
    api: ApiSide | None = None
    uploads_at_once: int = 1


class Agent:
    """Makes its host what the control plane's spec says, for as long as ``run`` runs."""

    def __init__(self, drivers: Drivers, address: Address, settings: AgentSettings, clock: Clock) -> None:
        self._drivers = drivers
        self._settings = settings
        self._clock = clock
        self._state = StateDirectory(settings.state_dir)
        self._spec: HostSpec | None = None
        self._newest: HostSpec | None = None
        self._inventory: HostInventory | None = None
        self._inventory_changed = Signal()
        self._loops: list[Loop] = []
        self._uplink = Uplink(address, self, clock)
        self._board = Board(settings.host_id, clock)
        self._metadata = MetadataService(drivers.network, settings.state_dir / "metadata", clock)
        self._relay = ApiRelay(drivers.network, settings.api, clock)
        self._sightings = Sightings(drivers.hypervisor)
        self._chains = Chains()
        access = VolumeAccess(
            ready=self._volume_ready,
            size=self._volume_size,
            hold=self._chains.hold,
            layers=self._open_layers,
            shared=self._is_shared,
            changed=self._disk_changed,
        )
        self._guests = GuestKeeper(
            Surroundings(
                hypervisor=drivers.hypervisor,
                launcher=Launcher(drivers.hypervisor, drivers.images, access, drivers.network),
                sightings=self._sightings,
                board=self._board,
                clock=clock,
                prepare=self._prepare,
                volumes=access,
                network=NetworkAccess(
                    ready=self._network_ready,
                    open_tap=drivers.network.open_tap,
                    heard=drivers.network.heard,
                    changed=self._network_changed,
                ),
                released=self._released,
                launch_limit=settings.launch_limit,
                patience=settings.patience,
            )
        )
        self._holders = Holders(drivers.hypervisor, drivers.exports, self._guests.holder)
        self._snapshots = SnapshotKeeper(
            SnapshotSurroundings(
                volumes=drivers.volumes,
                holders=self._holders,
                chains=self._chains,
                board=self._board,
                clock=clock,
                ready=self._volume_made,
                done=self._volume_to_tidy,
                uploads_at_once=settings.uploads_at_once,
            )
        )
        self._volumes = VolumeKeeper(drivers.volumes, self._guests.use, self._snapshots.held, self._board, clock)
        self._upkeep = Upkeep(
            drivers.volumes,
            self._holders,
            self._chains,
            self._snapshots,
            self._guests.use,
            lambda _: self._look_loop.wake(),
            clock,
        )
        self._conversions = ConversionKeeper(drivers.conversions, self.open_key, self._board, clock)
        self._network = NetworkKeeper(
            drivers.network, (self._metadata, self._relay), self._guests.held_interfaces, self._board, clock
        )

    async def run(self) -> None:
        """Takes up what an earlier agent left, then follows the control plane until cancelled.

        Raises:
            DriverError: a driver can't work on this host at all. OSError: nor can the state directory be used.
        """
        try:
            await self._open()
            await self._uplink.run()
        finally:
            await self._close()

    async def open_key(self, key_id: str) -> bytes:
        """A data key that the spec names, asked for over the link. Raises PermanentError, RetryableError."""
        return await self._uplink.open_key(key_id)

    # What the uplink asks for

    def hello(self) -> Hello:
        """Who the host is and what it has, now."""
        assert self._inventory is not None, "measured before the link is opened"
        return Hello(cloud_id=self._settings.cloud_id, inventory=self._inventory)

    async def new_hello(self, said: Hello) -> Hello:
        """Waits until the inventory is another than was ``said``."""
        while self.hello() == said:
            await self._inventory_changed.wait()
        return self.hello()

    def connected(self) -> None:
        """The control plane listens: tell it everything."""
        self._board.want_full()

    def take_spec(self, spec: HostSpec) -> None:
        """Notes the newest spec; those that come while an earlier one is taken in are skipped."""
        self._newest = spec
        self._take_loop.wake()

    async def next_report(self) -> HostReport:
        """Waits until there is something to report."""
        return await self._board.next_report()

    async def answer(self, request: ConsoleRequest) -> ConsoleAnswer:
        """Fetches a guest's console output or screen; the reason instead when it has none."""
        hypervisor = self._drivers.hypervisor
        fetch = hypervisor.console_output if request.what == "output" else hypervisor.screenshot
        try:
            return ConsoleAnswer(request_id=request.request_id, data=await fetch(request.instance_id))
        except DriverError as error:
            return ConsoleAnswer(request_id=request.request_id, error=str(error) or "unavailable")

    # Starting and ending

    async def _open(self) -> None:
        await self._metadata.open()
        await self._drivers.network.open()
        await self._drivers.volumes.open(self.open_key, self._volume_changed)
        if self._drivers.exports is not None:
            await self._drivers.exports.open()
        await self._drivers.hypervisor.open(self._guests.changed)
        self._look_loop = self._start_loop("volumes", self._volumes.look)
        await self._look_for_images()
        await self._survey_everything()
        if (spec := await asyncio.to_thread(self._state.load_spec)) is not None:
            self._distribute(spec)
        self._take_loop = self._start_loop("spec", self._take_newest)
        self._sync_loop = self._start_loop("spec to disk", self._sync_spec)
        self._start_loop("images", self._look_for_images)
        self._start_loop("survey", self._survey_everything)
        self._start_loop("shared volumes", self._serve_again)
        self._start_loop("flows", self._collect_flows)

    async def _close(self) -> None:
        """Lets go of everything and touches nothing: guests, packets and volumes go on."""
        for loop in self._loops:
            await loop.stop()
        await self._upkeep.close()
        await self._conversions.close()
        await self._snapshots.close()
        await self._guests.close()
        await self._volumes.close()
        await self._network.close()
        await self._metadata.close()
        await self._relay.close()
        await self._drivers.hypervisor.close()
        if self._drivers.exports is not None:
            await self._drivers.exports.close()
        await self._drivers.volumes.close()
        await self._drivers.network.close()

    def _start_loop(self, name: str, work: Callable[[], Awaitable[float | None]]) -> Loop:
        loop = Loop(name, work, self._clock)
        self._loops.append(loop)
        return loop

    # Specs

    async def _take_newest(self) -> None:
        spec, self._newest = self._newest, None
        if spec is None or spec == self._spec:
            return
        if self._spec is not None and spec.revision < self._spec.revision:
            log.error("an old spec is refused", extra={"revision": spec.revision, "newest": self._spec.revision})
            return
        try:
            await asyncio.to_thread(self._state.keep_spec, spec)
        except OSError:
            self._newest = self._newest or spec
            raise
        self._distribute(spec)
        self._sync_loop.wake()

    async def _sync_spec(self) -> None:
        if self._spec is not None:
            await asyncio.to_thread(self._state.sync)

    def _distribute(self, spec: HostSpec) -> None:
        """Everyone starts on their part at once; guests wait for what they need of the others."""
        asked_for = _asked_for(self._spec, spec)
        self._spec = spec
        self._metadata.accept(spec.guests)
        self._network.accept(spec.revision, spec.network)
        self._snapshots.accept(spec.snapshots)
        self._conversions.accept(spec.conversions)
        self._volumes.accept(spec.volumes, asked_for)
        self._guests.accept(spec.guests)

    async def _prepare(self, guest: GuestSpec) -> None:
        await self._network_ready(frozenset(nic.interface_id for nic in guest.nics))
        for disk in guest.disks:
            await self._volume_ready(disk.volume_id)

    def _released(self, guest: GuestSpec) -> None:
        self._network.wake()
        for disk in guest.disks:
            self._disk_changed(disk.volume_id, None)

    async def _network_ready(self, interfaces: frozenset[str]) -> None:
        await self._network.ready(interfaces)

    def _network_changed(self) -> None:
        self._network.wake()

    # Volumes, between those who keep them, use them and tidy them up

    def _volume_size(self, volume_id: str) -> int | None:
        return self._volumes.size(volume_id)

    async def _volume_ready(self, volume_id: str) -> None:
        await self._volumes.ready(volume_id)
        await self._snapshots.settled(volume_id)

    async def _volume_made(self, volume_id: str) -> None:
        """For a snapshot, which may also be one of a volume that is to go: whether it is here is for the driver to say."""
        with contextlib.suppress(RetryableError):
            await self._volumes.ready(volume_id)

    async def _open_layers(self, volume_id: str) -> tuple[DiskLayer, ...]:
        volumes = self._drivers.volumes
        if await volumes.uncovered(volume_id) is not None and await self._holders.holder(volume_id) is None:
            await volumes.covered(volume_id)
        layers = await volumes.layers(volume_id)
        return (
            await self._holders.serve(volume_id, layers, self._volume_size(volume_id))
            if self._is_shared(volume_id)
            else layers
        )

    def _is_shared(self, volume_id: str) -> bool:
        return volume_id in self._volumes.shared()

    def _disk_changed(self, volume_id: str, size: int | None) -> None:
        self._volumes.given(volume_id, size)
        self._upkeep.wake(volume_id)

    def _volume_to_tidy(self, volume_id: str) -> None:
        self._volumes.wake(volume_id)
        self._upkeep.wake(volume_id)

    def _volume_changed(self, volume_id: str) -> None:
        self._look_loop.wake()
        self._upkeep.wake(volume_id)

    # What changes without anyone saying so

    async def _serve_again(self) -> float:
        """A process that served a shared volume and ended is started anew: its guests wait for it."""
        if self._drivers.exports is not None:
            for volume_id in self._volumes.shared():
                if self._guests.use(volume_id) and not await self._holders.served(volume_id):
                    async with self._chains.hold([volume_id]):
                        await self._open_layers(volume_id)
        return self._settings.images_interval

    async def _collect_flows(self) -> float:
        self._board.put_flows(await self._drivers.network.flows())
        return self._settings.flows_interval

    async def _look_for_images(self) -> float:
        capacity = self._settings.capacity
        inventory = HostInventory(
            host_id=self._settings.host_id,
            vcpus=capacity.vcpus,
            memory=capacity.memory,
            disk=capacity.disk,
            accelerator=self._drivers.hypervisor.accelerator,
            images=tuple(sorted(image.content for image in await self._drivers.images.observe())),
            zones=self._settings.zones,
        )
        if inventory != self._inventory:
            self._inventory = inventory
            self._inventory_changed.fire()
        return self._settings.images_interval

    async def _survey_everything(self) -> float:
        await self._guests.survey()
        await self._volumes.survey()
        await self._upkeep.survey(self._volumes.states)
        await self._network.survey()
        self._board.want_full()
        return self._settings.survey_interval


def _asked_for(before: HostSpec | None, spec: HostSpec) -> frozenset[str]:
    """The volumes of guests that are started, or whose disks are asked about, since the spec before."""
    guests = before.guests if before is not None else ()
    known = {(guest.instance_id, guest.boot, guest.wiring) for guest in guests}
    return frozenset(
        disk.volume_id
        for guest in spec.guests
        if (guest.instance_id, guest.boot, guest.wiring) not in known
        for disk in guest.disks
    )
