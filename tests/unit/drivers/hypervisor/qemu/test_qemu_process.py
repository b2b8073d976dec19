"""Processes that outlive us, found by the lock file they hold. A sleeping program plays QEMU."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from pileus.drivers.hypervisor.qemu.home import Home
from pileus.drivers.hypervisor.qemu.process import GuestProcess, holders


def start(home: Home, *argv: str) -> GuestProcess:
    home.path.mkdir(exist_ok=True)
    lock = home.take_lock()
    try:
        return GuestProcess.start(argv or ("sleep", "60"), [lock])
    finally:
        os.close(lock)


async def test_a_process_is_found_by_its_lock_and_watched(tmp_path: Path) -> None:
    home = Home(tmp_path / "i-1")
    started = start(home)
    assert home.is_locked()
    assert holders([home.lock]) == {home.lock: started.pid}
    assert os.getsid(started.pid) == started.pid
    found = GuestProcess.find(started.pid, home.lock)
    assert found is not None
    os.kill(started.pid, signal.SIGKILL)
    await asyncio.wait_for(found.ended.wait(), 10)
    await asyncio.wait_for(started.ended.wait(), 10)
    assert -9 in {started.status, found.status}  # whoever saw it first has reaped it
    assert not home.is_locked()
    assert holders([home.lock]) == {}
    assert GuestProcess.find(started.pid, home.lock) is None


async def test_another_process_under_the_same_number_is_not_taken_for_it(tmp_path: Path) -> None:
    home, other = Home(tmp_path / "i-1"), Home(tmp_path / "i-2")
    stranger = start(other)
    home.path.mkdir()
    home.lock.touch()
    assert GuestProcess.find(stranger.pid, home.lock) is None
    await stranger.kill()


async def test_what_does_not_end_when_asked_is_killed(tmp_path: Path) -> None:
    stubborn = start(Home(tmp_path / "i-1"), "sh", "-c", "trap '' TERM; echo ready >&2; while :; do sleep 1; done")
    said = ""
    async with asyncio.timeout(10):
        while "ready" not in said:
            await asyncio.sleep(0.01)
            said += stubborn.complaints()
    await stubborn.end(patience=0.1)
    assert stubborn.status == -9


async def test_it_never_waits_for_someone_to_read_its_complaints(tmp_path: Path) -> None:
    talker = start(Home(tmp_path / "i-1"), "sh", "-c", "head -c 1000000 /dev/zero >&2; exit 3")
    await asyncio.wait_for(talker.ended.wait(), 10)
    assert talker.status == 3
    assert 0 < len(talker.complaints()) <= 65536


async def test_letting_go_leaves_it_running(tmp_path: Path) -> None:
    home = Home(tmp_path / "i-1")
    started = start(home)
    started.let_go()
    found = GuestProcess.find(started.pid, home.lock)
    assert found is not None
    await found.end()
    assert found.status == -signal.SIGTERM


async def test_what_can_not_be_started_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        start(Home(tmp_path / "i-1"), "no-such-program")
