"""What callers are told when the database is busy, gone or failing, and that the store recovers."""

import asyncio
import sqlite3
import threading

import psycopg
import pytest
from sqlalchemy.exc import OperationalError
from store_records import KINDS, House, house

from pileus.store import OutcomeUnknown, StoreBusy, StoreUnavailable, open_store


@pytest.fixture
def holder(database_url):
    """A foreign connection that can take the right to write and keep it."""
    if database_url.startswith("sqlite"):
        connection = sqlite3.connect(database_url.removeprefix("sqlite:///"), isolation_level=None)
        take = "BEGIN IMMEDIATE"
    else:
        connection = psycopg.connect(database_url, autocommit=True)
        take = "BEGIN; SELECT pg_advisory_xact_lock(7020735100)"
    yield lambda: connection.execute(take), lambda: connection.execute("ROLLBACK")
    connection.close()


def test_a_database_that_others_keep_for_themselves_is_busy_and_can_be_read(reopened, holder):
    store = reopened(patience=0.05)
    take, give = holder
    take()
    with pytest.raises(StoreBusy):
        store.transact(lambda tx: tx.put(house("h-1")))
    assert store.view().list(House) == []
    give()
    store.transact(lambda tx: tx.put(house("h-1")))
    assert [h.id for h in store.view().list(House)] == ["h-1"]


def test_a_short_wait_for_the_right_to_write_is_not_noticed(reopened, holder):
    store = reopened(patience=30)
    take, give = holder
    take()
    work = store._writer.start(lambda tx: tx.put(house("h-1")))
    give()
    assert work.result(timeout=30).id == "h-1"


def test_a_commit_that_breaks_off_has_an_unknown_outcome_and_the_store_goes_on(store, monkeypatch):
    def broken(*_):
        raise OperationalError("COMMIT", {}, Exception("disk I/O error"))

    with monkeypatch.context() as patch:
        patch.setattr(type(store._backend._engine.dialect), "do_commit", broken)
        with pytest.raises(OutcomeUnknown, match="disk I/O error"):
            store.transact(lambda tx: tx.put(house("h-1")))
    store.transact(lambda tx: tx.put(house("h-2")))
    assert [h.id for h in store.view().list(House)] == ["h-2"]


def test_a_commit_of_unknown_outcome_is_not_done_again(store, monkeypatch):
    """It did happen: works that shared it must not run a second time."""
    runs: list[str] = []
    dialect = type(store._backend._engine.dialect)
    really_commit = dialect.do_commit

    def broken_afterwards(self, connection):
        really_commit(self, connection)
        raise OperationalError("COMMIT", {}, Exception("connection lost"))

    def work(tx, name):
        runs.append(name)
        tx.put(house(name))

    go = threading.Event()
    first = store._writer.start(lambda tx: go.wait(30))  # while it runs the others gather
    with monkeypatch.context() as patch:
        patch.setattr(dialect, "do_commit", broken_afterwards)
        jobs = [store._writer.start(lambda tx, name=name: work(tx, name)) for name in ("a", "b", "c")]
        go.set()
        assert {type(job.exception(timeout=30)) for job in (first, *jobs)} == {OutcomeUnknown}
    assert runs == ["a", "b", "c"]
    assert [h.id for h in store.view().list(House)] == ["a", "b", "c"]


def test_a_work_that_the_database_refuses_does_not_hurt_those_that_share_its_commit(store, monkeypatch):
    from pileus.store import log

    write = log.write

    def picky(backend, connection, writes, **options):
        if any(record_id == "bad" for _, record_id in writes):
            raise RuntimeError("the database does not like it")
        return write(backend, connection, writes, **options)

    monkeypatch.setattr(log, "write", picky)
    go = threading.Event()
    store._writer.start(lambda tx: go.wait(30))  # while it runs the others gather
    results = [store._writer.start(lambda tx, name=name: tx.put(house(name))) for name in ("a", "bad", "b")]
    go.set()
    assert [type(each.exception(timeout=30)) for each in results] == [type(None), RuntimeError, type(None)]
    assert {h.id for h in store.view().list(House)} == {"a", "b"}


@pytest.mark.postgresql
async def test_the_store_survives_a_crash_of_the_server(postgresql, clock):
    store = open_store(postgresql.fresh_url(), KINDS, clock)
    watch = store.watch()
    await store.submit(lambda tx: tx.put(house("h-1")))
    assert [change.id for change in await anext(watch)] == ["h-1"]

    postgresql.stop("immediate")
    with pytest.raises(StoreUnavailable):
        store.view()
    with pytest.raises(StoreUnavailable):
        await store.submit(lambda tx: tx.put(house("h-2")))
    postgresql.start()

    await store.submit(lambda tx: tx.put(house("h-3")))
    async with asyncio.timeout(30):
        assert [change.id for change in await anext(watch)] == ["h-3"]
    assert [h.id for h in store.view().list(House)] == ["h-1", "h-3"]
    await asyncio.to_thread(store.close)
