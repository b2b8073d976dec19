"""All guests of this host, each with a loop of its own, so that a slow one holds up no other."""

import asyncio
from collections.abc import Iterable

from pileus.agent.guest import Guest, Surroundings
from pileus.hostapi.spec import GuestSpec


class GuestKeeper:
    """Hands specs and changes to the guests, and knows what those that run hold of the host."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._guests: dict[str, Guest] = {}

    def accept(self, specs: Iterable[GuestSpec]) -> None:
        """Takes a new spec. Guests that it no longer lists are left alone."""
        wanted = {spec.instance_id: spec for spec in specs}
        for instance_id, guest in self._guests.items():
            guest.accept(wanted.get(instance_id))
        for instance_id, spec in wanted.items():
            if instance_id not in self._guests:
                self._guests[instance_id] = Guest(instance_id, spec, self._around)

    def changed(self, instance_id: str) -> None:
        """The driver says that the guest is not what it was."""
        if guest := self._guests.get(instance_id):
            guest.wake()
        else:
            self._guests[instance_id] = Guest(instance_id, None, self._around)

    async def survey(self) -> None:
        """Looks at all guests again, also at those that nobody lists. Raises DriverError."""
        seen = await self._around.sightings.fresh()
        for instance_id in self._guests.keys() | seen.keys():
            self.changed(instance_id)
        for instance_id in [guest.instance_id for guest in self._guests.values() if guest.over]:
            self._around.board.drop(instance_id)
            await self._guests.pop(instance_id).stop()

    def held_interfaces(self) -> frozenset[str]:
        """The interfaces that guests' processes have: their network goes after them."""
        return frozenset(
            interface_id
            for state in self._around.sightings.latest.values()
            if state.running
            for interface_id in state.interfaces
        )

    def use(self, volume_id: str) -> bool:
        """Whether a running guest has the volume, or had it in its last spec."""
        return any(
            volume_id in state.volumes for state in self._around.sightings.latest.values() if state.running
        ) or any(
            disk.volume_id == volume_id
            for guest in self._guests.values()
            if guest.running and guest.last_listed is not None
            for disk in guest.last_listed.disks
        )

    async def holder(self, volume_id: str) -> str | None:
        """Looks which guest's process has the volume open now. Raises DriverError."""
        for state in (await self._around.sightings.fresh()).values():
            if state.running and volume_id in state.volumes:
                return state.instance_id
        return None

    async def close(self) -> None:
        """Stops all loops; the guests run on."""
        await asyncio.gather(*(guest.stop() for guest in self._guests.values()))
