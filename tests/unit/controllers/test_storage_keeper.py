"""Which blocks the records need, and what the storage process makes of them."""

import asyncio
from datetime import timedelta

import pytest
from msgspec.structs import replace

from pileus.base.config import Config
from pileus.base.sealing import Sealer
from pileus.controllers.storage.keeper import StorageKeeper
from pileus.controllers.storage.roots import live_roots
from pileus.engines.blocks.fake import memory_blocks
from pileus.engines.blocks.interface import BLOCK, Noted
from pileus.engines.blocks.upload import upload
from pileus.records import KINDS, Snapshot, Volume
from pileus.records.snapshot import NO_VOLUME, BlockWriting
from pileus.store import open_store
from pileus.testing.clock import ForwardClock

WHO = {"account": "000000000001", "region": "us-east-1"}


@pytest.fixture
def clock():
    return ForwardClock()


@pytest.fixture
def store(tmp_path, clock):
    opened = open_store(f"sqlite:///{tmp_path}/store.db", KINDS, clock, durable=False)
    yield opened
    opened.close()


@pytest.fixture
async def blocks(clock):
    made = memory_blocks(lambda: clock.now().timestamp())
    yield made
    await made.close()


@pytest.fixture
def keeper(store, blocks, clock):
    return StorageKeeper(store, blocks, Sealer(bytes(32)), Config(), clock)


@pytest.fixture
def put(store, clock):
    def write(id_, **fields):
        made = Snapshot(**{"id": id_, "volume_id": NO_VOLUME, "size": 1, "started": clock.now(), **WHO, **fields})
        return store.transact(lambda tx: tx.put(made))

    return write


async def uploaded(session, *fills, size=1 << 30):
    async def blocks():
        for index, fill in enumerate(fills):
            yield index, bytes([fill]) * BLOCK

    return (await upload(session, blocks(), size=size)).root.hex()


@pytest.fixture
def made(keeper, store):
    """Lets the keeper run until a snapshot is no longer pending."""

    async def run(id_):
        task = asyncio.create_task(keeper.run())
        while store.view().get(Snapshot, id_).state == "pending":
            assert not task.done()
            await asyncio.sleep(0.005)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return store.view().get(Snapshot, id_)

    return run


def test_what_records_need(store, put, clock):
    digests = [f"{n:064x}" for n in range(5)]
    put("snap-1", root=digests[0], state="completed")
    put("snap-2", parent=digests[1])
    put("snap-3", root=digests[2], state="error", binned=clock.now())
    volume = Volume(
        id="vol-1",
        zone="us-east-1a",
        size=1,
        created=clock.now(),
        source_root=digests[3],
        line_root=digests[4],
        **WHO,
    )
    store.transact(lambda tx: tx.put(volume))
    assert live_roots(store.view()) == {bytes.fromhex(one) for one in digests}


@pytest.mark.parametrize("garbage", ["../../etc/passwd", "ff", "z" * 64, "f" * 65])
async def test_a_root_that_a_host_made_up_does_not_stop_the_collection(garbage, put, keeper, blocks, caplog):
    put("snap-1", root=garbage, state="completed")
    session = blocks.session()
    await session.put(b"unused")
    await session.close()
    assert (await keeper.collect()).removed == 1
    assert "no digest" in caplog.text


async def test_a_parent_that_is_not_what_its_record_says(put, made, blocks, clock):
    """Larger than the volume: the snapshot is in error, and nothing is tried for ever."""
    session = blocks.session()
    parent = await uploaded(session, 1, 2, size=2 << 30)
    put("snap-1", parent=parent, writing=BlockWriting(timeout=60, closed=clock.now()))
    assert (await made("snap-1")).state == "error"


async def test_a_parent_that_is_gone(put, made):
    put("snap-1", parent="ab" * 32, reseal=True)
    done = await made("snap-1")
    assert (done.state, done.reseal) == ("error", False)
    assert f"{'ab' * 32} is missing" in done.state_message


async def test_a_key_that_is_gone(put, made, blocks):
    put("snap-1", parent=await uploaded(blocks.session(), 1), reseal=True, data_key_id="dk-none")
    assert "data key" in (await made("snap-1")).state_message


async def test_an_unreachable_store_is_waited_for(put, made, blocks, clock, keeper):
    put("snap-1", parent=await uploaded(blocks.session(), 1), reseal=True)
    good, failures = blocks._shelf.read, []

    def broken(digest):
        if len(failures) < 3:
            failures.append(digest)
            clock.advance(3)
            raise OSError(5 + 100, "the disk is away")
        return good(digest)

    blocks._shelf.read = broken
    done = asyncio.create_task(made("snap-1"))
    while not done.done():
        clock.advance(3)
        await asyncio.sleep(0.005)
    assert (await done).state == "completed"
    assert len(failures) == 3


async def test_drafts_of_open_snapshots_alone_are_kept(put, store, keeper, blocks, clock):
    session = blocks.session()
    for id_ in ("snap-1", "snap-2", "snap-3"):
        await session.note(id_, Noted(0, await session.put(id_.encode()), b""))
    await session.close()
    put("snap-1", writing=BlockWriting(timeout=60))
    put("snap-2", state="completed")
    assert (await keeper.collect()).kept == 1
    assert blocks.ledger.drafts() == ["snap-1"]
    store.transact(lambda tx: tx.put(replace(tx.get(Snapshot, "snap-1"), state="error", writing=None)))
    assert (await keeper.collect()).kept == 0


async def test_given_up_by_its_last_block(put, store, keeper, blocks, clock):
    put("snap-1", writing=BlockWriting(timeout=10))
    session = blocks.session()
    begun = clock.now()
    for minutes, state in ((9, "pending"), (18, "pending"), (27, "pending"), (37, "error")):
        await keeper.expire(begun + timedelta(minutes=minutes, seconds=30))
        assert store.view().get(Snapshot, "snap-1").state == state
        clock.advance((begun + timedelta(minutes=minutes, seconds=30) - clock.now()).total_seconds())
        if minutes < 27:
            await session.note("snap-1", Noted(0, b"", b""))
    closed = BlockWriting(timeout=10, closed=begun)
    put("snap-2", writing=closed, started=begun)
    await keeper.expire(begun + timedelta(days=1))
    assert store.view().get(Snapshot, "snap-2").state == "pending"
