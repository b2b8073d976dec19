"""Snapshots and restores of volumes that are files: what is frozen, sent, fetched and served is what was written."""

import asyncio
import hashlib
import json
import os
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pileus.base import process
from pileus.drivers.errors import PermanentError
from pileus.drivers.hypervisor.interface import DiskLayer, passphrase
from pileus.drivers.volume.local import LocalVolumes
from pileus.engines.blocks.encoding import encode
from pileus.engines.blocks.fake import memory_blocks
from pileus.engines.blocks.interface import BLOCK
from pileus.hostapi.spec import SnapshotSpec, SourceSpec, VolumeSpec

MIB = 1 << 20
SIZE = 16 * MIB
SECRET = b"attack at dawn! "
KEYS = {"dk-1": hashlib.sha256(b"one").digest(), "dk-2": hashlib.sha256(b"two").digest()}


class NoImages:
    async def observe(self) -> list[object]:
        return []

    async def locate(self, content: str) -> object:
        raise PermanentError(content)


async def open_key(key_id: str) -> bytes:
    return KEYS[key_id]


class Host:
    """A host's volumes over a block store in memory, with QEMU's tools in a guest's place."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.blocks = memory_blocks(lambda: 0.0)
        self.changed: list[str] = []
        self.volumes = self.another()

    def another(self) -> LocalVolumes:
        return LocalVolumes(self.root, NoImages(), self.blocks, tool_uid=TOOL_UID)  # type: ignore[arg-type]

    async def open(self) -> None:
        await self.volumes.open(open_key, self.changed.append)

    async def restart(self) -> None:
        await self.volumes.close()
        self.volumes = self.another()
        await self.open()

    async def io(self, volume_id: str, *commands: str) -> None:
        """Reads and writes as a guest with this chain would."""
        layers = await self.volumes.layers(volume_id)
        await qemu_io(layers, *commands)

    async def snapshot(
        self, volume_id: str, snapshot_id: str, parent: str | None = None, key: str | None = None
    ) -> str:
        await self.volumes.cover(volume_id, snapshot_id)
        await self.volumes.covered(volume_id)
        spec = SnapshotSpec(snapshot_id=snapshot_id, volume_id=volume_id, group="g", parent=parent, key_id=key)
        self.upload = await self.volumes.upload(spec, lambda _: None)
        return self.upload.root

    async def tidy(self, volume_id: str, *snapshot_ids: str) -> None:
        for snapshot_id in snapshot_ids:
            await self.volumes.forget(volume_id, snapshot_id)
        while (layer := await self.volumes.next_merge(volume_id)) is not None:
            await self.volumes.merge(volume_id, layer)

    async def filled(self, volume_id: str) -> None:
        for _ in range(2000):
            state = next(state for state in await self.volumes.observe() if state.volume_id == volume_id)
            if state.filled:
                return
            await asyncio.sleep(0.005)
        raise AssertionError("never filled")


TOOL_UID = 1_900_065_535 if os.geteuid() == 0 else None


async def qemu_io(layers: tuple[DiskLayer, ...], *commands: str) -> None:
    objects: list[str] = []
    keys: dict[bytes, str] = {}
    built: dict[str, object] | None = None
    for layer in reversed(layers):
        if layer.format == "nbd":
            built = {"driver": "nbd", "server": {"type": "unix", "path": short(layer.path)}, "export": layer.export}
            forget_backing(layers[-2].path)
            continue
        this: dict[str, object] = {
            "driver": layer.format,
            "file": {"driver": "file", "filename": str(layer.path), "locking": "off"},
            "read-only": not layer.writable,
        }
        if layer.format == "qcow2":
            this["backing"] = built
            if layer.key is not None:
                name = keys.setdefault(layer.key, f"s{len(keys)}")
                this["encrypt"] = {"format": "luks", "key-secret": name}
        built = this
    for key, name in keys.items():
        objects += ["--object", f"secret,id={name},data={passphrase(key)}"]
    words = [word for command in commands for word in ("-c", command)]
    out = await process.run("qemu-io", *objects, *words, "json:" + json.dumps(built))
    assert b"failed" not in out, out


def forget_backing(path: Path) -> None:
    """qemu-io would mix the file name that is recorded with what it is told instead."""
    with path.open("r+b") as file:
        file.seek(8)
        file.write(bytes(12))


def short(path: Path) -> str:
    """A socket's address is at most 107 bytes long."""
    directory = os.open(path.parent, os.O_PATH)
    os.set_inheritable(directory, True)
    OPEN.append(directory)
    return f"/proc/{os.getpid()}/fd/{directory}/{path.name}"


OPEN: list[int] = []


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    host = Host(tmp_path)
    await host.open()
    yield host
    await host.volumes.close()
    await host.blocks.close()
    while OPEN:
        os.close(OPEN.pop())


@pytest.mark.parametrize("key", [None, "dk-1"])
async def test_a_snapshot_restores_what_was_written_before_it_and_nothing_after(host: Host, key: str | None) -> None:
    await host.volumes.ensure(VolumeSpec(volume_id="vol-1", size=SIZE, key_id=key))
    await host.io("vol-1", "write -P 1 0 1M", "write -P 2 5M 4k")
    first = await host.snapshot("vol-1", "snap-1", key=key)
    await host.io("vol-1", "write -P 3 0 4k", "write -P 4 9M 64k", "discard 5M 512k")
    second = await host.snapshot("vol-1", "snap-2", parent=first, key=key)
    assert host.upload.uploaded_bytes < 3 * BLOCK
    await host.io("vol-1", "write -P 5 0 16M")
    for root, checks in (
        (first, ("read -P 1 0 1M", "read -P 2 5M 4k", "read -P 0 9M 1M")),
        (second, ("read -P 3 0 4k", "read -P 1 4k 1020k", "read -P 4 9M 64k", "read -P 0 5M 512k")),
    ):
        source = SourceSpec(root=root, size=SIZE, key_id=key)
        await host.volumes.ensure(VolumeSpec(volume_id="vol-r", size=2 * SIZE, source=source, key_id=key))
        await host.io("vol-r", *checks, "read -P 0 16M 16M", "write -P 7 1M 4k")
        await host.filled("vol-r")
        assert (await host.volumes.layers("vol-r"))[-1].format in {"raw", "qcow2"}
        await host.io("vol-r", *checks, "read -P 7 1M 4k")
        await host.volumes.remove("vol-r")
    assert not list((host.root / "bases").iterdir())


@pytest.mark.parametrize("key", [None, "dk-1"])
async def test_merging_frozen_layers_changes_nothing_that_the_guest_reads(host: Host, key: str | None) -> None:
    await host.volumes.ensure(VolumeSpec(volume_id="vol-1", size=SIZE, key_id=key))
    await host.io("vol-1", "write -P 1 0 4M")
    first = await host.snapshot("vol-1", "snap-1", key=key)
    await host.io("vol-1", "write -P 2 1M 4k", "discard 2M 1M")
    second = await host.snapshot("vol-1", "snap-2", parent=first, key=key)
    await host.io("vol-1", "write -P 3 3M 4k")
    await host.tidy("vol-1", "snap-1", "snap-2")
    assert len(await host.volumes.layers("vol-1")) == 2
    await host.restart()
    await host.io("vol-1", "read -P 1 0 1M", "read -P 2 1M 4k", "read -P 0 2M 1M", "read -P 3 3M 4k")
    await host.snapshot("vol-1", "snap-3", parent=second, key=key)
    assert host.upload.uploaded_bytes < 2 * BLOCK


async def test_nothing_on_the_disk_shows_what_is_encrypted(host: Host) -> None:
    await host.volumes.ensure(VolumeSpec(volume_id="vol-1", size=SIZE, key_id="dk-1"))
    pattern = host.root / "pattern"
    pattern.write_bytes(SECRET * (BLOCK // len(SECRET)))
    await host.io("vol-1", f"write -s {pattern} 0 512k")
    pattern.unlink()
    root = await host.snapshot("vol-1", "snap-1", key="dk-1")
    source = SourceSpec(root=root, size=SIZE, key_id="dk-1")
    await host.volumes.ensure(VolumeSpec(volume_id="vol-2", size=SIZE, source=source, key_id="dk-2"))
    await host.filled("vol-2")
    await host.io("vol-2", "read 0 512k")
    for path in host.root.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert SECRET not in content, path
            for key in KEYS.values():
                assert key not in content
                assert key.hex().encode() not in content


async def test_a_cover_is_known_after_a_restart_and_its_instant_is_over_once_it_is_in_place(host: Host) -> None:
    await host.volumes.ensure(VolumeSpec(volume_id="vol-1", size=SIZE))
    top = await host.volumes.cover("vol-1", "snap-1")
    assert top is not None
    await host.restart()
    assert await host.volumes.uncovered("vol-1") == ("snap-1", top)
    assert await host.volumes.cover("vol-1", "snap-1") == top
    assert await host.volumes.next_merge("vol-1") is None
    await host.volumes.covered("vol-1")
    assert await host.volumes.cover("vol-1", "snap-1") is None
    assert (await host.volumes.observe())[0].snapshots == ("snap-1",)


async def test_instance_store_is_a_sparse_file_without_snapshots(host: Host) -> None:
    await host.volumes.ensure(VolumeSpec(volume_id="vol-e", size=SIZE, kind="ephemeral"))
    (layer,) = await host.volumes.layers("vol-e")
    assert (layer.format, layer.writable, layer.path.stat().st_blocks) == ("raw", True, 0)
    with pytest.raises(PermanentError):
        await host.volumes.cover("vol-e", "snap-1")
    await host.volumes.remove("vol-e")
    assert not list((host.root / "volumes").iterdir())


async def test_a_damaged_block_is_named_and_never_returned(host: Host) -> None:
    await host.volumes.ensure(VolumeSpec(volume_id="vol-1", size=SIZE))
    await host.io("vol-1", "write -P 1 0 512k", "write -P 2 512k 512k")
    root = await host.snapshot("vol-1", "snap-1")
    shelf = host.blocks._shelf  # type: ignore[attr-defined]
    digest = hashlib.sha256(encode(b"\2" * BLOCK)).digest()
    shelf.blocks[digest] = (b"other", 0.0)
    source = SourceSpec(root=root, size=SIZE)
    await host.volumes.ensure(VolumeSpec(volume_id="vol-2", size=SIZE, source=source))
    await host.io("vol-2", "read -P 1 0 512k")
    layers = await host.volumes.layers("vol-2")
    with pytest.raises((AssertionError, process.ProcessError)):
        await qemu_io(layers, "read 512k 4k")
    (state,) = [state for state in await host.volumes.observe() if state.volume_id == "vol-2"]
    assert not state.filled
    assert f"block 1 of snapshot root {root}" in state.detail
    assert "vol-2" in host.changed


async def test_random_writes_and_snapshots_restore_as_a_model_says(host: Host) -> None:
    dice = random.Random(7)
    await host.volumes.ensure(VolumeSpec(volume_id="vol-1", size=SIZE))
    model = bytearray(SIZE // 4096)
    states: list[tuple[str, bytes]] = []
    for number in range(4):
        writes: list[str] = []
        for _ in range(10):
            page, count, value = dice.randrange(len(model) - 40), dice.randrange(1, 40), dice.randrange(1, 256)
            model[page : page + count] = bytes([value]) * count
            writes.append(f"write -P {value} {page * 4096} {count * 4096}")
        await host.io("vol-1", *writes)
        root = await host.snapshot("vol-1", f"snap-{number}", parent=states[-1][0] if states else None)
        states.append((root, bytes(model)))
        if number == 2:
            await host.tidy("vol-1", "snap-0", "snap-1", "snap-2")
    for root, pages in states:
        await host.volumes.ensure(VolumeSpec(volume_id="vol-r", size=SIZE, source=SourceSpec(root=root, size=SIZE)))
        await host.filled("vol-r")
        base = (await host.volumes.layers("vol-r"))[-1].path.read_bytes()
        assert base == b"".join(bytes([value]) * 4096 for value in pages)
        await host.volumes.remove("vol-r")


async def test_a_volume_that_is_not_filled_is_uploaded_through_the_server(host: Host) -> None:
    await host.volumes.ensure(VolumeSpec(volume_id="vol-1", size=SIZE))
    await host.io("vol-1", "write -P 1 0 512k", "write -P 2 512k 512k")
    root = await host.snapshot("vol-1", "snap-1")
    shelf = host.blocks._shelf  # type: ignore[attr-defined]
    digest = hashlib.sha256(encode(b"\2" * BLOCK)).digest()
    kept = shelf.blocks.pop(digest)
    source = SourceSpec(root=root, size=SIZE)
    await host.volumes.ensure(VolumeSpec(volume_id="vol-2", size=SIZE, source=source))
    await host.io("vol-2", "write -P 3 4k 4k")
    second = await host.snapshot("vol-2", "snap-2")
    assert host.upload.uploaded_bytes < BLOCK
    shelf.blocks[digest] = kept
    await host.volumes.ensure(VolumeSpec(volume_id="vol-3", size=SIZE, source=SourceSpec(root=second, size=SIZE)))
    await host.io("vol-3", "read -P 1 0 4k", "read -P 3 4k 4k", "read -P 1 8k 500k", "read -P 2 512k 512k")
