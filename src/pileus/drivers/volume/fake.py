"""Volumes that exist in memory alone, for tests and the simulated cloud."""

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Literal

import msgspec

from pileus.drivers.errors import DriverError, PermanentError, RetryableError
from pileus.drivers.hypervisor.interface import DiskLayer
from pileus.drivers.image.interface import Images
from pileus.drivers.volume.interface import OpenKey, Upload, VolumeState
from pileus.engines.blocks.encoding import BlockKey
from pileus.engines.blocks.interface import BLOCK, BlockError, Blocks, BlockStore
from pileus.engines.blocks.upload import upload
from pileus.hostapi.spec import SnapshotSpec, VolumeSpec


class _Layer(msgspec.Struct, kw_only=True):
    """A layer: the snapshots that show it and all below, and the root that they were uploaded as."""

    path: Path
    snapshots: list[str] = msgspec.field(default_factory=list[str])
    root: str | None = None


class _Volume(msgspec.Struct, kw_only=True):
    """``layers`` top first. ``uncovered``: the snapshot whose top layer was made and not put in place."""

    spec: VolumeSpec
    layers: list[_Layer]
    backing: Path | None = None
    uncovered: str | None = None
    made: int = 1
    frozen: dict[str, Mapping[int, bytes]] = msgspec.field(default_factory=dict[str, Mapping[int, bytes]])


class FakeVolumes:
    """The volume driver ``fake``. It outlives the agent that opens and closes it, as files would.

    Args:
        images: where the images are; without it every image is taken to be here and to fit.
        blocks: where snapshots are uploaded to; without it their roots are made up.

    Attributes:
        sizes: volume id → bytes, of all volumes.
        contents: volume id → what was written to it: index → 512 KiB. Set by tests; frozen by snapshots.
        damaged: volume id → what is wrong with it.
        unfilled: volumes whose base is still being fetched; ``fill`` completes one.
        fail_next: an error that the next ``ensure`` raises instead of doing anything.
        fail_uploads: errors that the next uploads raise, one each.
        uploads: snapshot ids in the order in which their uploads began.
    """

    def __init__(self, images: Images | None = None, blocks: Blocks | None = None) -> None:
        self.sizes: dict[str, int] = {}
        self.contents: dict[str, dict[int, bytes]] = {}
        self.damaged: dict[str, str] = {}
        self.unfilled: set[str] = set()
        self.fail_next: DriverError | None = None
        self.fail_uploads: list[DriverError] = []
        self.uploads: list[str] = []
        self._images = images
        self._blocks = blocks
        self._volumes: dict[str, _Volume] = {}
        self._base_ready: set[str] = set()
        self._sessions: dict[str, BlockStore] = {}
        self._keys: OpenKey | None = None
        self._on_change: Callable[[str], None] = lambda _: None

    async def open(self, keys: OpenKey, on_change: Callable[[str], None]) -> None:
        self._keys, self._on_change = keys, on_change

    async def close(self) -> None:
        self._keys, self._on_change = None, lambda _: None
        for session in self._sessions.values():
            await session.close()
        self._sessions.clear()

    def fill(self, volume_id: str) -> None:
        """The base of an unfilled volume is complete."""
        self.unfilled.discard(volume_id)
        self._base_ready.add(volume_id)
        self._on_change(volume_id)

    async def ensure(self, volume: VolumeSpec) -> None:
        if self.fail_next is not None:
            error, self.fail_next = self.fail_next, None
            raise error
        size = self.sizes.get(volume.volume_id)
        if size is not None and volume.size < size:
            raise PermanentError(f"{volume.volume_id} has {size} bytes and can't shrink to {volume.size}")
        if size is None:
            await self._create(volume)
        self.sizes[volume.volume_id] = volume.size

    async def layers(self, volume_id: str) -> tuple[DiskLayer, ...]:
        volume = self._get(volume_id)
        if detail := self.damaged.get(volume_id):
            raise PermanentError(detail)
        key = await self._open_key(volume.spec.key_id)
        if volume.spec.shared:
            server = Path("/nonexistent") / f"{volume_id}.nbd"
            return (DiskLayer(path=server, format="nbd", writable=True, export=volume_id),)
        own = tuple(
            DiskLayer(path=layer.path, format=_format(volume), writable=not depth, mergeable=bool(depth), key=key)
            for depth, layer in enumerate(volume.layers)
        )
        base = () if volume.backing is None else (DiskLayer(path=volume.backing, format="qcow2", writable=False),)
        return (*own, *base)

    async def remove(self, volume_id: str) -> None:
        self.sizes.pop(volume_id, None)
        self.contents.pop(volume_id, None)
        self._volumes.pop(volume_id, None)
        self.unfilled.discard(volume_id)

    async def observe(self) -> Sequence[VolumeState]:
        return [
            VolumeState(
                volume_id=volume_id,
                size=size,
                filled=volume_id not in self.unfilled,
                detail=self.damaged.get(volume_id, ""),
                base_ready=volume_id in self._base_ready,
                snapshots=_taken(self._volumes[volume_id]),
            )
            for volume_id, size in sorted(self.sizes.items())
        ]

    async def cover(self, volume_id: str, snapshot_id: str) -> DiskLayer | None:
        volume = self._get(volume_id)
        if volume.spec.kind == "ephemeral":
            raise PermanentError(f"{volume_id} is an instance store volume")
        if snapshot_id in _taken(volume):
            return None
        if volume.uncovered not in {None, snapshot_id}:
            raise RetryableError(f"{volume_id} is not covered yet for {volume.uncovered}")
        key = await self._open_key(volume.spec.key_id)
        if volume.uncovered is None:
            volume.layers[0].snapshots.append(snapshot_id)
            volume.layers.insert(0, _Layer(path=_path(volume_id, volume.made)))
            volume.made += 1
            volume.uncovered = snapshot_id
        return DiskLayer(path=volume.layers[0].path, format="qcow2", writable=True, key=key)

    async def covered(self, volume_id: str) -> None:
        volume = self._get(volume_id)
        if volume.uncovered is not None:
            volume.frozen[volume.uncovered] = dict(self.contents.get(volume_id, {}))
            volume.uncovered = None

    async def uncovered(self, volume_id: str) -> tuple[str, DiskLayer] | None:
        volume = self._volumes.get(volume_id)
        if volume is None or volume.uncovered is None:
            return None
        key = await self._open_key(volume.spec.key_id)
        return volume.uncovered, DiskLayer(path=volume.layers[0].path, format="qcow2", writable=True, key=key)

    async def upload(self, snapshot: SnapshotSpec, on_progress: Callable[[int], None]) -> Upload:
        self.uploads.append(snapshot.snapshot_id)
        if self.fail_uploads:
            raise self.fail_uploads.pop(0)
        volume = self._volumes.get(snapshot.volume_id)
        if volume is None or snapshot.snapshot_id not in _taken(volume):
            raise PermanentError(f"{snapshot.snapshot_id} was not taken here")
        key = await self._open_key(snapshot.key_id)
        blocks = volume.frozen.get(snapshot.snapshot_id, {})
        on_progress(50)
        done = await self._send(snapshot, volume, blocks, key)
        for layer in volume.layers:
            if snapshot.snapshot_id in layer.snapshots:
                layer.root = done.root
        return done

    async def forget(self, volume_id: str, snapshot_id: str) -> None:
        if session := self._sessions.pop(snapshot_id, None):
            await session.close()
        if volume := self._volumes.get(volume_id):
            volume.frozen.pop(snapshot_id, None)
            for layer in volume.layers:
                if snapshot_id in layer.snapshots:
                    layer.snapshots.remove(snapshot_id)

    async def next_merge(self, volume_id: str, keep: Collection[str] = ()) -> Path | None:
        volume = self._volumes.get(volume_id)
        if volume is None or volume.uncovered is not None:
            return None
        for layer, below in zip(volume.layers[1:], volume.layers[2:], strict=False):
            if not layer.snapshots and not below.snapshots and below.root not in keep:
                return layer.path
        return None

    async def merge(self, volume_id: str, layer: Path) -> None:
        await self.merged(volume_id, layer)

    async def merged(self, volume_id: str, layer: Path) -> None:
        volume = self._get(volume_id)
        for depth, each in enumerate(volume.layers):
            if each.path == layer:
                volume.layers[depth + 1].root = each.root
                del volume.layers[depth]
                return

    async def base(self, volume_id: str) -> DiskLayer | None:
        if volume_id not in self._base_ready:
            return None
        return DiskLayer(path=Path("/nonexistent/bases") / volume_id, format="raw", writable=False)

    async def base_swapped(self, volume_id: str) -> None:
        self._base_ready.discard(volume_id)

    async def _create(self, volume: VolumeSpec) -> None:
        backing: Path | None = None
        if volume.image is not None and self._images is not None:
            manifest, directory = await self._images.locate(volume.image)
            if volume.size < manifest.virtual_size:
                raise PermanentError(f"{volume.volume_id} is smaller than {manifest.name}")
            backing = directory / "disk.qcow2"
        if volume.source is not None and volume.size < volume.source.size:
            raise PermanentError(f"{volume.volume_id} is smaller than its snapshot")
        self._volumes[volume.volume_id] = _Volume(
            spec=volume, layers=[_Layer(path=_path(volume.volume_id, 0))], backing=backing
        )

    def _get(self, volume_id: str) -> _Volume:
        try:
            return self._volumes[volume_id]
        except KeyError:
            raise PermanentError(f"{volume_id} is not here") from None

    async def _open_key(self, key_id: str | None) -> bytes | None:
        return None if key_id is None or self._keys is None else await self._keys(key_id)

    async def _send(
        self, snapshot: SnapshotSpec, volume: _Volume, blocks: Mapping[int, bytes], key: bytes | None
    ) -> Upload:
        if self._blocks is None:
            root = sha256(snapshot.snapshot_id.encode()).hexdigest()
            return Upload(root=root, uploaded_bytes=BLOCK * len(blocks), full_bytes=BLOCK * len(blocks))

        async def changed() -> AsyncIterator[tuple[int, bytes]]:
            for block in sorted(blocks.items()):
                yield block

        if old := self._sessions.pop(snapshot.snapshot_id, None):
            await old.close()
        session = self._sessions[snapshot.snapshot_id] = self._blocks.session()
        source = volume.spec.source
        same_seal = source is not None and source.key_id == snapshot.key_id
        parent = snapshot.parent or (source.root if source is not None and same_seal else None)
        try:
            done = await upload(
                session,
                changed(),
                size=self.sizes[snapshot.volume_id],
                parent=None if parent is None else bytes.fromhex(parent),
                key=None if key is None else BlockKey(key),
            )
        except BlockError as error:
            raise RetryableError(f"{snapshot.snapshot_id}: {error}") from error
        return Upload(root=done.root.hex(), uploaded_bytes=done.uploaded_bytes, full_bytes=done.full_bytes)


def _path(volume_id: str, number: int) -> Path:
    return Path("/nonexistent") / volume_id / f"{number}.qcow2"


def _format(volume: _Volume) -> Literal["qcow2", "raw"]:
    return "raw" if volume.spec.kind == "ephemeral" else "qcow2"


def _taken(volume: _Volume) -> tuple[str, ...]:
    known = (snapshot for layer in volume.layers for snapshot in layer.snapshots)
    return tuple(snapshot for snapshot in known if snapshot != volume.uncovered)
