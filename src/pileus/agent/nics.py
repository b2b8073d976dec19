"""The interfaces of one running guest: what ``parts`` does with them. Used by ``guest``."""

import logging
import os
from collections.abc import Awaitable, Callable, Iterable

import msgspec

from pileus.agent.parts import GuestParts, Owner
from pileus.drivers.errors import PermanentError
from pileus.drivers.hypervisor.interface import GuestState
from pileus.hostapi.spec import GuestSpec, NicSpec

log = logging.getLogger(__name__)


class NetworkAccess(msgspec.Struct, frozen=True, kw_only=True):
    """What a guest needs of the host's network.

    Attributes:
        ready: waits until these interfaces are there. Raises DriverError.
        open_tap: a descriptor of an interface's tap, which the caller closes. Raises DriverError.
        heard: how many packets the guest has sent on an interface. Raises DriverError.
        changed: told that a guest lost an interface.
    """

    ready: Callable[[frozenset[str]], Awaitable[None]]
    open_tap: Callable[[str], Awaitable[int]]
    heard: Callable[[str], Awaitable[int]]
    changed: Callable[[], None]


class GuestNics(GuestParts[NicSpec]):
    """Plugs and unplugs."""

    kind = "interface"

    def __init__(self, owner: Owner, network: NetworkAccess) -> None:
        self._network = network
        super().__init__(owner)

    def name_of(self, part: NicSpec) -> str:
        return part.interface_id

    def listed(self, spec: GuestSpec) -> tuple[NicSpec, ...]:
        return spec.nics

    def held_by(self, state: GuestState) -> Iterable[str]:
        return state.interfaces

    def wish(self, part: NicSpec) -> object:
        return part

    async def plug(self, part: NicSpec, *, fresh: bool) -> None:
        if not fresh:
            return  # it is as it was made
        await self._network.ready(frozenset({part.interface_id}))
        tap = await self._network.open_tap(part.interface_id)
        try:
            await self._owner.hypervisor.plug_nic(self._owner.instance_id, part, tap)
        finally:
            os.close(tap)

    async def unplug(self, name: str, *, force: bool) -> None:
        await self._owner.hypervisor.unplug_nic(self._owner.instance_id, name, force=force)

    def lost(self, name: str) -> None:
        self._network.changed()

    def failed(self, part: NicSpec, error: PermanentError) -> None:
        about = {"instance": self._owner.instance_id, "interface": part.interface_id, "reason": str(error)}
        log.error("interface can't be plugged", extra=about)
