"""One guest of this host, and the loop that makes it what its spec says."""

import logging
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager

import msgspec

from pileus.agent.decide import Step, Trouble, describe, next_step
from pileus.agent.disks import GuestDisks, VolumeAccess
from pileus.agent.launch_watch import LaunchWatch
from pileus.agent.launcher import Launcher
from pileus.agent.loop import Loop
from pileus.agent.nics import GuestNics, NetworkAccess
from pileus.agent.parts import Owner
from pileus.agent.reports import Board
from pileus.agent.sightings import Sightings
from pileus.base.clock import Clock
from pileus.drivers.errors import DriverError, PermanentError
from pileus.drivers.hypervisor.interface import GuestState, Hypervisor
from pileus.hostapi.spec import GuestSpec

log = logging.getLogger(__name__)


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What every guest's loop works with.

    Attributes:
        prepare: waits until the guest's volumes and interfaces are there. Raises DriverError.
        volumes, network: how disks and interfaces come into running guests.
        released: told when a guest went off that had volumes and interfaces in use.
        launch_limit: seconds in which a launched guest must show that it lives; None: for ever.
        patience: seconds after which a step is taken again that did not lead to anything.
    """

    hypervisor: Hypervisor
    launcher: Launcher
    sightings: Sightings
    board: Board
    clock: Clock
    prepare: Callable[[GuestSpec], Awaitable[None]]
    volumes: VolumeAccess
    network: NetworkAccess
    released: Callable[[GuestSpec], None]
    launch_limit: float | None
    patience: float


class Guest:
    """One guest, from its first mention in a spec or sighting until it is neither wanted nor there."""

    def __init__(self, instance_id: str, spec: GuestSpec | None, around: Surroundings) -> None:
        self.instance_id = instance_id
        self.spec = spec
        self._around = around
        self._last_listed = spec
        self._trouble: Trouble | None = None
        self._pressed_at: float | None = None
        self._was_running = self.running
        self._watch = LaunchWatch(
            instance_id, around.hypervisor, around.network.heard, around.clock, around.launch_limit
        )
        self._wirings: list[int] = []
        owner = Owner(
            instance_id=instance_id,
            spec=lambda: self.spec,
            acting=self._acting,
            hypervisor=around.hypervisor,
            sightings=around.sightings,
            clock=around.clock,
            patience=around.patience,
        )
        self._disks = GuestDisks(owner, around.volumes, around.board)
        self._nics = GuestNics(owner, around.network)
        self._loop = Loop(f"guest {instance_id}", self._pass, around.clock)

    @property
    def running(self) -> bool:
        """Whether it ran when the host's guests were last looked at."""
        state = self._around.sightings.latest.get(self.instance_id)
        return state is not None and state.running

    @property
    def over(self) -> bool:
        """Whether it is neither wanted nor there."""
        return self.spec is None and self.instance_id not in self._around.sightings.latest

    @property
    def last_listed(self) -> GuestSpec | None:
        """The last spec that listed it: what it holds, should it run without being listed now."""
        return self._last_listed

    def accept(self, spec: GuestSpec | None) -> None:
        """Takes a new spec. What is being done now is broken off if something else is wanted instead."""
        before, self.spec = self.spec, spec
        self._last_listed = spec or self._last_listed
        if spec is not None and before is not None and _intention(spec) != _intention(before):
            self._loop.interrupt()
        elif spec != before:
            self._loop.wake()
        if spec is not None and before is not None and spec.wiring != before.wiring:
            self._disks.interrupt()
            self._nics.interrupt()
        else:
            self._disks.look()
            self._nics.look()

    def wake(self) -> None:
        """Looks at the guest again: something about it changed on this host."""
        self._loop.wake()

    async def stop(self) -> None:
        """Ends the loops; the guest itself goes on."""
        await self._loop.stop()
        await self._disks.stop()
        await self._nics.stop()

    async def _pass(self) -> float | None:
        taken: Step | None = None
        while True:
            wiring = self._wiring()
            state = (await self._around.sightings.fresh()).get(self.instance_id)
            self._notice(state)
            step = next_step(self.spec, state, self._stopping_for())
            self._tell(state, wiring)
            self._disks.look()
            self._nics.look()
            if step == "rest":
                if not await self._watch.hangs():
                    return self._watch.remaining
                await self._cut_hanging_launch()
                continue
            assert self.spec is not None  # without a spec there is nothing but rest
            if step == "start" and self._is_hopeless(self.spec):
                return None
            if step == taken:
                return self._around.patience  # the driver goes on with it by itself, and says so when it is done
            await self._take(step, self.spec)
            taken = step
            if step == "press":
                return min(self._around.patience, max(0.0, self.spec.stop_timeout - self._stopping_for()))

    async def _take(self, step: Step, spec: GuestSpec) -> None:
        hypervisor = self._around.hypervisor
        match step:
            case "start":
                await self._start(spec)
            case "reset":
                await hypervisor.reset(self.instance_id, spec.reset)
            case "press":
                if self._pressed_at is None:
                    self._pressed_at = self._around.clock.monotonic()
                await hypervisor.press_power_button(self.instance_id)
            case "cut":
                await hypervisor.cut_power(self.instance_id)
            case "remove":
                await hypervisor.remove(self.instance_id)
            case "rest":
                pass

    async def _cut_hanging_launch(self) -> None:
        """What is off because we cut it, and is to be on in the same boot, is started again."""
        about = {"instance": self.instance_id, "cause": "watchdog"}
        log.warning("guest hangs at launch, restarting it", extra=about)
        await self._around.hypervisor.cut_power(self.instance_id)

    def _is_hopeless(self, spec: GuestSpec) -> bool:
        return self._trouble is not None and self._trouble.permanent and self._trouble.boot == spec.boot

    async def _start(self, spec: GuestSpec) -> None:
        try:
            await self._around.prepare(spec)
            await self._watch.begin(spec.boot, [nic.interface_id for nic in spec.nics])
            with self._acting(spec):
                await self._around.launcher.start(spec)
            self._disks.launched(spec)
            self._nics.launched(spec)
        except PermanentError as error:
            log.error("guest can't be started", extra={"instance": self.instance_id, "reason": str(error)})  # noqa: TRY400 - the reason is the whole story
            self._trouble = Trouble(boot=spec.boot, detail=str(error), permanent=True)
        except DriverError as error:
            self._trouble = Trouble(boot=spec.boot, detail=str(error), permanent=False)
            self._tell(self._around.sightings.latest.get(self.instance_id), min(spec.wiring, self._wiring()))
            raise
        else:
            self._trouble = None

    def _notice(self, state: GuestState | None) -> None:
        running = state is not None and state.running
        if not running:
            self._watch.end()
            if self._was_running and self._last_listed is not None:
                self._around.released(self._last_listed)
        if not running or self.spec is None or self.spec.power != "off":
            self._pressed_at = None
        self._was_running = running

    def _stopping_for(self) -> float:
        return 0.0 if self._pressed_at is None else self._around.clock.monotonic() - self._pressed_at

    @contextmanager
    def _acting(self, spec: GuestSpec) -> Generator[None]:
        """Parts of ``spec`` are on their way into the guest: what is seen meanwhile answers no newer wish."""
        self._wirings.append(spec.wiring)
        try:
            yield
        finally:
            self._wirings.remove(spec.wiring)
            self._loop.wake()

    def _wiring(self) -> int:
        """The newest wish about parts that a look which begins now answers."""
        return min([*self._wirings, self.spec.wiring if self.spec is not None else 0])

    def _tell(self, state: GuestState | None, wiring: int) -> None:
        accelerator = self._around.hypervisor.accelerator
        observation = describe(self.instance_id, self.spec, state, self._trouble, accelerator, wiring)
        if observation is None:
            self._around.board.drop(self.instance_id)
        else:
            self._around.board.put_guest(observation)


def _intention(spec: GuestSpec) -> tuple[str, int, int]:
    return spec.power, spec.boot, spec.reset
