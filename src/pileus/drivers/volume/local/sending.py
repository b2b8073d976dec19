"""Sends what a snapshot shows to the block store. Called by ``driver``."""

from collections.abc import Callable, Sequence

from pileus.drivers.errors import PermanentError, RetryableError
from pileus.drivers.hypervisor.interface import DiskLayer
from pileus.drivers.volume.interface import Upload
from pileus.drivers.volume.local import chain, frozen
from pileus.drivers.volume.local.bases import Bases
from pileus.drivers.volume.local.record import VolumeRecord
from pileus.drivers.volume.local.tools import Tools
from pileus.engines.blocks.encoding import BlockKey
from pileus.engines.blocks.interface import BlockError, Blocks, BlockStore
from pileus.engines.blocks.upload import upload
from pileus.hostapi.spec import SnapshotSpec


class Sender:
    """Uploads snapshots, and keeps a session for each until it is on record: that protects its blocks."""

    def __init__(self, tools: Tools, blocks: Blocks | None, bases: Bases) -> None:
        self._tools = tools
        self._blocks = blocks
        self._bases = bases
        self._sessions: dict[str, BlockStore] = {}

    async def send(
        self,
        snapshot: SnapshotSpec,
        known: VolumeRecord,
        layers: Sequence[DiskLayer],
        base: DiskLayer | None,
        key: bytes | None,
        on_progress: Callable[[int], None],
    ) -> Upload:
        """Uploads the state that ``layers`` (top first) show over a base: ``base``, or the source through its server.

        Raises PermanentError, RetryableError.
        """
        if self._blocks is None:
            raise PermanentError("this host has no block store to upload snapshots to")
        place = len(known.layers) - len(layers)
        parent, changed_layers = _parent(snapshot, known, place)
        served = self._bases.connect(known.source) if known.source is not None and base is None else None
        await self.forget(snapshot.snapshot_id)
        session = self._sessions[snapshot.snapshot_id] = self._blocks.session()
        try:
            async with frozen.opened(self._tools, layers, base, served) as state:
                blocks = await state.blocks(changed_layers)
                done = await upload(
                    session,
                    state.read(blocks),
                    size=state.size,
                    parent=None if parent is None else bytes.fromhex(parent),
                    key=None if key is None else BlockKey(key),
                    progress=lambda count: on_progress(count * 100 // max(1, len(blocks))),
                )
        except BlockError as error:
            raise RetryableError(f"{snapshot.snapshot_id}: {error}") from error
        return Upload(root=done.root.hex(), uploaded_bytes=done.uploaded_bytes, full_bytes=done.full_bytes)

    async def forget(self, snapshot_id: str) -> None:
        """The snapshot is on record, or not wanted: its session ends."""
        if session := self._sessions.pop(snapshot_id, None):
            await session.close()

    async def close(self) -> None:
        """Ends all sessions."""
        for snapshot_id in list(self._sessions):
            await self.forget(snapshot_id)


def _parent(snapshot: SnapshotSpec, known: VolumeRecord, place: int) -> tuple[str | None, int | None]:
    """The root to upload on top of, and in how many layers from ``place`` on lies what differs from it.

    A parent that no layer here shows is no use: (None, None) then, and everything is read. What is in the store already is
    not sent for that.
    """
    if snapshot.parent is not None and (layers := chain.above(known, place, snapshot.parent)) is not None:
        return snapshot.parent, layers
    if known.source is not None and known.source.key_id == snapshot.key_id:
        return known.source.root, len(known.layers) - place
    return None, None
