"""The loops of the storage process. Run by ``pileus.cmd``, and in the simulated cloud.

Follows the records of snapshots and makes those that no host uploads; gives up what is not written any more; removes blocks
that nothing needs; reads all blocks again and again, slowly, to notice damage while there still is another copy to be had.
All of it may be killed anywhere and begins anew.
"""

import asyncio
import logging
from datetime import datetime, timedelta

from msgspec.structs import replace

from pileus.base.clock import Clock
from pileus.base.config import Config
from pileus.base.sealing import Sealer
from pileus.controllers.storage.making import Maker
from pileus.controllers.storage.roots import affected, live_roots, open_drafts
from pileus.engines.blocks.interface import Digest, StoreUnavailable
from pileus.engines.blocks.shelf import BUCKETS
from pileus.engines.blocks.store import Collected, CollectionStopped, LocalBlocks
from pileus.records import Snapshot
from pileus.store import LogTrimmed, Store, Transaction

log = logging.getLogger(__name__)

_AGAIN = 2.0
_EXPIRE_EVERY = 60.0
_MADE_AT_ONCE = 2
_CHECK_PAUSE = 30.0
_PROGRESS_STEP = 5
_POSITION = "checked"


class StorageKeeper:
    """All loops over one store of records and one of blocks."""

    def __init__(self, store: Store, blocks: LocalBlocks, sealer: Sealer, config: Config, clock: Clock) -> None:
        self._store = store
        self._blocks = blocks
        self._config = config
        self._clock = clock
        self._maker = Maker(store, blocks, sealer, clock)
        self._making: dict[str, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(_MADE_AT_ONCE)
        self._collect_now = asyncio.Event()

    async def run(self) -> None:
        """Runs until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow(group))
            group.create_task(self._expire())
            group.create_task(self._collect_always())
            if self._config.block_check_rate:
                group.create_task(self._check_always())

    def collect_soon(self) -> None:
        """Begins a collection as soon as none is under way."""
        self._collect_now.set()

    async def collect(self) -> Collected:
        """One collection. Raises CollectionStopped, StoreUnavailable."""
        # A draft is begun after its snapshot is on record, so the record of each that is there now can be seen then.
        drafts = await self._blocks.thread(self._blocks.ledger.drafts)
        wanted = open_drafts(self._store.view())
        for draft in drafts:
            if draft not in wanted:
                await self._blocks.thread(self._blocks.ledger.drop, draft)
        return await self._blocks.collect(self._roots)

    async def _roots(self) -> set[Digest]:
        return await asyncio.to_thread(lambda: live_roots(self._store.view()))

    # Making snapshots

    async def _follow(self, group: asyncio.TaskGroup) -> None:
        while True:
            view = self._store.view()
            for snapshot in view.list(Snapshot):
                self._start(group, snapshot.id)
            try:
                async for changes in self._store.watch(view.revision):
                    for change in changes:
                        if change.kind == Snapshot.kind and not change.deleted:
                            self._start(group, change.id)
            except LogTrimmed:
                log.warning("the change log was trimmed before it was read: starting over")

    def _start(self, group: asyncio.TaskGroup, snapshot_id: str) -> None:
        snapshot = self._store.view().get(Snapshot, snapshot_id)
        if snapshot is not None and self._maker.due(snapshot) and snapshot_id not in self._making:
            self._making[snapshot_id] = group.create_task(self._make(snapshot_id))

    async def _make(self, snapshot_id: str) -> None:
        """Makes one snapshot, however often it takes."""
        try:
            while True:
                async with self._slots:
                    snapshot = self._store.view().get(Snapshot, snapshot_id)
                    if snapshot is None or not self._maker.due(snapshot):
                        return
                    try:
                        await self._make_once(snapshot)
                    except StoreUnavailable as error:
                        log.warning("a snapshot is made later", extra={"snapshot": snapshot_id, "reason": str(error)})
                    except Exception:
                        log.exception("a snapshot could not be made", extra={"snapshot": snapshot_id})
                    else:
                        continue
                await self._clock.sleep(_AGAIN)
        finally:
            del self._making[snapshot_id]

    async def _make_once(self, snapshot: Snapshot) -> None:
        percent = [snapshot.progress]
        told = asyncio.create_task(self._tell(snapshot.id, percent))
        try:
            await self._maker.make(snapshot, lambda done: percent.__setitem__(0, min(done, 99)))
        finally:
            told.cancel()
            await asyncio.gather(told, return_exceptions=True)

    async def _tell(self, snapshot_id: str, percent: list[int]) -> None:
        """Writes a snapshot's progress down now and then."""
        written = percent[0]
        while True:
            await self._clock.sleep(1)
            if percent[0] >= written + _PROGRESS_STEP:
                written = percent[0]
                await self._store.submit(lambda tx, now=written: _note_progress(tx, snapshot_id, now))

    # Giving up

    async def _expire(self) -> None:
        while True:
            try:
                await self.expire(self._clock.now())
            except StoreUnavailable as error:
                log.warning("giving up is put off", extra={"reason": str(error)})
            await self._clock.sleep(_EXPIRE_EVERY)

    async def expire(self, now: datetime) -> None:
        """Gives up snapshots to which no block was written for longer than their timeout."""
        for snapshot in self._store.view().list(Snapshot):
            if snapshot.state != "pending" or snapshot.writing is None or snapshot.writing.closed is not None:
                continue
            patience = timedelta(minutes=snapshot.writing.timeout)
            if snapshot.started + patience > now:
                continue
            written = await self._blocks.thread(self._blocks.ledger.written, snapshot.id)
            if written is None or written + patience.total_seconds() <= now.timestamp():
                await self._store.submit(lambda tx, id_=snapshot.id: _give_up(tx, id_))

    # Removing and checking

    async def _collect_always(self) -> None:
        while True:
            self._collect_now.clear()
            try:
                done = await self.collect()
                log.info("collected", extra={"kept": done.kept, "removed": done.removed, "bytes": done.removed_bytes})
            except CollectionStopped as error:
                log.error("nothing can be collected", extra={"reason": str(error)})  # noqa: TRY400 - the reason says all
            except StoreUnavailable as error:
                log.warning("collecting failed", extra={"reason": str(error)})
            except Exception:
                log.exception("collecting failed")
            pause = asyncio.ensure_future(self._clock.sleep(self._config.block_collection_interval))
            asked = asyncio.ensure_future(self._collect_now.wait())
            try:
                await asyncio.wait([pause, asked], return_when=asyncio.FIRST_COMPLETED)
            finally:
                pause.cancel()
                asked.cancel()

    async def _check_always(self) -> None:
        while True:
            await self._clock.sleep(_CHECK_PAUSE)
            try:
                bucket = await self._blocks.thread(self._blocks.ledger.position, _POSITION)
                await self.check(bucket % BUCKETS)
                await self._blocks.thread(self._blocks.ledger.keep_position, _POSITION, (bucket + 1) % BUCKETS)
            except StoreUnavailable as error:
                log.warning("checking failed", extra={"reason": str(error)})

    async def check(self, bucket: int) -> int:
        """Reads the blocks of a bucket; names the snapshots of those that are damaged. Returns how many are."""
        found = await self._blocks.check(bucket, self._pace)
        if found:
            session = self._blocks.session()
            try:
                holders = await affected(self._store.view(), session, self._blocks.damaged)
            finally:
                await session.close()
            for digest, ids in holders.items():
                log.error(
                    "a damaged block",
                    extra={"block": digest.hex(), "needed_by": ids, "damaged_in_all": len(holders)},
                )
        return found

    async def _pace(self, size: int) -> None:
        await self._clock.sleep(size / (self._config.block_check_rate * (1 << 20)))


def _note_progress(tx: Transaction, snapshot_id: str, percent: int) -> None:
    snapshot = tx.get(Snapshot, snapshot_id)
    if snapshot is not None and snapshot.state == "pending" and percent > snapshot.progress:
        tx.put(replace(snapshot, progress=percent))


def _give_up(tx: Transaction, snapshot_id: str) -> None:
    snapshot = tx.get(Snapshot, snapshot_id)
    if snapshot is None or snapshot.state != "pending" or snapshot.writing is None or snapshot.writing.closed:
        return
    message = f"No block was written for {snapshot.writing.timeout} minutes"
    tx.put(replace(snapshot, state="error", state_message=message, writing=None))
