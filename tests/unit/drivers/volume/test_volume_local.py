"""Volumes as files: their sizes, their data, their rights, and what is left of them after a kill."""

import asyncio
import fcntl
import os
import random
import stat
import sys
from pathlib import Path

import msgspec
import pytest

from pileus.base import process
from pileus.drivers.errors import PermanentError, RetryableError
from pileus.drivers.volume.local import LocalVolumes, qcow2
from pileus.hostapi.spec import VolumeSpec

MIB = 1 << 20


class NoImages:
    async def observe(self) -> list[object]:
        return []

    async def locate(self, content: str) -> object:
        raise PermanentError(content)


@pytest.fixture
def volumes(tmp_path: Path) -> LocalVolumes:
    return LocalVolumes(tmp_path, NoImages())  # type: ignore[arg-type]


def spec(size: int = 16 * MIB) -> VolumeSpec:
    return VolumeSpec(volume_id="vol-1", size=size)


async def top(volumes: LocalVolumes) -> Path:
    return (await volumes.layers("vol-1"))[0].path


async def test_growing_keeps_the_data(volumes: LocalVolumes) -> None:
    await volumes.ensure(spec())
    disk = await top(volumes)
    await process.run("qemu-io", "-c", "write -P 7 1M 1M", str(disk))
    await volumes.ensure(spec(64 * MIB))
    image = msgspec.json.decode(await process.run("qemu-img", "info", "--output=json", str(disk)))
    assert image["virtual-size"] == 64 * MIB
    assert qcow2.read_header(disk).virtual_size == 64 * MIB
    await process.run("qemu-io", "-r", "-c", "read -P 7 1M 1M", str(disk))


async def test_nobody_but_root_reads_it(volumes: LocalVolumes) -> None:
    await volumes.ensure(spec())
    disk = await top(volumes)
    assert stat.S_IMODE(disk.stat().st_mode) == 0o600
    assert stat.S_IMODE(disk.parent.parent.stat().st_mode) == 0o700


async def test_a_disk_in_use_is_neither_grown_nor_removed(volumes: LocalVolumes) -> None:
    await volumes.ensure(spec())
    descriptor = os.open(await top(volumes), os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(RetryableError):
        await volumes.ensure(spec(32 * MIB))
    with pytest.raises(RetryableError):
        await volumes.remove("vol-1")
    os.close(descriptor)
    await volumes.ensure(spec(32 * MIB))
    await volumes.remove("vol-1")


async def test_concurrent_calls_make_one_volume(volumes: LocalVolumes, tmp_path: Path) -> None:
    await asyncio.gather(*(volumes.ensure(spec()) for _ in range(5)), volumes.observe())
    assert [path.name for path in (tmp_path / "volumes").iterdir()] == ["vol-1"]


async def test_a_damaged_file_is_a_permanent_error(volumes: LocalVolumes) -> None:
    await volumes.ensure(spec())
    (await top(volumes)).write_bytes(b"not a disk, but long enough to have a header")
    with pytest.raises(PermanentError):
        await volumes.layers("vol-1")
    with pytest.raises(PermanentError):
        await volumes.ensure(spec())


_LOOP = """
import asyncio, sys
from pathlib import Path
from pileus.drivers.volume.local import LocalVolumes
from pileus.hostapi.spec import VolumeSpec

async def main():
    volumes = LocalVolumes(Path(sys.argv[1]), None)
    print("ready", flush=True)
    for number in range(10_000):
        await volumes.ensure(VolumeSpec(volume_id=f"vol-{number % 3}", size=(number + 1) << 20))
        if number % 3 == 2:
            await volumes.remove(f"vol-{number % 2}")

asyncio.run(main())
"""


@pytest.mark.slow
async def test_killed_at_any_moment_every_volume_is_whole_or_absent(tmp_path: Path) -> None:
    dice = random.Random(5)
    for _ in range(10):
        child = process.spawn(sys.executable, "-c", _LOOP, str(tmp_path), stdout=-1)
        assert child.stdout is not None
        assert await asyncio.to_thread(child.stdout.readline) == b"ready\n"
        await asyncio.sleep(dice.uniform(0.0, 0.15))
        child.kill()
        child.communicate()
        volumes = LocalVolumes(tmp_path, NoImages())  # type: ignore[arg-type]
        for state in await volumes.observe():
            (layer,) = await volumes.layers(state.volume_id)
            await process.run("qemu-img", "check", "-q", "-U", str(layer.path))
        assert not [path for path in (tmp_path / "volumes").iterdir() if path.name.startswith(".")]
