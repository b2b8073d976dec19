"""Interfaces of running guests: what a real guest sees of them, and what a killed agent leaves."""

import asyncio
import os
import random
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import hypervisor_guest
import msgspec
import pytest
from hypervisor_taps import Taps, taps_of

from pileus.base import process
from pileus.drivers.errors import RetryableError
from pileus.drivers.hypervisor.interface import Disk, DiskLayer
from pileus.drivers.hypervisor.qemu import QemuHypervisor
from pileus.hostapi.spec import NicSpec

pytestmark = [pytest.mark.vm, pytest.mark.root]

FIRST = NicSpec(interface_id="eni-0", mac="02:00:00:00:00:10", index=0)
SECOND = NicSpec(interface_id="eni-1", mac="02:00:00:00:00:11", index=2)


_ECHO = """
import socket, sys, time
for _ in range(100):
    try:
        with socket.create_connection((sys.argv[1], 7), timeout=5) as link:
            link.sendall(b"hello")
            assert link.recv(5) == b"hello"
            break
    except OSError:
        time.sleep(0.1)
else:
    sys.exit("no answer")
"""


@pytest.fixture
def taps() -> Iterator[Taps]:
    taps = Taps()
    try:
        yield taps
    finally:
        taps.destroy()


@pytest.fixture
async def hypervisor(tmp_path: Path) -> AsyncIterator[QemuHypervisor]:
    hypervisor = QemuHypervisor(tmp_path)
    try:
        await hypervisor.open(lambda _: None)
        yield hypervisor
    finally:
        await remove_all(hypervisor)


async def remove_all(hypervisor: QemuHypervisor) -> None:
    for guest in await hypervisor.observe():
        await hypervisor.remove(guest.instance_id)
    await hypervisor.close()


async def start(hypervisor: QemuHypervisor, root: Path, taps: Taps) -> None:
    """A guest with the first interface, that tells of all others."""
    path = root / "root"
    process.run_sync("qemu-img", "create", "-q", "-f", "qcow2", str(path), "1M")
    layer = DiskLayer(path=path, format="qcow2", writable=True)
    disk = Disk(volume_id="vol-1", index=0, serial="root", layers=(layer,))
    guest = msgspec.structs.replace(hypervisor_guest.guest_spec(do="disks"), nics=(FIRST,))
    tap = taps.open("tap0", "10.9.0.1/24")
    try:
        await hypervisor.ensure_running(guest, hypervisor_guest.boot_files(), [disk], {"eni-0": tap})
    finally:
        os.close(tap)
    await says(hypervisor, b"READY")


async def plug(hypervisor: QemuHypervisor, taps: Taps, nic: NicSpec = SECOND) -> None:
    """As the agent does it: again and again while the guest or the tap are not yet ready for it."""
    async with asyncio.timeout(60):
        while True:
            try:
                tap = taps.open("tap1", "10.9.1.1/24")
                try:
                    await hypervisor.plug_nic("i-1", nic, tap)
                finally:
                    os.close(tap)
            except (RetryableError, OSError):
                await asyncio.sleep(0.1)
            else:
                return


async def says(hypervisor: QemuHypervisor, text: bytes, times: int = 1) -> None:
    async with asyncio.timeout(60):
        while (await hypervisor.console_output("i-1")).count(text) < times:
            await asyncio.sleep(0.05)


async def answers(taps: Taps, address: str) -> None:
    await taps.run(sys.executable, "-c", _ECHO, address)


async def interfaces(hypervisor: QemuHypervisor) -> tuple[str, ...]:
    (state,) = await hypervisor.observe()
    return state.interfaces


async def has(hypervisor: QemuHypervisor, *wanted: str) -> None:
    async with asyncio.timeout(60):
        while await interfaces(hypervisor) != wanted:
            await asyncio.sleep(0.05)


def pid_of(hypervisor: QemuHypervisor) -> int:
    pid = hypervisor.pid("i-1")
    assert pid is not None
    return pid


async def test_an_interface_comes_carries_packets_and_goes(
    hypervisor: QemuHypervisor, tmp_path: Path, taps: Taps
) -> None:
    await start(hypervisor, tmp_path, taps)
    assert await interfaces(hypervisor) == ("eni-0",)
    for turn in (1, 2):
        await plug(hypervisor, taps)
        assert await interfaces(hypervisor) == ("eni-0", "eni-1")
        await says(hypervisor, b"SEES eth1 02:00:00:00:00:11", turn)
        await answers(taps, "10.9.1.2")
        await hypervisor.unplug_nic("i-1", "eni-1")
        await says(hypervisor, b"LOST eth1", turn)
        await has(hypervisor, "eni-0")
        assert taps_of(pid_of(hypervisor)) == {"tap0"}
    await answers(taps, "10.9.0.2")


async def test_a_guest_that_does_not_let_go_loses_the_link_at_once(
    hypervisor: QemuHypervisor, tmp_path: Path, taps: Taps
) -> None:
    await start(hypervisor, tmp_path, taps)
    await plug(hypervisor, taps)
    await says(hypervisor, b"SEES eth1")
    os.kill(pid_of(hypervisor), signal.SIGSTOP)  # QEMU itself is busy for a while
    asyncio.get_running_loop().call_later(1.0, os.kill, pid_of(hypervisor), signal.SIGCONT)
    await hypervisor.unplug_nic("i-1", "eni-1", force=True)
    assert await interfaces(hypervisor) == ("eni-0",)
    assert taps_of(pid_of(hypervisor)) == {"tap0"}
    await hypervisor.unplug_nic("i-1", "eni-1", force=True)
    await plug(hypervisor, taps)
    await says(hypervisor, b"SEES eth1", 2)
    await answers(taps, "10.9.1.2")


# An agent in a process of its own, to be killed: it plugs and tears out for as long as it lives.
_AGENT = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import test_hypervisor_nics as nics
from hypervisor_taps import Taps
from pileus.drivers.hypervisor.qemu import QemuHypervisor

async def main():
    hypervisor = QemuHypervisor(Path(sys.argv[1]))
    taps = Taps.__new__(Taps)
    taps.namespace = sys.argv[3]
    await hypervisor.open(lambda _: None)
    print("opened", flush=True)
    while True:
        await nics.plug(hypervisor, taps)
        await hypervisor.unplug_nic("i-1", "eni-1", force=True)

asyncio.run(main())
"""


@pytest.mark.slow
async def test_an_agent_killed_at_its_work_on_interfaces_leaves_what_the_next_one_repairs(
    tmp_path: Path, taps: Taps
) -> None:
    hypervisor, dice = QemuHypervisor(tmp_path), random.Random(4)
    await hypervisor.open(lambda _: None)
    try:
        await start(hypervisor, tmp_path, taps)
        for _ in range(12):
            await hypervisor.close()
            here = str(Path(__file__).parent)
            words = (sys.executable, "-c", _AGENT, str(tmp_path), here, taps.namespace)
            child = process.spawn(*words, stdout=-1)
            try:
                assert child.stdout is not None
                assert await asyncio.to_thread(child.stdout.readline) == b"opened\n"
                await asyncio.sleep(dice.uniform(0.0, 0.6))
            finally:
                child.kill()
                child.communicate()
            hypervisor = QemuHypervisor(tmp_path)
            await hypervisor.open(lambda _: None)
            assert ("eni-1" in await interfaces(hypervisor)) == ("tap1" in taps_of(pid_of(hypervisor)))
            await hypervisor.unplug_nic("i-1", "eni-1", force=True)
            assert await interfaces(hypervisor) == ("eni-0",)
            assert taps_of(pid_of(hypervisor)) == {"tap0"}
        await plug(hypervisor, taps)
        await answers(taps, "10.9.1.2")
    finally:
        await remove_all(hypervisor)
