"""Volumes that two guests have at once, served by a process of their own."""

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from hypervisor_guest import program
from test_hypervisor_qemu_disks import (
    FIRST,
    RECORD,
    SIZE,
    WRITER,
    Chain,
    hypervisor,
    qemu_img,
    records,
    seen,
    start,
    written,
)

from pileus.drivers.errors import PermanentError, RetryableError
from pileus.drivers.hypervisor.interface import Disk, DiskLayer
from pileus.drivers.hypervisor.qemu import QemuHypervisor
from pileus.drivers.hypervisor.qemu.confinement import EXPORT_UIDS
from pileus.drivers.hypervisor.qemu.exports import Exports

pytestmark = [pytest.mark.vm, pytest.mark.root]

__all__ = ["hypervisor"]  # the fixture


@pytest.fixture
async def exports(tmp_path: Path) -> AsyncIterator[Exports]:
    exports = Exports(tmp_path)
    await exports.open()
    try:
        yield exports
    finally:
        await exports.close()
        exports = Exports(tmp_path)
        await exports.open()
        for volume_id in await exports.observe():
            await exports.stop(volume_id)
        await exports.close()


def shared(layer: DiskLayer, **facts: object) -> Disk:
    return msgspec.structs.replace(Disk(volume_id="vol-2", index=1, serial="vol2", layers=(layer,)), **facts)


async def test_what_one_guest_writes_the_other_reads(
    hypervisor: QemuHypervisor, exports: Exports, tmp_path: Path
) -> None:
    mine, other = f"$(({FIRST} + me))", f"$(({FIRST} + 3 - me))"
    chain = Chain(
        tmp_path,
        start=program(
            "me=$(cut -c 3 /sys/class/dmi/id/board_asset_tag)",  # of i-1 and i-2
            "while :; do",
            f'  printf "from $me" | dd of=/dev/$disk bs={RECORD} seek={mine} conv=notrunc,sync,fsync 2> /dev/null',
            f"  got=$(dd if=/dev/$disk bs={RECORD} skip={other} count=1 iflag=direct 2> /dev/null | head -c 6)",
            '  echo "READS $got"; sleep 0.2',
            "done",
        ),
    )
    layer = await exports.ensure(chain.disk())
    for name in ("i-1", "i-2"):
        await start(hypervisor, tmp_path, name=name)
    for name in ("i-1", "i-2"):
        await seen(hypervisor, "READY", name)
        await hypervisor.plug(name, shared(layer))
    await seen(hypervisor, "READS from 2")
    await seen(hypervisor, "READS from 1", "i-2")


async def test_a_served_volume_is_frozen_merged_grown_and_outlives_its_agent(
    hypervisor: QemuHypervisor, exports: Exports, tmp_path: Path
) -> None:
    chain = Chain(tmp_path, start=WRITER)
    layer = await exports.ensure(chain.disk())
    assert await exports.ensure(chain.disk()) == layer
    await start(hypervisor, tmp_path, shared(layer))
    least = await written(hypervisor)
    for turn in range(3):
        frozen = chain.top
        fresh = chain.fresh_top()
        for _ in range(2):
            await exports.freeze("vol-2", fresh)
        assert records(chain.content(frozen)) >= least
        least = await written(hypervisor)
        pid = exports.pid("vol-2")
        await exports.close()
        exports = Exports(tmp_path)
        await exports.open()
        assert (await exports.observe(), exports.pid("vol-2")) == (["vol-2"], pid)
        if turn:
            for _ in range(2):
                await exports.merge("vol-2", frozen)
            frozen.unlink()
    await exports.ensure(chain.disk(size=2 * SIZE, iops=1000))
    async with asyncio.timeout(60):
        while True:
            try:
                await hypervisor.plug("i-1", shared(layer, size=2 * SIZE))
                break
            except RetryableError:
                await asyncio.sleep(0.2)
    await seen(hypervisor, f"SEES vol2 {2 * SIZE}")
    least = await written(hypervisor)
    await hypervisor.cut_power("i-1")
    await exports.stop("vol-2")
    await exports.stop("vol-2")
    assert not await exports.observe()
    assert not list((tmp_path / "exports").iterdir())
    assert records(chain.content(chain.top)[:SIZE]) >= least
    qemu_img("check", "-q", str(chain.top))


async def test_guests_wait_for_a_server_that_was_killed(
    hypervisor: QemuHypervisor, exports: Exports, tmp_path: Path
) -> None:
    chain = Chain(tmp_path, start=WRITER)
    layer = await exports.ensure(chain.disk())
    await start(hypervisor, tmp_path, shared(layer))
    await written(hypervisor)
    pid = exports.pid("vol-2")
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(20):
        while await exports.observe():
            await asyncio.sleep(0.05)
    assert await exports.ensure(chain.disk()) == layer
    least = await written(hypervisor)
    await hypervisor.cut_power("i-1")
    await exports.stop("vol-2")
    assert records(chain.content(chain.top)) >= least


async def test_the_server_is_confined_and_its_files_are_its_own(
    hypervisor: QemuHypervisor, exports: Exports, tmp_path: Path
) -> None:
    chain = Chain(tmp_path)
    await exports.ensure(chain.disk())
    pid = exports.pid("vol-2")
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    status = {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
    assert (status["Seccomp"], status["NoNewPrivs"], status["Groups"]) == ("2", "1", "")
    assert not any(int(status[name], 16) for name in ("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb"))
    assert int(re.split(r"\s", status["Uid"])[0]) in EXPORT_UIDS
    with pytest.raises(RetryableError):
        await start(hypervisor, tmp_path, chain.disk())
    missing = chain.disk().layers[0]
    with pytest.raises(PermanentError):
        gone = msgspec.structs.replace(missing, path=tmp_path / "nothing")
        await exports.ensure(Disk(volume_id="vol-3", index=1, serial="vol3", layers=(gone,)))
    await exports.stop("vol-3")
