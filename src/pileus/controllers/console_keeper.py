"""Saves what guests said on their consoles before their hosts remove them, and lets the instances go on to their end.

Told by ``hosts`` and ``loop`` of instances whose next step is ``KeepConsole``.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable

from msgspec.structs import replace

from pileus.base.clock import Clock
from pileus.controllers import instances
from pileus.hostapi.link import ConsoleError, HostLostError, HostSession
from pileus.operations.context import Placement
from pileus.records import ConsoleLog, Instance
from pileus.records.instance import KeepConsole, decide
from pileus.store import Store, Transaction

log = logging.getLogger(__name__)


class ConsoleKeeper:
    """Fetches each console in a task of its own: an answer comes over the link that brought the report which asks for
    it, so nobody there may wait, and a slow host holds up no other.
    """

    def __init__(
        self, store: Store, placement: Placement, clock: Clock, session_of: Callable[[str], HostSession | None]
    ) -> None:
        self._store = store
        self._placement = placement
        self._clock = clock
        self._session_of = session_of
        self._wanted: asyncio.Queue[str] = asyncio.Queue()
        self._known: set[str] = set()

    def keep(self, instance_ids: Iterable[str]) -> None:
        """Asks for consoles. Those that can't be had now are left: the next report of their host leads here again."""
        for instance_id in instance_ids:
            if instance_id not in self._known:
                self._known.add(instance_id)
                self._wanted.put_nowait(instance_id)

    async def run(self) -> None:
        """Runs until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                group.create_task(self._keep(await self._wanted.get()))

    async def _keep(self, instance_id: str) -> None:
        try:
            output = await self._fetch(instance_id)
            if output is not None:
                await self._store.submit(lambda tx: self._note(tx, instance_id, output))
        finally:
            self._known.discard(instance_id)

    async def _fetch(self, instance_id: str) -> bytes | None:
        """What it said; None when its host does not answer."""
        instance = self._store.view().get(Instance, instance_id)
        session = self._session_of(instance.host_id) if instance and instance.host_id else None
        if session is None:
            return None
        try:
            return await session.console(instance_id, "output")
        except ConsoleError as error:
            log.info("guest has no console to keep", extra={"instance": instance_id, "reason": str(error)})
            return b""
        except (HostLostError, TimeoutError):
            return None

    def _note(self, tx: Transaction, instance_id: str, output: bytes) -> None:
        instance = tx.get(Instance, instance_id)
        now = self._clock.now()
        if instance is None or not isinstance(decide(instance, now), KeepConsole):
            return
        if output and tx.get(ConsoleLog, instance_id) is None:
            kept = ConsoleLog(
                id=instance_id, account=instance.account, region=instance.region, output=output, taken=now
            )
            tx.put(kept)
        tx.put(replace(instance, console_kept=True))
        instances.settle(tx, instance_id, self._placement, now)
