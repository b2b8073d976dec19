"""The controllers as one service: watches the store, drives instances on, keeps specs pushed, sweeps what is over."""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from datetime import datetime

from pileus.base.clock import Clock
from pileus.base.config import Config
from pileus.base.sealing import Sealer
from pileus.controllers import (
    conversions,
    data_keys,
    images,
    instances,
    interfaces,
    kms_keys,
    routing,
    snapshots,
    volumes,
)
from pileus.controllers.console_keeper import ConsoleKeeper
from pileus.controllers.flow_logs import FlowKeeper
from pileus.controllers.hosts import Hosts
from pileus.controllers.spec_book import SpecBook
from pileus.hostapi.link import HostSession
from pileus.operations.context import Placement
from pileus.operations.idempotency import KEPT
from pileus.records import DiskTask, IdempotentCall, Instance, Volume
from pileus.records.instance import KeepConsole, decide
from pileus.store import Change, LogTrimmed, Store, Transaction

log = logging.getLogger(__name__)

SWEEP_EVERY = 30.0
_BATCH = 200


class Controllers:
    """All loops over one store. ``hosts`` is the handler to give to the link's server."""

    def __init__(self, store: Store, config: Config, placement: Placement, clock: Clock, sealer: Sealer) -> None:
        self._store = store
        self._placement = placement
        self._clock = clock
        self._sealer = sealer
        self._book = SpecBook(store, config)
        self._consoles = ConsoleKeeper(store, placement, clock, self._session_of)
        self._flows = FlowKeeper(store, config, clock)
        self.hosts = Hosts(store, self._book, config, placement, clock, self._consoles.keep, sealer, self._flows.take)

    async def run(self) -> None:
        """Runs until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow())
            group.create_task(self._sweep())
            group.create_task(self._consoles.run())
            group.create_task(self._flows.run())
            group.create_task(self.hosts.watch())

    def _session_of(self, host_id: str) -> HostSession | None:
        return self.hosts.sessions.get(host_id)

    async def _follow(self) -> None:
        """Every change is looked at once, in order; after a gap in the log everything is."""
        while True:
            revision = self._store.view().revision
            await self._settle_all()
            try:
                async for changes in self._store.watch(revision):
                    await self._changed(changes)
            except LogTrimmed:
                log.warning("the change log was trimmed before it was read: starting over")

    async def _changed(self, changes: Sequence[Change]) -> None:
        here = [change for change in changes if not change.deleted]
        instance_ids = [change.id for change in here if change.kind == Instance.kind]
        await self._settle(instance_ids)
        await self._settle_volumes([change.id for change in here if change.kind == Volume.kind], instance_ids)
        await self._settle_interfaces(instance_ids)
        if any(change.kind == DiskTask.kind for change in here):
            await self._settle_conversions()
        if any(change.kind in images.KINDS for change in changes):
            await self._settle_images()
        if any(change.kind in routing.KINDS for change in changes):
            await self._settle_routing()
        await self._book.follow()

    async def _settle_all(self) -> None:
        view = self._store.view()
        await self._settle(instance.id for instance in view.list(Instance))
        await self._settle_volumes([volume.id for volume in view.list(Volume)], ())
        await self._settle_interfaces([instance.id for instance in view.list(Instance)])
        await self._settle_images()
        await self._settle_conversions()
        await self._settle_routing()

    async def _settle_conversions(self) -> None:
        if conversions.unsettled(self._store.view()):
            await self._store.submit(conversions.settle)

    async def _settle_images(self) -> None:
        due = images.unsettled(self._store.view())
        if due:
            await self._store.submit(lambda tx: images.settle(tx, due))

    async def _settle_routing(self) -> None:
        now = self._clock.now()
        if routing.unsettled(self._store.view(), now):
            await self._store.submit(lambda tx: routing.settle(tx, now))

    async def _settle_volumes(self, volume_ids: Sequence[str], instance_ids: Iterable[str]) -> None:
        """Settles those volumes, of these and of those instances', for which something follows."""
        now, view = self._clock.now(), self._store.view()
        due = [id_ for id_ in volume_ids if volumes.unsettled(view, id_, now)]
        for instance_id in instance_ids:
            due.extend(volumes.unsettled_of(view, instance_id, now))
        ids = list(dict.fromkeys(due))
        for start in range(0, len(ids), _BATCH):
            batch = ids[start : start + _BATCH]
            await self._store.submit(lambda tx, batch=batch: [volumes.settle(tx, id_, now) for id_ in batch])

    async def _settle_interfaces(self, instance_ids: Iterable[str]) -> None:
        """Settles the interfaces of those instances. A change of an attachment changes its instance's ``wiring`` too."""
        view = self._store.view()
        due = [id_ for id_ in dict.fromkeys(instance_ids) if interfaces.unsettled_of(view, id_)]
        for start in range(0, len(due), _BATCH):
            batch = due[start : start + _BATCH]
            await self._store.submit(lambda tx, batch=batch: [interfaces.settle_of(tx, id_) for id_ in batch])

    async def _settle(self, instance_ids: Iterable[str]) -> None:
        """Decides for those instances for which there is something to decide."""
        now, view = self._clock.now(), self._store.view()
        due = [
            id_
            for id_ in dict.fromkeys(instance_ids)
            if (instance := view.get(Instance, id_)) is not None and decide(instance, now) is not None
        ]
        for start in range(0, len(due), _BATCH):
            batch = due[start : start + _BATCH]
            self._consoles.keep(await self._store.submit(lambda tx, batch=batch: self._settle_batch(tx, batch, now)))

    def _settle_batch(self, tx: Transaction, batch: Sequence[str], now: datetime) -> list[str]:
        return [id_ for id_ in batch if isinstance(instances.settle(tx, id_, self._placement, now), KeepConsole)]

    async def _sweep(self) -> None:
        """What is over with time: terminated instances after their hour, client tokens after their day,
        KMS keys after their waiting period."""
        while True:
            await self._settle_all()
            await self._store.submit(self._drop_old_tokens)
            await self._store.submit(self._empty_bin)
            await self._store.submit(self._sweep_keys)
            await self._clock.sleep(SWEEP_EVERY)

    def _sweep_keys(self, tx: Transaction) -> None:
        now = self._clock.now()
        conversions.forget(tx, now)
        kms_keys.sweep(tx, self._sealer, now)
        data_keys.collect(tx, now)

    def _empty_bin(self, tx: Transaction) -> None:
        """What has been in the recycle bin for long enough; images first, since they hold their snapshots."""
        images.empty_bin(tx, self._clock.now())
        snapshots.empty_bin(tx, self._clock.now())

    def _drop_old_tokens(self, tx: Transaction) -> None:
        oldest = self._clock.now() - KEPT
        for call in tx.list(IdempotentCall):
            if call.at < oldest:
                tx.delete(call)
