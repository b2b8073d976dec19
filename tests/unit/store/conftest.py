from datetime import UTC, datetime, timedelta

import pytest
from store_records import KINDS

from pileus.store import open_store


class HandClock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.time = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.time.timestamp()

    async def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


@pytest.fixture
def clock():
    return HandClock()


@pytest.fixture
def reopened(database_url, clock):
    """Opens the database once more, as another process would; all are closed afterwards."""
    opened = []

    def reopen(**options):
        opened.append(open_store(database_url, KINDS, clock, durable=False, **options))
        return opened[-1]

    yield reopen
    for store in opened:
        store.close()


@pytest.fixture
def store(reopened):
    return reopened()
