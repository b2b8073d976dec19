"""The driver of real volumes, killed at any moment while it covers, merges, fills and removes: nothing is lost."""

import asyncio
import os
import random
import sys
from pathlib import Path

import pytest

from pileus.base import process
from pileus.drivers.errors import PermanentError
from pileus.drivers.volume.local import LocalVolumes
from pileus.hostapi.spec import VolumeSpec

MIB = 1 << 20
TOOL_UID = 1_900_065_535 if os.geteuid() == 0 else None

# Each round writes its number into one more page of the top, covers it, forgets the snapshot and merges. What was written
# is noted in a file once the write is over.
_ROUNDS = """
import asyncio, sys, os
from pathlib import Path
from pileus.base import process
from pileus.drivers.volume.local import LocalVolumes
from pileus.hostapi.spec import VolumeSpec

async def main():
    root = Path(sys.argv[1])
    uid = int(sys.argv[2]) or None
    volumes = LocalVolumes(root, None, tool_uid=uid)
    async def key(_): return b"k" * 32
    await volumes.open(key, lambda _: None)
    await volumes.ensure(VolumeSpec(volume_id="vol-1", size=16 << 20))
    pending = await volumes.uncovered("vol-1")
    if pending: await volumes.covered("vol-1")
    print("ready", flush=True)
    log = root / "log"
    start = len(log.read_bytes()) if log.exists() else 0
    for number in range(start, 4000):
        top = (await volumes.layers("vol-1"))[0].path
        value = number % 251 + 1
        await process.run("qemu-io", "-f", "qcow2", "-c", f"write -P {value} {number * 4096} 4k", str(top))
        with log.open("ab") as file: file.write(bytes([value]))
        await volumes.cover("vol-1", f"snap-{number}")
        await volumes.covered("vol-1")
        for state in await volumes.observe():
            for snapshot_id in state.snapshots:
                if snapshot_id != f"snap-{number}": await volumes.forget("vol-1", snapshot_id)
        while (layer := await volumes.next_merge("vol-1")) is not None:
            await volumes.merge("vol-1", layer)
        await volumes.ensure(VolumeSpec(volume_id="vol-2", size=(number + 1) << 20))
        await volumes.cover("vol-2", "snap-x")
        await volumes.remove("vol-2")

asyncio.run(main())
"""


class NoImages:
    async def observe(self) -> list[object]:
        return []

    async def locate(self, content: str) -> object:
        raise PermanentError(content)


async def open_key(key_id: str) -> bytes:
    return b"k" * 32


@pytest.mark.slow
async def test_killed_at_any_moment_a_chain_keeps_every_byte(tmp_path: Path) -> None:
    dice = random.Random(11)
    for _ in range(8):
        child = process.spawn(sys.executable, "-c", _ROUNDS, str(tmp_path), str(TOOL_UID or 0), stdout=-1)
        assert child.stdout is not None
        assert await asyncio.to_thread(child.stdout.readline) == b"ready\n"
        await asyncio.sleep(dice.uniform(0.05, 0.6))
        child.kill()
        child.communicate()
        await asyncio.sleep(0.1)  # a tool that it ran dies with it
        volumes = LocalVolumes(tmp_path, NoImages(), tool_uid=TOOL_UID)  # type: ignore[arg-type]
        await volumes.open(open_key, lambda _: None)
        states = {state.volume_id: state for state in await volumes.observe()}
        assert not [state.detail for state in states.values() if state.detail]
        assert not [path for path in (tmp_path / "volumes").iterdir() if path.name.startswith(".")]
        if await volumes.uncovered("vol-1") is not None:
            await volumes.covered("vol-1")
        layers = await volumes.layers("vol-1")
        for layer in layers:
            await process.run("qemu-img", "check", "-q", "-U", str(layer.path))
        log = (tmp_path / "log").read_bytes() if (tmp_path / "log").exists() else b""
        checks = [word for place, value in enumerate(log) for word in ("-c", f"read -P {value} {place * 4096} 4k")]
        if checks:
            out = await process.run("qemu-io", "-r", "-f", "qcow2", *checks, str(layers[0].path))
            assert b"failed" not in out
        await volumes.ensure(VolumeSpec(volume_id="vol-1", size=16 * MIB))
        await volumes.close()
    assert len((tmp_path / "log").read_bytes()) > 3
