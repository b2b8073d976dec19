"""What guests there are, asked of the hypervisor once for all who want to know at the same time."""

import asyncio
from collections.abc import Mapping

from pileus.drivers.hypervisor.interface import GuestState, Hypervisor


class Sightings:
    """Observations of all guests, shared."""

    def __init__(self, hypervisor: Hypervisor) -> None:
        self._hypervisor = hypervisor
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
        self._latest = {state.instance_id: state for state in states}
        return self._latest
