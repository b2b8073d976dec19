"""What comes into a running guest and goes out of it while it runs: the loop that follows the spec. Base of ``disks``, ``nics``.

Those of a guest that is off need nothing: the launcher gives it what its spec lists.
"""

from collections.abc import Callable, Collection, Iterable
from contextlib import AbstractContextManager
from typing import Generic, TypeVar

import msgspec

from pileus.agent.loop import Loop
from pileus.agent.sightings import Sightings
from pileus.base.clock import Clock
from pileus.drivers.errors import DriverError, PermanentError
from pileus.drivers.hypervisor.interface import GuestState, Hypervisor
from pileus.hostapi.spec import GuestSpec

Part = TypeVar("Part")


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """The guest whose parts are followed.

    ``spec`` is the newest. ``acting`` is entered while a part of a spec is on its way into the guest. ``patience`` in
    seconds: when a guest is asked again.
    """

    instance_id: str
    spec: Callable[[], GuestSpec | None]
    acting: Callable[[GuestSpec], AbstractContextManager[None]]
    hypervisor: Hypervisor
    sightings: Sightings
    clock: Clock
    patience: float


class GuestParts(Generic[Part]):
    """One kind of parts of one guest. A kind is a subclass that says how it is done."""

    kind: str

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._given: dict[str, object] = {}
        self._hopeless: dict[str, GuestSpec] = {}
        self._handled: object = None
        self._held: frozenset[str] = frozenset()
        self._loop = Loop(f"{self.kind}s of {owner.instance_id}", self._pass, owner.clock)

    # Of the kind

    def name_of(self, part: Part) -> str:
        """Its id."""
        raise NotImplementedError

    def listed(self, spec: GuestSpec) -> tuple[Part, ...]:
        """Those that the guest is to have."""
        raise NotImplementedError

    def held_by(self, state: GuestState) -> Iterable[str]:
        """The ids of those that it has."""
        raise NotImplementedError

    def wish(self, part: Part) -> object:
        """What the part is to be like: another one means that the guest must be told."""
        raise NotImplementedError

    async def plug(self, part: Part, *, fresh: bool) -> None:
        """Gives it to the guest; ``fresh``: which does not have it yet. Raises DriverError."""
        raise NotImplementedError

    async def unplug(self, name: str, *, force: bool) -> None:
        """Takes it from the guest. Raises DriverError."""
        raise NotImplementedError

    def given(self, part: Part) -> None:
        """Told that the guest has it as it was wished."""

    def lost(self, name: str) -> None:
        """Told that the guest has it no more."""

    def failed(self, part: Part, error: PermanentError) -> None:
        """Told that the guest can't have it."""
        raise NotImplementedError

    # Of all kinds

    def look(self) -> None:
        """Something about the guest or its parts may have changed: looks closer if it did."""
        if self._everything() != self._handled:
            self._loop.wake()

    def interrupt(self) -> None:
        """Breaks off what is being done: the spec wants something else."""
        self._loop.interrupt()

    def launched(self, spec: GuestSpec) -> None:
        """The guest was started with the parts of ``spec``."""
        self._given = {self.name_of(part): self.wish(part) for part in self.listed(spec)}

    async def stop(self) -> None:
        """Ends the loop; the parts stay as they are."""
        await self._loop.stop()

    def _everything(self) -> object:
        spec, state = self._owner.spec(), self._owner.sightings.latest.get(self._owner.instance_id)
        if spec is None or state is None or not _is_on(spec, state):
            return None
        wishes = tuple((self.name_of(part), self.wish(part)) for part in self.listed(spec))
        return spec.boot, wishes, spec.torn_out, spec.wiring, frozenset(self.held_by(state))

    async def _pass(self) -> float | None:
        state = (await self._owner.sightings.fresh()).get(self._owner.instance_id)
        self._handled = self._everything()
        held = frozenset(self.held_by(state)) if state is not None and state.running else frozenset[str]()
        for name in self._held - held:
            self._given.pop(name, None)
            self.lost(name)
        self._held = held
        spec = self._owner.spec()
        if spec is None or state is None or not _is_on(spec, state):
            return None
        leaving = held - {self.name_of(part) for part in self.listed(spec)}
        for name in leaving:
            await self.unplug(name, force=name in spec.torn_out)
        await self._follow_all(spec, held)
        return self._owner.patience if leaving else None  # a guest may need to be asked again

    async def _follow_all(self, spec: GuestSpec, held: Collection[str]) -> None:
        failure: DriverError | None = None
        for part in self.listed(spec):
            try:
                await self._follow(spec, part, fresh=self.name_of(part) not in held)
            except PermanentError as error:
                self._hopeless[self.name_of(part)] = spec
                self.failed(part, error)
            except DriverError as error:
                failure = error
        if failure is not None:
            raise failure

    async def _follow(self, spec: GuestSpec, part: Part, *, fresh: bool) -> None:
        name, wish = self.name_of(part), self.wish(part)
        if not fresh and self._given.get(name) == wish:
            return
        if self._hopeless.get(name) == spec:
            return
        with self._owner.acting(spec):
            await self.plug(part, fresh=fresh)
        self._given[name] = wish
        self.given(part)


def _is_on(spec: GuestSpec, state: GuestState) -> bool:
    return spec.power == "on" and state.running and state.boot == spec.boot
