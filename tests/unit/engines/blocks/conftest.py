"""Block stores in memory, with a clock of their own."""

import pytest

from pileus.engines.blocks.fake import MemoryShelf
from pileus.engines.blocks.ledger import Ledger
from pileus.engines.blocks.store import LocalBlocks


class Time:
    def __init__(self):
        self.seconds = 1000.0

    def __call__(self):
        return self.seconds


@pytest.fixture
def time():
    return Time()


@pytest.fixture
def shelf(time):
    return MemoryShelf(time)


@pytest.fixture
async def blocks(shelf, time):
    store = LocalBlocks(shelf, Ledger(None), now=time, grace=0.0)
    yield store
    await store.close()


@pytest.fixture
def session(blocks):
    return blocks.session()
