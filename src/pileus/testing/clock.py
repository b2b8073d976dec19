"""Time in the hands of a test: a clock that stands still until it is moved, and one that runs and can be put forward."""

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta

from pileus.base.clock import SystemClock


class ManualClock:
    """A ``pileus.base.clock.Clock``. ``sleep`` moves it, and returns at once."""

    def __init__(self, start: datetime = datetime(2026, 11, 23, 12, tzinfo=UTC)) -> None:
        self._now = start

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._now.timestamp()

    def advance(self, seconds: float) -> None:
        """Lets time pass."""
        self._now += timedelta(seconds=seconds)

    async def sleep(self, seconds: float) -> None:
        self.advance(seconds)


class ForwardClock:
    """A ``pileus.base.clock.Clock`` that runs as the machine's does, and ahead of it once it was put forward.

    Whoever sleeps until a moment that was skipped wakes up at once. For one event loop.
    """

    def __init__(self) -> None:
        self._real = SystemClock()
        self._ahead = 0.0
        self._sleepers: set[asyncio.Event] = set()

    def now(self) -> datetime:
        return self._real.now() + timedelta(seconds=self._ahead)

    def monotonic(self) -> float:
        return self._real.monotonic() + self._ahead

    def advance(self, seconds: float) -> None:
        """Puts it forward."""
        self._ahead += seconds
        for moved in self._sleepers:
            moved.set()

    async def sleep(self, seconds: float) -> None:
        moved = asyncio.Event()
        self._sleepers.add(moved)
        until = self.monotonic() + seconds
        try:
            while (left := until - self.monotonic()) > 0:
                moved.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(left):
                        await moved.wait()
        finally:
            self._sleepers.discard(moved)
