"""What guests there are, asked of the hypervisor once for all who want to know at the same time."""

import asyncio
from collections.abc import Callable, Mapping

from msgspec.structs import replace

from pileus.drivers.hypervisor.interface import GuestState, Hypervisor


class Sightings:
    """Observations of all guests, shared. ``interrupted`` tells which boots ended because the host went down."""

    def __init__(self, hypervisor: Hypervisor, interrupted: Callable[[str], int | None]) -> None:
        self._hypervisor = hypervisor
        self._interrupted = interrupted
        self._latest: Mapping[str, GuestState] = {}
        self._looking: asyncio.Task[Mapping[str, GuestState]] | None = None
        self._next: asyncio.Task[Mapping[str, GuestState]] | None = None

    @property
    def latest(self) -> Mapping[str, GuestState]:
        """The last look's result, by instance id."""
        return self._latest

    async def fresh(self) -> Mapping[str, GuestState]:
        """The result of a look that begins after this call. Raises what ``Hypervisor.observe`` raises."""
        if self._next is None:
            self._next = asyncio.create_task(self._look_after(self._looking))
        return await asyncio.shield(self._next)  # one caller that is cancelled doesn't take the others' look away

    async def _look_after(self, earlier: asyncio.Task[Mapping[str, GuestState]] | None) -> Mapping[str, GuestState]:
        if earlier is not None:
            await asyncio.wait({earlier})
        self._looking, self._next = self._next, None
        states = await self._hypervisor.observe()
        self._latest = {state.instance_id: self._with_cause(state) for state in states}
        return self._latest

    def _with_cause(self, state: GuestState) -> GuestState:
        """A guest that the host took down with it is found off without a reason, or as crashed."""
        if not state.running and state.cause in ("", "crash") and self._interrupted(state.instance_id) == state.boot:
            return replace(state, cause="host-restart")
        return state
