"""The reconcile loop: never twice at once, never spinning, never given up."""

import asyncio

import pytest

from pileus.agent.loop import Loop, Signal
from pileus.base.clock import SystemClock
from pileus.drivers.errors import RetryableError


class QuickClock(SystemClock):
    """Sleeps for no time, and keeps what it was asked to sleep."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(round(seconds, 3))
        await asyncio.sleep(0)


class FrozenClock(SystemClock):
    """Sleeps until somebody lets it go on."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self.over = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        self.asked.append(seconds)
        await self.over.wait()


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_it_runs_once_and_again_when_woken() -> None:
    passes = 0

    async def work() -> None:
        nonlocal passes
        passes += 1

    loop = Loop("test", work, SystemClock())
    await turns()
    assert passes == 1
    loop.wake()
    loop.wake()
    await turns()
    assert passes == 2
    await loop.stop()
    loop.wake()
    await turns()
    assert passes == 2


async def test_a_wake_during_a_pass_brings_another_after_it() -> None:
    running, passes, gate = 0, 0, asyncio.Event()

    async def work() -> None:
        nonlocal running, passes
        running, passes = running + 1, passes + 1
        assert running == 1
        await gate.wait()
        running -= 1

    loop = Loop("test", work, SystemClock())
    await turns()
    loop.wake()
    await turns()
    assert passes == 1
    gate.set()
    await turns()
    assert passes == 2
    await loop.stop()


async def test_a_pass_says_when_the_next_is_due() -> None:
    clock = FrozenClock()
    passes = 0

    async def work() -> float:
        nonlocal passes
        passes += 1
        return 7.0

    loop = Loop("test", work, clock)
    await turns()
    assert (passes, clock.asked) == (1, [7.0])
    clock.over.set()
    await turns(5)
    assert passes > 1
    await loop.stop()


@pytest.mark.parametrize("error", [RetryableError("no"), RuntimeError("what?")])
async def test_failures_are_repeated_with_growing_pauses(error: Exception) -> None:
    clock = QuickClock()
    passes = 0

    async def work() -> None:
        nonlocal passes
        passes += 1
        if passes < 12:
            raise error

    loop = Loop("test", work, clock)
    for _ in range(50):
        await turns()
    await loop.stop()
    assert passes == 12
    pauses = [first + second for first, second in zip(clock.slept[::2], clock.slept[1::2], strict=True)]
    assert [round(pause, 1) for pause in pauses] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0, 10.0, 10.0]


async def test_what_fails_and_wakes_itself_does_not_spin() -> None:
    clock = FrozenClock()
    passes = 0

    async def work() -> None:
        nonlocal passes
        passes += 1
        loop.wake()
        raise RetryableError("no")

    loop = Loop("test", work, clock)
    await turns()
    assert passes == 1
    assert clock.asked == [0.1]
    await loop.stop()


async def test_an_interrupt_breaks_off_the_pass_and_starts_another() -> None:
    ends: list[str] = []

    async def work() -> None:
        ends.append("begun")
        if len(ends) == 1:
            try:
                await asyncio.Event().wait()
            finally:
                ends.append("broken off")

    loop = Loop("test", work, SystemClock())
    await turns()
    loop.interrupt()
    await turns()
    assert ends == ["begun", "broken off", "begun"]
    loop.interrupt()  # while nothing runs it is a wake
    await turns()
    assert ends[3:] == ["begun"]
    await loop.stop()


async def test_stopping_waits_for_the_pass_to_clean_up() -> None:
    cleaned = False

    async def work() -> None:
        nonlocal cleaned
        try:
            await asyncio.Event().wait()
        finally:
            await turns(3)
            cleaned = True

    loop = Loop("test", work, SystemClock())
    await turns()
    await loop.stop()
    assert cleaned


async def test_a_signal_wakes_all_who_wait_now_and_none_who_come_later() -> None:
    signal = Signal()
    tasks = [asyncio.create_task(signal.wait()) for _ in range(2)]
    await turns()
    signal.fire()
    await asyncio.gather(*tasks)
    late = asyncio.create_task(signal.wait())
    await turns()
    assert not late.done()
    late.cancel()
