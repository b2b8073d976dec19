"""The host's list of conversions: tried again, reported, broken off, forgotten."""

import asyncio

import pytest

from pileus.agent.conversions import ConversionKeeper
from pileus.agent.reports import Board
from pileus.base.clock import SystemClock
from pileus.drivers.errors import PermanentError, RetryableError
from pileus.drivers.image.conversion_interface import Converted
from pileus.hostapi.spec import ConversionSpec


class Quick(SystemClock):
    async def sleep(self, seconds):
        await asyncio.sleep(0)


class Scripted:
    """Answers with what it was given, one after the other; the last for ever. None: never."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = 0
        self.forgotten = []

    async def convert(self, spec, keys, progress):
        self.asked += 1
        progress("fetching", 10)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer is None:
            await asyncio.Event().wait()
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def forget(self, task_id):
        self.forgotten.append(task_id)


SPEC = ConversionSpec(task_id="t1", source="ab", size=1, target_format="raw")


async def no_key(_):
    raise AssertionError


@pytest.fixture
def keep():
    """``keep(conversions)``: a keeper of them, and its board."""
    keepers = []

    def make(conversions):
        board = Board("h1", Quick(), coalesce=0)
        keeper = ConversionKeeper(conversions, no_key, board, Quick())
        keepers.append(keeper)
        return keeper, board

    return make


async def until(board, phase):
    for _ in range(1000):
        report = await asyncio.wait_for(board.next_report(), 5)
        for one in report.conversions:
            if one.phase == phase:
                return one
    raise AssertionError(phase)


async def test_it_is_tried_until_it_is_done(keep):
    done = Converted(root="cd", size=5)
    conversions = Scripted(RetryableError("busy"), ValueError("a bug"), done)
    keeper, board = keep(conversions)
    keeper.accept([SPEC])
    seen = await until(board, "done")
    assert (seen.root, seen.size, seen.progress, conversions.asked) == ("cd", 5, 100, 3)
    keeper.accept([SPEC])
    await asyncio.sleep(0.01)
    assert (conversions.asked, conversions.forgotten) == (3, [])
    keeper.accept([])
    await asyncio.sleep(0.01)
    assert conversions.forgotten == ["t1"]
    board.want_full()
    assert (await board.next_report()).conversions == ()
    await keeper.close()


async def test_what_can_not_be_is_said_once(keep):
    conversions = Scripted(PermanentError("ClientError: no"))
    keeper, board = keep(conversions)
    keeper.accept([SPEC])
    assert (await until(board, "failed")).detail == "ClientError: no"
    await asyncio.sleep(0.01)
    assert conversions.asked == 1
    await keeper.close()


async def test_one_that_is_not_wanted_any_more_is_broken_off(keep):
    conversions = Scripted(None)
    keeper, board = keep(conversions)
    keeper.accept([SPEC])
    await until(board, "working")
    keeper.accept([])
    await asyncio.sleep(0.01)
    assert conversions.forgotten == ["t1"]
    await keeper.close()


async def test_a_host_without_a_converter_says_so(keep):
    keeper, board = keep(None)
    keeper.accept([SPEC])
    assert "can't convert" in (await until(board, "failed")).detail
    await keeper.close()
