"""Time that stands still until a test moves it."""

from datetime import UTC, datetime, timedelta


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
