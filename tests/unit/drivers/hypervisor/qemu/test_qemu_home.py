"""The directory of one guest: records, locks, sockets, and the rests of killed work."""

import os
import socket
from pathlib import Path

import pytest

from pileus.drivers.hypervisor.qemu.console import Console
from pileus.drivers.hypervisor.qemu.home import Home, Record, tidy

RECORD = Record(instance_id="i-1", uid=1000, boot=3, power="on", asked=True)


async def test_a_record_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    home = Home(tmp_path / "guests" / "i-1")
    assert home.load() is None
    await home.save(RECORD)
    assert home.load() == RECORD
    assert home.path.stat().st_mode & 0o777 == 0o700


async def test_the_lock_is_held_as_long_as_any_descriptor_is_open(tmp_path: Path) -> None:
    home = Home(tmp_path / "i-1")
    await home.save(RECORD)
    assert not home.is_locked()
    first = home.take_lock()
    second = os.dup(first)
    os.close(first)
    assert home.is_locked()
    with pytest.raises(BlockingIOError):
        home.take_lock()
    os.close(second)
    assert not home.is_locked()


async def test_the_monitor_has_a_socket_however_long_the_path(tmp_path: Path) -> None:
    home = Home(tmp_path / ("long" * 40) / "i-1")
    await home.save(RECORD)
    with home.listen():
        assert home.monitor.is_socket()
    with home.listen() as again:
        assert again.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)


async def test_the_rests_of_killed_work_are_removed_and_guests_are_kept(tmp_path: Path) -> None:
    guests = tmp_path / "guests"
    await Home(guests / "i-1").save(RECORD)
    (guests / "i-2").mkdir()
    (guests / "i-2" / "record.new").write_text("{")
    (guests / ".i-3-0a").mkdir()
    busy = Home(guests / "i-4")
    busy.path.mkdir()
    held = busy.take_lock()
    assert [home.path.name for home in tidy(guests)] == ["i-1"]
    assert sorted(path.name for path in guests.iterdir()) == ["i-1", "i-4"]
    os.close(held)
    tidy(guests)
    assert [path.name for path in guests.iterdir()] == ["i-1"]


def test_a_console_keeps_the_end_and_never_grows_beyond_twice_that(tmp_path: Path) -> None:
    console = Console(tmp_path / "console", 100)
    assert console.read() == b""
    written = b""
    for number in range(200):
        chunk = f"{number}\n".encode() * (number % 7)
        console.append(chunk)
        written += chunk
        assert console.read() == written[-100:]
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 200
    console.append(b"x" * 1000)
    assert console.read() == b"x" * 100
