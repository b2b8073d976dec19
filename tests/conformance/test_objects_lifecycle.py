"""A lifecycle run over a bucket."""

from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio

from pileus.base.clock import SystemClock
from pileus.engines.objects import lifecycle
from pileus.engines.objects.errors import NoSuchKey
from pileus.engines.objects.model import Attributes, Delete, Expired, Retention, Rule, RuleFilter
from pileus.engines.objects.store import open_objects

START = datetime(2026, 1, 1, tzinfo=UTC)


class Calendar(SystemClock):
    """The day is the test's; waiting is not."""

    def __init__(self) -> None:
        self.day = 0

    def now(self) -> datetime:
        return START + timedelta(days=self.day)


@pytest.fixture
def calendar():
    return Calendar()


@pytest_asyncio.fixture
async def store(tmp_path, calendar):
    store = await open_objects(tmp_path / "objects", calendar)
    await store.create_bucket("bucket", account="1", region="r")
    yield store
    await store.close()


async def body(data: bytes):
    yield data


async def put(store, key: str, data: bytes = b"x", **attributes):
    return await store.put("bucket", key, body(data), attributes=Attributes(**attributes))


async def keys(store) -> list[str]:
    return [entry.key for entry in (await store.list("bucket")).entries]


async def versions(store) -> list[tuple[str, bool]]:
    return [(entry.key, entry.delete_marker) for entry in (await store.list_versions("bucket")).entries]


@pytest.fixture(autouse=True)
def small_pages(monkeypatch):
    monkeypatch.setattr(lifecycle, "_PAGE", 4)
    monkeypatch.setattr(lifecycle, "_BATCH", 3)


async def test_objects_expire(store, calendar):
    for number in range(20):
        await put(store, f"logs/{number:02}", tags={"kind": str(number % 2)})
        await put(store, f"other/{number:02}")
    calendar.day = 5
    await put(store, "logs/new")
    rules = [Rule(filter=RuleFilter(prefix="logs/", tags={"kind": "1"}), days=3)]
    assert await store.expire("bucket", rules, calendar.now()) == Expired(objects=10)
    left = await keys(store)
    assert [key for key in left if key.startswith("logs/")] == [*(f"logs/{n:02}" for n in range(0, 20, 2)), "logs/new"]
    assert len(left) == 31
    assert await store.expire("bucket", rules, calendar.now()) == Expired()
    assert await store.expire("bucket", [], calendar.now()) == Expired()


async def test_versions_go_in_their_order(store, calendar):
    await store.set_versioning("bucket", "Enabled")
    for key in ("a", "b"):
        for day in range(10):
            calendar.day = day
            await put(store, key, bytes([day]))
    calendar.day = 30
    rules = [Rule(noncurrent_days=5, newer_noncurrent_versions=3)]
    assert await store.expire("bucket", rules, calendar.now()) == Expired(versions=12)
    assert await versions(store) == [("a", False)] * 4 + [("b", False)] * 4
    async with await store.open("bucket", "a") as reading:
        assert [piece async for piece in reading.stream()] == [bytes([9])]
    first = [Rule(days=20)]
    assert await store.expire("bucket", first, calendar.now()) == Expired(objects=2)
    assert await keys(store) == []
    assert await versions(store) == [("a", True), *[("a", False)] * 4, ("b", True), *[("b", False)] * 4]
    calendar.day = 60
    every = [Rule(noncurrent_days=1), Rule(expired_delete_marker=True)]
    assert await store.expire("bucket", every, calendar.now()) == Expired(versions=8)
    assert await store.expire("bucket", every, calendar.now()) == Expired(markers=2)
    assert await versions(store) == []


async def test_what_is_locked_stays(store, calendar):
    await store.create_bucket("locked", account="1", region="r", object_lock=True)
    for until in (10, 40):
        retention = Retention(mode="GOVERNANCE", until=START + timedelta(days=until))
        await store.put("locked", "a", body(b"1"), attributes=Attributes(retention=retention))
    await store.delete("locked", [Delete(key="a")], owner="1")
    calendar.day = 20
    assert await store.expire("locked", [Rule(noncurrent_days=1)], calendar.now()) == Expired(versions=1)
    assert len((await store.list_versions("locked")).entries) == 2


async def test_unfinished_uploads_are_aborted(store, calendar):
    for key in ("a", "b/1"):
        upload = await store.create_upload("bucket", key, attributes=Attributes(), initiator="1")
        await store.put_part("bucket", key, upload.upload_id, 1, body(b"x" * 100_000))
    rules = [Rule(filter=RuleFilter(prefix="b/"), abort_days=2)]
    calendar.day = 1
    assert await store.expire("bucket", rules, calendar.now()) == Expired()
    calendar.day = 2
    assert await store.expire("bucket", rules, calendar.now()) == Expired(uploads=1)
    assert [upload.key for upload in (await store.list_uploads("bucket")).uploads] == ["a"]


async def test_what_was_written_again_meanwhile_stays(store, calendar, monkeypatch):
    await put(store, "a")
    calendar.day = 5
    decide = lifecycle.decide
    seen = []

    def slow(rules, line, now):
        seen.append(line)
        return decide(rules, line, now)

    monkeypatch.setattr(lifecycle, "decide", slow)
    index = store._index
    read = index.read

    async def and_then_it_changes(function):
        page = await read(function)
        monkeypatch.setattr(index, "read", read)
        await put(store, "a", b"new")
        return page

    monkeypatch.setattr(index, "read", and_then_it_changes)
    assert await store.expire("bucket", [Rule(days=1)], calendar.now()) == Expired()
    assert len(seen) == 1
    assert (await store.head("bucket", "a")).size == 3
    with pytest.raises(NoSuchKey):
        await store.head("bucket", "b")
