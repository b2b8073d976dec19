"""The volume driver ``local``: volumes as chains of qcow2 files. Started by ``pileus.cmd`` for the agent.

A volume is a directory ``<root>/volumes/<volume id>`` with its layers and ``volume.json``, which says what they are (see
``record``). What is being made or removed has a name that begins with a dot: a volume is there whole or not at all,
whenever we are killed; a layer that is not on record is nothing.

A volume in use is locked (``flock``, on each of its layers) by the process that has it open. The lock belongs to the open
file, so it lasts exactly as long as QEMU holds the descriptor that it was given, whatever becomes of the agent.
"""

import asyncio
import contextlib
import os
import secrets
import shutil
from collections import defaultdict
from collections.abc import Callable, Collection, Generator, Sequence
from pathlib import Path

from msgspec.structs import replace

from pileus.base.clock import Clock, SystemClock
from pileus.drivers.errors import PermanentError, RetryableError
from pileus.drivers.hypervisor.interface import DiskLayer
from pileus.drivers.image.interface import Images
from pileus.drivers.volume.interface import OpenKey, Upload, VolumeState
from pileus.drivers.volume.local import base_file, chain, qcow2, record
from pileus.drivers.volume.local.bases import Bases
from pileus.drivers.volume.local.luks import Container
from pileus.drivers.volume.local.record import Layer, VolumeRecord
from pileus.drivers.volume.local.sending import Sender
from pileus.drivers.volume.local.tools import Tools
from pileus.engines.blocks.interface import Blocks
from pileus.hostapi.spec import SnapshotSpec, SourceSpec, VolumeSpec

_RAW = "disk.raw"


class LocalVolumes:
    """The volume driver ``local``.

    Args:
        root: the host's data directory; volumes are below ``root / "volumes"``, readable by root alone, complete bases of
            volumes made from snapshots below ``root / "bases"``.
        images: where the images are that volumes start as.
        blocks: where snapshots are uploaded to and come from; None: this host can't do either.
        tool_uid: the user that QEMU's tools run as; None: as ourselves.
    """

    def __init__(
        self,
        root: Path,
        images: Images,
        blocks: Blocks | None = None,
        *,
        tool_uid: int | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._directory = root / "volumes"
        self._images = images
        self._tools = Tools(tool_uid)
        self._bases = Bases(root / "bases", blocks, clock or SystemClock())
        self._sender = Sender(self._tools, blocks, self._bases)
        self._keys: OpenKey | None = None
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._records: dict[str, VolumeRecord] = {}
        self._unfinished: set[Path] = set()
        self._on_change: Callable[[str], None] = lambda _: None

    async def open(self, keys: OpenKey, on_change: Callable[[str], None]) -> None:
        """Serves the bases that guests may have open, and goes on completing those that are not."""
        self._keys, self._on_change = keys, on_change
        self._bases.open(keys, self._base_changed)
        for volume_id in self._volume_ids():
            with contextlib.suppress(PermanentError):  # a damaged record is said by ``observe``
                volume = self._load(volume_id)
                if volume.source is not None and (volume.served or not self._bases.complete(volume.source)):
                    await self._bases.serve(volume.source)

    async def close(self) -> None:
        """Stops serving: guests that read from here wait until it goes on."""
        await self._sender.close()
        await self._bases.close()
        self._keys, self._on_change = None, lambda _: None

    async def ensure(self, volume: VolumeSpec) -> None:
        """Makes the volume, or grows it while no guest has it open.

        Raises:
            PermanentError: the image is not on this host, the size is below the image's or below what the volume has.
            RetryableError: the volume must grow and a guest has it open.
        """
        async with self._locks[volume.volume_id]:
            if not self._home(volume.volume_id).exists():
                await self._create(volume)
                return
            known = self._load(volume.volume_id)
            size = self._size(volume.volume_id, known)
            if volume.size < size:
                raise PermanentError(f"{volume.volume_id} has {size} bytes and can't shrink to {volume.size}")
            if volume.size > size:
                await self._grow(volume.volume_id, known, volume.size)

    async def layers(self, volume_id: str) -> tuple[DiskLayer, ...]:
        """The files of the volume, top first. Raises PermanentError when it is not here or damaged."""
        async with self._locks[volume_id]:
            known = self._load(volume_id)
            self._size(volume_id, known)  # a damaged top is noticed here
            key = await self._open_key(known.key_id)
            own = self._own_layers(volume_id, known, key)
            if known.image is not None:
                return (*own, DiskLayer(path=Path(known.image), format="qcow2", writable=False))
            if known.source is None:
                return own
            if not self._bases.complete(known.source):
                await self._bases.serve(known.source)
            base_key = await self._open_key(known.source.key_id) if self._bases.complete(known.source) else None
            base = self._bases.layer(known.source, base_key)
            if known.served != (base.format == "nbd"):
                await self._keep(volume_id, replace(known, served=base.format == "nbd"))
            return (*own, base)

    async def remove(self, volume_id: str) -> None:
        """Removes the data for ever. Raises RetryableError while a guest has it open."""
        async with self._locks[volume_id]:
            home = self._home(volume_id)
            if not home.exists():
                return
            with self._unused(volume_id), self._unfinished_directory(volume_id) as doomed:
                home.rename(doomed)
                record.flush(self._directory)
                self._records.pop(volume_id, None)
                await asyncio.to_thread(shutil.rmtree, doomed)
        self._locks.pop(volume_id, None)
        await self._keep_bases()

    async def observe(self) -> Sequence[VolumeState]:
        """All whole volumes. What an earlier process left unfinished is removed."""
        if not self._directory.exists():
            return ()
        for entry in self._directory.glob(".*"):
            if entry not in self._unfinished:
                await asyncio.to_thread(shutil.rmtree, entry, ignore_errors=True)
        return [self._state(volume_id) for volume_id in self._volume_ids()]

    # Snapshots

    async def cover(self, volume_id: str, snapshot_id: str) -> DiskLayer | None:
        """Raises as the interface says."""
        async with self._locks[volume_id]:
            known = self._load(volume_id)
            if snapshot_id in known.taken:
                return None
            if known.kind == "ephemeral":
                raise PermanentError(f"{volume_id} is an instance store volume")
            if known.uncovered not in {None, snapshot_id}:
                raise RetryableError(f"{volume_id} is not covered yet for {known.uncovered}")
            key = await self._open_key(known.key_id)
            if known.uncovered is None:
                size = self._size(volume_id, known)
                below, *rest = known.layers
                fresh = Layer(name=f"layer-{known.made}.qcow2")
                home = self._home(volume_id)
                await asyncio.to_thread(_make_layer, home / fresh.name, size, (home / below.name, "qcow2"), key)
                frozen = replace(below, snapshots=(*below.snapshots, snapshot_id))
                known = replace(known, layers=(fresh, frozen, *rest), made=known.made + 1, uncovered=snapshot_id)
                await self._keep(volume_id, known)
            return self._own_layers(volume_id, known, key)[0]

    async def covered(self, volume_id: str) -> None:
        """The snapshot's instant is over from now on."""
        async with self._locks[volume_id]:
            known = self._load(volume_id)
            if known.uncovered is not None:
                await self._keep(volume_id, replace(known, uncovered=None))

    async def uncovered(self, volume_id: str) -> tuple[str, DiskLayer] | None:
        """Raises PermanentError, RetryableError about the key."""
        async with self._locks[volume_id]:
            if not self._home(volume_id).exists():
                return None
            known = self._load(volume_id)
            if known.uncovered is None:
                return None
            key = await self._open_key(known.key_id)
            return known.uncovered, self._own_layers(volume_id, known, key)[0]

    async def upload(self, snapshot: SnapshotSpec, on_progress: Callable[[int], None]) -> Upload:
        """Raises as the interface says."""
        volume_id = snapshot.volume_id
        known = self._load(volume_id)
        place = known.place(snapshot.snapshot_id)
        if place is None:
            raise PermanentError(f"{snapshot.snapshot_id} was not taken here")
        key = await self._open_key(known.key_id)
        base: DiskLayer | None = None
        if known.image is not None:
            base = DiskLayer(path=Path(known.image), format="qcow2", writable=False)
        elif known.source is not None and self._bases.complete(known.source):
            base = self._bases.layer(known.source, await self._open_key(known.source.key_id))
        elif known.source is not None:
            await self._bases.serve(known.source)
        done = await self._sender.send(
            snapshot,
            known,
            [replace(layer, writable=False) for layer in self._own_layers(volume_id, known, key)[place:]],
            base,
            await self._open_key(snapshot.key_id),
            on_progress,
        )
        async with self._locks[volume_id]:
            known = self._load(volume_id)
            await self._keep(volume_id, chain.with_root(known, snapshot.snapshot_id, done.root))
        return done

    async def forget(self, volume_id: str, snapshot_id: str) -> None:
        """Its layer may be merged from now on."""
        await self._sender.forget(snapshot_id)
        async with self._locks[volume_id]:
            if self._home(volume_id).exists():
                known = self._load(volume_id)
                if (changed := chain.without(known, snapshot_id)) != known:
                    await self._keep(volume_id, changed)

    async def next_merge(self, volume_id: str, keep: Collection[str] = ()) -> Path | None:
        """A layer is merged once nobody needs to tell its state from the one below."""
        if not self._home(volume_id).exists():
            return None
        layer = chain.next_merge(self._load(volume_id), keep)
        return None if layer is None else self._home(volume_id) / layer.name

    async def merge(self, volume_id: str, layer: Path) -> None:
        """Killed in between it can be repeated: the upper layer stays as it is until the lower one has everything."""
        known = self._load(volume_id)
        number = chain.number(known, layer.name)
        if number is None or number + 1 == len(known.layers):
            return
        key = await self._open_key(known.key_id)
        with self._unused(volume_id) as locked:
            upper, lower = self._own_layers(volume_id, known, key)[number : number + 2]
            await self._tools.commit(upper, lower, locked)
            await asyncio.to_thread(record.flush, lower.path)
            await self.merged(volume_id, layer)

    async def merged(self, volume_id: str, layer: Path) -> None:
        """From record first: a file that is not on record is nothing."""
        async with self._locks[volume_id]:
            known = self._load(volume_id)
            number = chain.number(known, layer.name)
            if number is not None and number + 1 < len(known.layers):
                home = self._home(volume_id)
                changed = chain.merged(known, number)
                await self._keep(volume_id, changed)
                if number:
                    above, below = home / changed.layers[number - 1].name, home / changed.layers[number].name
                    await asyncio.to_thread(qcow2.write_backing, above, below)
            await asyncio.to_thread(layer.unlink, missing_ok=True)

    # Restores

    async def base(self, volume_id: str) -> DiskLayer | None:
        """Raises PermanentError, RetryableError about its key."""
        known = self._load(volume_id)
        if known.source is None or not known.served or not self._bases.complete(known.source):
            return None
        return self._bases.layer(known.source, await self._open_key(known.source.key_id))

    async def base_swapped(self, volume_id: str) -> None:
        """The server is not needed any more for this volume."""
        async with self._locks[volume_id]:
            known = self._load(volume_id)
            if known.served:
                await self._keep(volume_id, replace(known, served=False))
        await self._keep_bases()

    # What all of them need

    def _home(self, volume_id: str) -> Path:
        home = self._directory / volume_id
        if home.parent != self._directory or volume_id.startswith("."):
            raise PermanentError(f"{volume_id!r} is no volume id")
        return home

    def _volume_ids(self) -> list[str]:
        if not self._directory.exists():
            return []
        return sorted(entry.name for entry in self._directory.iterdir() if not entry.name.startswith("."))

    def _load(self, volume_id: str) -> VolumeRecord:
        if volume_id not in self._records:
            self._records[volume_id] = record.load(self._home(volume_id))
        return self._records[volume_id]

    async def _keep(self, volume_id: str, changed: VolumeRecord) -> None:
        try:
            await asyncio.shield(asyncio.to_thread(record.keep, self._home(volume_id), changed))
        except OSError as error:
            self._records.pop(volume_id, None)
            raise RetryableError(f"the record of {volume_id} can't be written: {error}") from error
        except asyncio.CancelledError:
            self._records.pop(volume_id, None)  # it may or may not have been written
            raise
        self._records[volume_id] = changed

    def _own_layers(self, volume_id: str, known: VolumeRecord, key: bytes | None) -> tuple[DiskLayer, ...]:
        return tuple(
            DiskLayer(
                path=self._home(volume_id) / layer.name,
                format="raw" if known.kind == "ephemeral" else "qcow2",
                writable=not depth,
                mergeable=bool(depth),
                key=key,
            )
            for depth, layer in enumerate(known.layers)
        )

    def _size(self, volume_id: str, known: VolumeRecord) -> int:
        top = self._home(volume_id) / known.layers[0].name
        try:
            return top.stat().st_size if known.kind == "ephemeral" else qcow2.read_header(top).virtual_size
        except (OSError, ValueError) as error:
            raise PermanentError(f"{volume_id} can't be read: {error}") from error

    def _state(self, volume_id: str) -> VolumeState:
        try:
            known = self._load(volume_id)
            size = self._size(volume_id, known)
        except PermanentError as error:
            return VolumeState(volume_id=volume_id, size=0, detail=str(error))
        filled = known.source is None or self._bases.complete(known.source)
        return VolumeState(
            volume_id=volume_id,
            size=size,
            filled=filled,
            detail="" if known.source is None else self._bases.trouble(known.source),
            base_ready=known.served and filled,
            snapshots=known.taken,
        )

    async def _open_key(self, key_id: str | None) -> bytes | None:
        if key_id is None:
            return None
        if self._keys is None:
            raise RetryableError("the driver is not open")
        return await self._keys(key_id)

    async def _create(self, volume: VolumeSpec) -> None:
        key = await self._open_key(volume.key_id)
        backing = await self._backing(volume)
        known = VolumeRecord(
            layers=(Layer(name=_RAW if volume.kind == "ephemeral" else record.FIRST),),
            kind=volume.kind,
            key_id=volume.key_id,
            image=str(backing[0]) if backing is not None and volume.image is not None else None,
            source=volume.source,
        )
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._unfinished_directory(volume.volume_id) as fresh:
            fresh.mkdir(mode=0o700)
            first = fresh / known.layers[0].name
            if volume.kind == "ephemeral":
                await asyncio.to_thread(_make_raw, first, volume.size)
            else:
                await asyncio.to_thread(_make_layer, first, volume.size, backing, key)
            await asyncio.to_thread(record.keep, fresh, known)
            fresh.rename(self._directory / volume.volume_id)
            record.flush(self._directory)
        self._records[volume.volume_id] = known
        if volume.source is not None and not self._bases.complete(volume.source):
            await self._bases.serve(volume.source)

    async def _backing(self, volume: VolumeSpec) -> tuple[Path, str] | None:
        if volume.image is not None:
            manifest, directory = await self._images.locate(volume.image)
            if volume.size < manifest.virtual_size:
                raise PermanentError(
                    f"{volume.volume_id}: {volume.size} bytes are below the {manifest.virtual_size} of {manifest.name}"
                )
            return (directory / record.FIRST).absolute(), "qcow2"
        if volume.source is not None:
            if volume.size < volume.source.size:
                raise PermanentError(f"{volume.volume_id}: {volume.size} bytes are below those of its snapshot")
            kind = base_file.file_format(volume.source.key_id is not None)
            return self._bases.file(volume.source).absolute(), kind
        return None

    async def _grow(self, volume_id: str, known: VolumeRecord, size: int) -> None:
        top = self._own_layers(volume_id, known, await self._open_key(known.key_id))[0]
        with self._unused(volume_id) as locked:
            if known.kind == "ephemeral":
                os.truncate(top.path, size)
            else:
                await self._tools.resize(top, size, locked)

    @contextlib.contextmanager
    def _unused(self, volume_id: str) -> Generator[dict[Path, int]]:
        """Holds the locks that a running guest would hold. Raises RetryableError when one does."""
        paths = [self._home(volume_id) / layer.name for layer in self._load(volume_id).layers]
        with chain.locked(paths) as descriptors:
            yield descriptors

    @contextlib.contextmanager
    def _unfinished_directory(self, volume_id: str) -> Generator[Path]:
        """A name of our own that ``observe`` leaves alone; nothing of it is left afterwards."""
        path = self._directory / f".{volume_id}-{secrets.token_hex(4)}"
        self._unfinished.add(path)
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)
            self._unfinished.discard(path)

    def _base_changed(self, source: SourceSpec) -> None:
        for volume_id, known in list(self._records.items()):
            if known.source == source:
                self._on_change(volume_id)

    async def _keep_bases(self) -> None:
        needed: list[SourceSpec] = []
        served: list[SourceSpec] = []
        for volume_id in self._volume_ids():
            try:
                known = self._load(volume_id)
            except PermanentError:
                return  # its record may name a base that a guest reads
            if known.source is not None:
                needed.append(known.source)
                served += [known.source] if known.served else []
        await self._bases.keep(needed, served)


def _make_layer(path: Path, size: int, backing: tuple[Path, str] | None, key: bytes | None) -> None:
    path.unlink(missing_ok=True)  # one that never came on record
    qcow2.write_empty(path, size, backing=backing, encryption_header=None if key is None else Container(key).header)
    record.flush(path)


def _make_raw(path: Path, size: int) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.truncate(size)
        os.fsync(file.fileno())
