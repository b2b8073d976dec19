"""Watches are complete, in order, and woken by other processes."""

import asyncio
import socket

import pytest
from store_records import House, house

from pileus.store import Change, LogTrimmed, open_store


async def collect(watch, count):
    changes = []
    async with asyncio.timeout(30):
        async for batch in watch:
            assert batch
            changes += batch
            if len(changes) >= count:
                return changes
    return changes


async def test_a_watch_tells_what_was_written_and_deleted_after_its_beginning(store):
    await store.submit(lambda tx: tx.put(house("h-0")))
    watch = store.watch()
    await store.submit(lambda tx: tx.put(house("h-1")))
    await store.submit(lambda tx: [tx.put(tx.get(House, "h-1")), tx.delete(tx.get(House, "h-0"))])
    assert await collect(watch, 3) == [
        Change(2, "test.house", "h-1", False),
        Change(3, "test.house", "h-1", False),
        Change(4, "test.house", "h-0", True),
    ]


async def test_a_watch_can_begin_anywhere_in_the_log(store, reopened):
    for number in range(5):
        await store.submit(lambda tx, number=number: tx.put(house(f"h-{number}")))
    for each in (store, reopened()):
        assert [change.seq for change in await collect(each.watch(2), 3)] == [3, 4, 5]
        assert [change.seq for change in await collect(each.watch(0), 5)] == [1, 2, 3, 4, 5]


async def test_many_changes_come_in_pages_and_none_is_missing(store, reopened):
    for part in range(3):
        await store.submit(lambda tx, part=part: [tx.put(house(f"h-{part}-{n}")) for n in range(900)])
    assert [change.seq for change in await collect(reopened().watch(0), 2700)] == list(range(1, 2701))


async def test_claims_and_leases_are_not_told(store):
    watch = store.watch()
    await store.submit(lambda tx: tx.claim("s", "k", "h"))
    await asyncio.to_thread(store.lease, "l", "me", 5)
    await store.submit(lambda tx: tx.put(house("h-1")))
    assert [change.id for change in await collect(watch, 1)] == ["h-1"]


async def test_a_watch_is_woken_by_another_store_and_its_view_shows_what_it_told(store, reopened):
    other = reopened()
    watch = store.watch()
    for number in range(20):
        await other.submit(lambda tx, number=number: tx.put(house(f"h-{number}")))
        assert [change.id for change in await collect(watch_from(watch), 1)] == [f"h-{number}"]
        assert store.view().get(House, f"h-{number}") is not None


async def watch_from(watch):
    """Goes on with a watch that another loop has used, which must not close it."""
    while True:
        yield await anext(watch)


async def test_several_watches_see_the_same(store):
    watches = [store.watch() for _ in range(5)]
    tasks = [asyncio.create_task(collect(watch, 50)) for watch in watches]
    await asyncio.gather(*(store.submit(lambda tx, n=n: tx.put(house(f"h-{n}"))) for n in range(50)))
    told = await asyncio.gather(*tasks)
    assert all(changes == told[0] for changes in told)
    assert [change.seq for change in told[0]] == list(range(1, 51))


async def test_a_watch_that_the_log_does_not_reach_back_to_says_so(reopened):
    store = reopened(keep=10)
    for part in range(2):
        await store.submit(lambda tx, part=part: [tx.put(house(f"h-{part}-{n}")) for n in range(600)])
    fresh = reopened()
    with pytest.raises(LogTrimmed):
        await collect(fresh.watch(5), 1)
    with pytest.raises(LogTrimmed):
        await collect(fresh.watch(10_000), 1)
    assert [change.seq for change in await collect(fresh.watch(1195), 5)] == [1196, 1197, 1198, 1199, 1200]


async def test_a_watch_ends_when_the_store_closes(store):
    task = asyncio.create_task(collect(store.watch(), 1))
    await asyncio.sleep(0)
    await asyncio.to_thread(store.close)
    assert await asyncio.wait_for(task, 30) == []


async def test_sockets_of_processes_that_died_are_removed(tmp_path, clock):
    store = open_store(f"sqlite:///{tmp_path}/store.db", [House], clock, durable=False)
    dead = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    dead.bind(str(tmp_path / "watch" / "1-dead"))
    dead.close()
    watch = store.watch()
    await store.submit(lambda tx: tx.put(house("h-1")))
    await collect(watch, 1)
    assert "1-dead" not in [path.name for path in (tmp_path / "watch").iterdir()]
    await asyncio.to_thread(store.close)
    assert list((tmp_path / "watch").iterdir()) == []


async def test_a_database_in_a_directory_with_a_long_name_can_be_watched(tmp_path, clock):
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    stores = [open_store(f"sqlite:///{deep}/store.db", [House], clock, durable=False) for _ in range(2)]
    watch = stores[0].watch()
    await stores[1].submit(lambda tx: tx.put(house("h-1")))
    assert len(await collect(watch, 1)) == 1
    for store in stores:
        await asyncio.to_thread(store.close)


def test_what_changed_since_comes_with_the_view_that_it_leads_to(store, reopened):
    store.transact(lambda tx: tx.put(house("h-0")))
    other = reopened()
    _, before = other.changes_since(other.view().revision)
    store.transact(lambda tx: [tx.put(house("h-1")), tx.claim("s", "k", "h-1")])
    store.transact(lambda tx: tx.delete(tx.get(House, "h-0")))
    changes, view = other.changes_since(before.revision)
    assert [(change.id, change.deleted) for change in changes] == [("h-1", False), ("h-0", True)]
    assert [one.id for one in view.list(House)] == ["h-1"]
    assert other.changes_since(view.revision) == ([], view)
    with pytest.raises(LogTrimmed):
        other.changes_since(before.revision - 1)
    with pytest.raises(LogTrimmed):
        other.changes_since(view.revision + 1)
