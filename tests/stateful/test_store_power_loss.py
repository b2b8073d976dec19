"""Power loss at any write of the store on SQLite loses nothing that was acknowledged.

A writer runs under strace; then the store is opened on what a power failure at many random moments could have left.
"""

import random
import sys
from pathlib import Path

import pytest
from lossy_disk import STRACE, Disk, Event, events
from store_process import KINDS, SCRIPT, check_groups

from pileus.base.clock import SystemClock
from pileus.base.process import spawn
from pileus.store import StoreError, open_store

pytestmark = pytest.mark.slow

GROUPS = 600
"""Enough for some checkpoints of the write-ahead log."""

FAILURES = 100


@pytest.fixture(scope="module")
def record(tmp_path_factory) -> tuple[str, list[Event]]:
    """The directory of the database, and all that happened there until the writer had ended."""
    base = tmp_path_factory.mktemp("power")
    directory, told = base / "db", base / "told"
    directory.mkdir()
    paths = [
        word for path in (directory, directory / "store.db", directory / "store.db-wal", told) for word in ("-P", path)
    ]
    writer = [sys.executable, SCRIPT, "groups", f"sqlite:///{directory}/store.db", "p", GROUPS]
    with told.open("wb") as output:
        assert spawn(*map(str, [*STRACE, *paths, "-o", base / "record", *writer]), stdout=output).wait() == 0
    assert len(told.read_text().split()) == GROUPS
    return str(directory), list(events(base / "record"))


def lose_power(record: tuple[str, list[Event]], disk: Disk, base: Path, seed: int) -> None:
    """Opens and checks the store after failures at random moments, which lie apart from each other."""
    _, happened = record
    chance = random.Random(seed)
    moments = set(chance.sample(range(len(happened)), FAILURES))
    told: set[str] = set()
    for moment, event in enumerate(happened):
        if event.what == "append":
            told.add(event.data.decode().strip())
        else:
            disk.happen(event)
        if moment in moments:
            left = base / str(moment)
            left.mkdir()
            disk.after_power_loss(left, chance)
            store = open_store(f"sqlite:///{left}/store.db", KINDS, SystemClock(), durable=False)
            try:
                assert len(check_groups(store, told) - told) <= 1
            finally:
                store.close()


def test_the_record_shows_checkpoints_and_a_sync_for_each_commit(record):
    """Otherwise the next test would prove little."""
    directory, happened = record
    written = [event for event in happened if event.what == "write" and event.name == f"{directory}/store.db"]
    synced = [event for event in happened if event.what == "sync" and event.name == f"{directory}/store.db-wal"]
    assert len(written) > 500
    assert len(synced) > GROUPS


@pytest.mark.parametrize("seed", range(2))
def test_power_loss_at_any_moment_loses_nothing_that_was_acknowledged(record, tmp_path, seed):
    lose_power(record, Disk(record[0], honest=True), tmp_path, seed)


def test_a_disk_that_ignores_syncs_is_found_out(record, tmp_path):
    """The check can fail: it does when nothing is ever synced."""
    with pytest.raises((AssertionError, StoreError)):
        lose_power(record, Disk(record[0], honest=False), tmp_path, 0)
