"""What is told to the control plane: each change once, everything when asked for."""

import asyncio

import pytest

from pileus.agent.reports import Board
from pileus.base.clock import SystemClock
from pileus.hostapi.observation import GuestObservation, Phase, VolumeObservation


class NoClock(SystemClock):
    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


def guest(instance_id: str, phase: Phase = "running") -> GuestObservation:
    return GuestObservation(instance_id=instance_id, boot=1, phase=phase)


@pytest.fixture
def board() -> Board:
    return Board("host-1", NoClock())


async def nothing_more(board: Board) -> bool:
    report = asyncio.create_task(board.next_report())
    for _ in range(10):
        await asyncio.sleep(0)
    report.cancel()
    return not report.done()


async def test_changes_are_told_once_and_together(board: Board) -> None:
    board.put_guest(guest("i-1", "preparing"))
    board.put_guest(guest("i-1"))
    board.put_volume(VolumeObservation(volume_id="vol-1", phase="present"))
    board.put_network(7, ready=True)
    report = await board.next_report()
    assert (report.guests, report.revision, report.full) == ((guest("i-1"),), 7, False)
    assert [volume.volume_id for volume in report.volumes] == ["vol-1"]
    board.put_guest(guest("i-1"))
    board.put_network(7, ready=True)
    assert await nothing_more(board)
    board.put_guest(guest("i-2"))
    assert (await board.next_report()).guests == (guest("i-2"),)


async def test_a_full_report_tells_everything_but_what_was_dropped(board: Board) -> None:
    for number in range(3):
        board.put_guest(guest(f"i-{number}"))
    await board.next_report()
    board.drop("i-1")
    assert await nothing_more(board)
    board.want_full()
    report = await board.next_report()
    assert report.full
    assert {one.instance_id for one in report.guests} == {"i-0", "i-2"}


async def test_a_report_that_nobody_took_is_not_lost(board: Board) -> None:
    board.put_guest(guest("i-1"))
    waiting = asyncio.create_task(board.next_report())
    await asyncio.sleep(0)
    waiting.cancel()  # the connection broke
    await asyncio.gather(waiting, return_exceptions=True)
    assert (await board.next_report()).guests == (guest("i-1"),)


async def test_a_network_that_fails_is_told(board: Board) -> None:
    board.put_network(1, ready=True)
    await board.next_report()
    board.put_network(2, ready=False)
    report = await board.next_report()
    assert (report.revision, report.network_ready) == (2, False)
