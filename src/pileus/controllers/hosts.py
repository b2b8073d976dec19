"""Hosts come, report and go. Implements the link's ``Handler``."""

import logging
from collections.abc import Callable, Iterable, Sequence

from msgspec.structs import replace

from pileus.base.clock import Clock
from pileus.base.config import Config
from pileus.base.sealing import Sealer
from pileus.controllers import conversions, data_keys, instances, interfaces, snapshots, volumes
from pileus.controllers.spec_book import SpecBook
from pileus.hostapi.link import HostSession
from pileus.hostapi.observation import FlowObservation, HostInventory, HostReport, KeyAnswer, KeyRequest
from pileus.operations.context import Placement
from pileus.records import Host
from pileus.records.instance import KeepConsole
from pileus.store import Store, Transaction

log = logging.getLogger(__name__)

LOST_AFTER = 10.0
"""Seconds without a connection after which nothing new is placed on a host and its instances count as impaired."""

_LOOK_EVERY = 1.0


class Hosts:
    """The hosts that are connected to this process.

    ``keep_consoles`` is told of guests whose console must be fetched, ``take_flows`` of what a host saw for flow logs.
    """

    def __init__(
        self,
        store: Store,
        book: SpecBook,
        config: Config,
        placement: Placement,
        clock: Clock,
        keep_consoles: Callable[[Iterable[str]], None],
        sealer: Sealer,
        take_flows: Callable[[str, Sequence[FlowObservation]], None],
    ) -> None:
        self._store = store
        self._book = book
        self._config = config
        self._placement = placement
        self._clock = clock
        self._keep_consoles = keep_consoles
        self._sealer = sealer
        self._take_flows = take_flows
        self.sessions: dict[str, HostSession] = {}
        self._missed_since: dict[str, float] = {}

    async def on_hello(self, session: HostSession) -> None:
        """A host is here, perhaps for the first time."""
        known = self.sessions.get(session.host_id)
        self.sessions[session.host_id] = session
        self._missed_since.pop(session.host_id, None)
        await self._store.submit(lambda tx: self._register(tx, session.inventory))
        if known is not session:
            log.info("host connected", extra={"host": session.host_id})
            await self._book.open(session)

    def _register(self, tx: Transaction, inventory: HostInventory) -> None:
        before = tx.get(Host, inventory.host_id)
        vcpus = int(inventory.vcpus * self._config.cpu_overcommit)
        memory = int(max(inventory.memory - self._config.reserved_memory, 0) * self._config.memory_overcommit)
        base = before or Host(id=inventory.host_id, account="", region="", vcpus=vcpus, memory=memory)
        after = replace(
            base,
            vcpus=vcpus,
            memory=memory,
            disk=inventory.disk or None,
            state="draining" if base.state == "draining" else "up",
            accelerator=inventory.accelerator,
            architecture=inventory.architecture,
            images=inventory.images,
            zones=inventory.zones,
        )
        if after != before:
            tx.put(after)

    async def on_report(self, session: HostSession, report: HostReport) -> None:
        """A host says what is so; whatever follows from it is decided in the same transaction."""
        now = self._clock.now()
        self._take_flows(session.host_id, report.flows)

        def note(tx: Transaction) -> list[str]:
            consoles: list[str] = []
            for volume in report.volumes:
                volumes.observe(tx, session.host_id, volume, now)
            for snapshot in report.snapshots:
                snapshots.observe(tx, session.host_id, snapshot, now)
            for conversion in report.conversions:
                conversions.observe(tx, session.host_id, conversion, now)
            for guest in report.guests:
                if instances.observe(tx, session.host_id, guest, now) is None:
                    continue
                if isinstance(instances.settle(tx, guest.instance_id, self._placement, now), KeepConsole):
                    consoles.append(guest.instance_id)
                volumes.settle_of(tx, guest.instance_id, now)
                interfaces.settle_of(tx, guest.instance_id)
            for volume in report.volumes:
                volumes.settle(tx, volume.volume_id, now)
            return consoles

        self._keep_consoles(await self._store.submit(note))

    async def on_key_request(self, session: HostSession, request: KeyRequest) -> KeyAnswer:
        """A host wants a data key."""
        spec = self._book.pushed(session.host_id)
        return data_keys.answer(self._store.view(), self._sealer, session.host_id, spec, request)

    async def on_lost(self, session: HostSession) -> None:
        """The connection ended. Hosts restart their agents: only one that stays away is lost."""
        self._book.close(session)
        if self.sessions.get(session.host_id) is session:
            del self.sessions[session.host_id]
            self._missed_since[session.host_id] = self._clock.monotonic()

    async def watch(self) -> None:
        """Marks hosts that stay away as lost, until cancelled. Those of an earlier process have the same time to come."""
        for host in self._store.view().list(Host):
            if host.id not in self.sessions:
                self._missed_since.setdefault(host.id, self._clock.monotonic())
        while True:
            await self._clock.sleep(_LOOK_EVERY)
            latest = self._clock.monotonic() - LOST_AFTER
            lost = [host_id for host_id, since in self._missed_since.items() if since <= latest]
            for host_id in lost:
                del self._missed_since[host_id]
            if lost:
                log.warning("hosts lost", extra={"hosts": lost})
                await self._store.submit(lambda tx, lost=lost: _mark_lost(tx, lost))


def _mark_lost(tx: Transaction, host_ids: Sequence[str]) -> None:
    for host_id in host_ids:
        host = tx.get(Host, host_id)
        if host is not None and host.state == "up":
            tx.put(replace(host, state="lost"))
    snapshots.lose(tx, host_ids)
