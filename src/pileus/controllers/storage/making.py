"""Makes the snapshots that no host uploads: copies under another key, and what was written block by block.

Used by ``keeper``, which calls again after a failure of the store and after a restart; everything may be done twice.
"""

import base64
from collections.abc import Callable
from hashlib import sha256
from typing import Any

from msgspec.structs import replace

from pileus.base.clock import Clock
from pileus.base.sealing import SealBroken, Sealer
from pileus.controllers.storage.keys import KeyRefused, block_key
from pileus.controllers.storage.resealing import reseal
from pileus.engines.blocks.interface import BLOCK, BlockError, Digest, DraftStore, StoreUnavailable
from pileus.engines.blocks.manifest import Manifest, ManifestWriter
from pileus.engines.blocks.store import LocalBlocks
from pileus.operations.drafts import checksum_of
from pileus.records import Snapshot
from pileus.store import Store, Transaction

_AT_ONCE = 4096
_GIB = 1 << 30


class Refused(Exception):
    """What was written is not what CompleteSnapshot says. The message is for the client."""


class Maker:
    """Brings one snapshot at a time to its end; many may be under way."""

    def __init__(self, store: Store, blocks: LocalBlocks, sealer: Sealer, clock: Clock) -> None:
        self._store = store
        self._blocks = blocks
        self._sealer = sealer
        self._clock = clock

    def due(self, snapshot: Snapshot) -> bool:
        """Whether there is something for us to make."""
        closed = snapshot.writing is not None and snapshot.writing.closed is not None
        return snapshot.state == "pending" and (snapshot.reseal or closed)

    async def make(self, snapshot: Snapshot, progress: Callable[[int], None]) -> None:
        """Makes a snapshot's root and writes it down, or why there is none. Raises StoreUnavailable."""
        session = self._blocks.session()
        changes: dict[str, Any]
        try:
            changes = await (self._resealed if snapshot.reseal else self._written)(snapshot, session, progress)
        except StoreUnavailable:
            raise
        except Refused as error:
            assert snapshot.writing is not None
            await self._blocks.close_draft(snapshot.id, closed=False)
            changes = {"writing": replace(snapshot.writing, closed=None, refused=str(error))}
        except (KeyRefused, BlockError, ValueError) as error:  # a ValueError: the parent is not what its record says
            changes = {"state": "error", "state_message": str(error), "writing": None, "reseal": False}
        try:
            # While the session lasts, what it has put is kept; from the record on, that keeps it.
            await self._store.submit(lambda tx: self._settle(tx, snapshot, changes))
        finally:
            await session.close()

    def _settle(self, tx: Transaction, snapshot: Snapshot, changes: dict[str, Any]) -> None:
        current = tx.get(Snapshot, snapshot.id)
        if current is not None and self.due(current) and current.writing == snapshot.writing:
            tx.put(replace(current, **changes))

    async def _resealed(
        self, snapshot: Snapshot, session: DraftStore, progress: Callable[[int], None]
    ) -> dict[str, Any]:
        if snapshot.parent is None:
            return self._completed(None, 0, 0)
        uploaded = await self._reseal_parent(snapshot, session, progress)
        return self._completed(uploaded[0], uploaded[1], uploaded[2])

    async def _reseal_parent(
        self, snapshot: Snapshot, session: DraftStore, progress: Callable[[int], None]
    ) -> tuple[Digest, int, int]:
        assert snapshot.parent is not None
        view = self._store.view()
        done = await reseal(
            session,
            bytes.fromhex(snapshot.parent),
            block_key(view, self._sealer, snapshot.source_key_id),
            block_key(view, self._sealer, snapshot.data_key_id),
            progress,
            size=snapshot.size * _GIB,
        )
        return done.root, done.uploaded_bytes, done.full_bytes

    async def _written(
        self, snapshot: Snapshot, session: DraftStore, progress: Callable[[int], None]
    ) -> dict[str, Any]:
        assert snapshot.writing is not None
        await self._blocks.close_draft(snapshot.id)
        count, checksum = await self._count(snapshot, session)
        if count != snapshot.writing.changed:
            raise Refused(f"The snapshot has {count} written blocks, not {snapshot.writing.changed}")
        if snapshot.writing.checksum not in {None, checksum}:
            raise Refused("The checksum of the snapshot is not that of the blocks that were written")
        base: Manifest | None = None
        if snapshot.parent is not None:
            root = bytes.fromhex(snapshot.parent)
            if snapshot.source_key_id != snapshot.data_key_id:
                root, _, _ = await self._reseal_parent(snapshot, session, progress)
            base = await Manifest.open(session, root)
        sealed = snapshot.data_key_id is not None
        writer = ManifestWriter(session, size=snapshot.size * _GIB, sealed=sealed, parent=base)
        after = -1
        while page := await session.noted(snapshot.id, after, _AT_ONCE):
            for one in page:
                await writer.set(one.index, one.digest or None)
            after = page[-1].index
        manifest = await writer.finish()
        return self._completed(manifest.root, count * BLOCK, manifest.full_bytes)

    async def _count(self, snapshot: Snapshot, session: DraftStore) -> tuple[int, str]:
        """How many blocks were written, and the linear checksum of theirs: SHA-256 over theirs in order, in base64."""
        count, after, linear = 0, -1, sha256()
        while page := await session.noted(snapshot.id, after, _AT_ONCE):
            try:
                for one in page:
                    linear.update(checksum_of(self._sealer, snapshot, one.tag))
            except SealBroken as error:
                raise Refused("The checksum of a written block is damaged") from error
            count += len(page)
            after = page[-1].index
        return count, base64.b64encode(linear.digest()).decode()

    def _completed(self, root: Digest | None, uploaded_bytes: int, full_bytes: int) -> dict[str, Any]:
        now = self._clock.now()
        return {
            "state": "completed",
            "root": root.hex() if root else None,
            "progress": 100,
            "completed": now,
            "uploaded_bytes": uploaded_bytes,
            "full_bytes": full_bytes,
            "parent": None,
            "reseal": False,
            "source_key_id": None,
            "writing": None,
        }
