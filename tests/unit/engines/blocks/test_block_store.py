"""Sessions, protection and collection."""

import asyncio
import threading
from hashlib import sha256

import pytest

from pileus.engines.blocks.fake import memory_blocks
from pileus.engines.blocks.interface import (
    STORED_LIMIT,
    BlockDamaged,
    BlockMissing,
    Noted,
    SessionLost,
    StoreUnavailable,
)
from pileus.engines.blocks.manifest import ManifestWriter
from pileus.engines.blocks.marks import Marks
from pileus.engines.blocks.store import CollectionStopped
from pileus.engines.blocks.upload import upload


def address(data):
    return sha256(data).digest()


def on_record(*roots):
    async def read():
        return roots

    return read


async def snapshot(session, *texts):
    async def changed():
        for index, text in enumerate(texts):
            yield index, text

    return (await upload(session, changed(), size=1 << 30)).root


async def test_what_was_put_is_got(session):
    assert await session.missing([address(b"one"), address(b"two")]) == [address(b"one"), address(b"two")]
    assert await session.put(b"one") == address(b"one")
    assert await session.put(b"one") == address(b"one")
    assert await session.missing([address(b"one"), address(b"two")]) == [address(b"two")]
    assert await session.get(address(b"one")) == b"one"
    with pytest.raises(BlockMissing) as error:
        await session.get(address(b"two"))
    assert error.value.digest == address(b"two")


async def test_many_at_once(session):
    texts = [str(n % 40).encode() for n in range(200)]
    assert await asyncio.gather(*map(session.put, texts)) == [address(text) for text in texts]
    assert await asyncio.gather(*(session.get(address(text)) for text in texts)) == texts


async def test_lengths_are_bounded(session):
    with pytest.raises(ValueError):
        await session.put(bytes(STORED_LIMIT + 1))
    with pytest.raises(ValueError):
        await session.missing([b"short"])


async def test_a_session_protects_what_it_put_and_what_it_was_told_is_there(blocks):
    first, second = blocks.session(), blocks.session()
    await first.put(b"one")
    await second.missing([address(b"one")])
    await first.close()
    assert (await blocks.collect(on_record())).removed == 0
    await second.close()
    done = await blocks.collect(on_record())
    assert (done.removed, done.removed_bytes, done.kept) == (1, 3, 0)


async def test_asking_for_what_is_not_there_protects_what_comes(blocks):
    first, second = blocks.session(), blocks.session()
    await second.missing([address(b"one")])
    await first.put(b"one")
    await first.close()
    assert (await blocks.collect(on_record())).removed == 0


async def test_an_ended_session_is_of_no_more_use(blocks):
    session = blocks.session()
    await session.close()
    with pytest.raises(SessionLost):
        await session.put(b"one")
    with pytest.raises(SessionLost):
        await session.missing([address(b"one")])
    await session.close()


async def test_roots_keep_all_below_them(blocks):
    session = blocks.session()
    kept = await snapshot(session, b"one", b"two")
    gone = await snapshot(session, b"two", b"three")
    await session.close()
    done = await blocks.collect(on_record(kept, kept))
    assert (done.kept, done.removed) == (4, 3)  # two blocks, page and root each; "two" is shared
    reader = blocks.session()
    with pytest.raises(BlockMissing):
        await reader.get(gone)
    assert (await blocks.collect(on_record(kept))).removed == 0


async def test_what_is_put_while_it_is_collected_is_kept(blocks):
    """The session is over, and its record written, before the collection comes to the block, but after the roots were read."""

    async def roots_before_the_record():
        roots = ()
        session = blocks.session()
        await session.put(b"fresh")
        await session.close()
        return roots

    assert (await blocks.collect(roots_before_the_record)).removed == 0
    assert (await blocks.collect(on_record())).removed == 1


async def test_what_a_session_held_when_it_began_is_kept_though_the_session_ends(blocks):
    session = blocks.session()
    await session.put(b"fresh")

    async def roots():
        await session.close()
        return ()

    assert (await blocks.collect(roots)).removed == 0
    assert (await blocks.collect(on_record())).removed == 1


async def test_a_block_that_is_being_removed_is_not_said_to_be_there(blocks, shelf):
    """Asked for in the middle of its removal, it is reported missing, and put again."""
    old = blocks.session()
    await old.put(b"one")
    await old.close()
    session = blocks.session()
    remove, touch, asked, looked = shelf.remove, shelf.touch, [], threading.Event()
    loop = asyncio.get_running_loop()

    def slow(digests):
        asked.append(asyncio.run_coroutine_threadsafe(session.missing([address(b"one")]), loop))
        looked.wait(0.2)  # in vain: it is not looked up before it is gone
        remove(digests)

    def look(digest, size=None):
        looked.set()
        return touch(digest, size)

    shelf.remove, shelf.touch = slow, look
    await blocks.collect(on_record())
    answers = [await asyncio.wrap_future(one) for one in asked]
    assert answers[0] == [address(b"one")]
    await session.put(b"one")
    assert await session.get(address(b"one")) == b"one"


async def test_grace_spans_sessions(time):
    blocks = memory_blocks(time, grace=60.0)
    session = blocks.session()
    await session.put(b"one")
    await session.put(b"two")
    await session.close()
    time.seconds += 50
    session = blocks.session()
    await session.missing([address(b"two")])
    await session.close()
    time.seconds += 11
    assert (await blocks.collect(on_record())).removed == 1
    assert await blocks.session().get(address(b"two")) == b"two"
    time.seconds += 60
    assert (await blocks.collect(on_record())).removed == 1
    await blocks.close()


@pytest.mark.parametrize("harm", ["missing", "damaged"])
@pytest.mark.parametrize("which", ["root", "page"])
async def test_nothing_is_removed_when_not_all_is_known(blocks, shelf, harm, which):
    session = blocks.session()
    root = await snapshot(session, b"one")
    await session.put(b"unused")
    await session.close()
    page = next(digest for digest, (data, _) in shelf.blocks.items() if data[:1] == b"\x10")
    target = root if which == "root" else page
    if harm == "missing":
        del shelf.blocks[target]
    else:
        shelf.blocks[target] = (b"rot", 0.0)
    before = len(shelf.blocks) - (harm == "damaged")
    with pytest.raises(CollectionStopped, match=root.hex()):
        await blocks.collect(on_record(root))
    assert len(shelf.blocks) == before


async def test_a_record_that_names_no_snapshot_does_not_stop_it(blocks):
    session = blocks.session()
    await session.put(b"\x00a block")
    await session.put(b"unused")
    await session.close()
    done = await blocks.collect(on_record(address(b"\x00a block")))
    assert (done.kept, done.removed) == (1, 1)


async def test_damage_is_named_and_healed_by_putting_it_again(blocks, shelf, session):
    await session.put(b"one")
    shelf.blocks[address(b"one")] = (b"onf", 0.0)
    for _ in range(2):
        with pytest.raises(BlockDamaged) as error:
            await session.get(address(b"one"))
        assert error.value.digest == address(b"one")
    assert list(blocks.damaged) == [address(b"one")]
    assert await session.missing([address(b"one")]) == [address(b"one")]
    await session.put(b"one")
    assert await session.get(address(b"one")) == b"one"
    assert list(blocks.damaged) == []


async def test_a_cut_block_is_put_again(shelf, session):
    await session.put(b"whole")
    shelf.blocks[address(b"whole")] = (b"who", 0.0)
    await session.put(b"whole")
    assert await session.get(address(b"whole")) == b"whole"


async def test_checking_finds_damage(blocks, shelf, session):
    texts = [str(n).encode() for n in range(50)]
    for text in texts:
        await session.put(text)
    bad = address(texts[7])
    shelf.blocks[bad] = (b"rot", 0.0)
    sizes = []

    async def pause(size):
        sizes.append(size)

    assert sum([await blocks.check(bucket, pause) for bucket in range(256)]) == 1
    assert list(blocks.damaged) == [bad]
    assert len(sizes) == 50
    # An unneeded damaged block goes like any other.
    await session.close()
    assert (await blocks.collect(on_record())).removed == 50
    assert list(blocks.damaged) == []


async def test_a_medium_that_fails_is_unavailable(shelf, session):
    good = shelf.stage

    def full(_digest, _data):
        raise OSError(28, "No space left on device")

    shelf.stage = full
    with pytest.raises(StoreUnavailable, match="No space"):
        await session.put(b"one")
    shelf.stage = good
    assert await session.missing([address(b"one")]) == [address(b"one")]


async def test_a_block_whose_name_may_not_be_durable_is_put_again(shelf, session):
    publish = shelf.publish

    def half(staged):
        publish(staged)
        raise OSError(5, "Input/output error")

    shelf.publish = half
    with pytest.raises(StoreUnavailable):
        await session.put(b"one")
    assert await session.missing([address(b"one")]) == [address(b"one")]
    shelf.publish = publish
    await session.put(b"one")
    assert await session.missing([address(b"one")]) == []


async def test_drafts(blocks, time):
    session = blocks.session()
    for index in (7, 3, 5):
        await session.note("snap-1", Noted(index, await session.put(str(index).encode()), b"tag"))
    await session.note("snap-1", Noted(5, b"", b"hole"))
    await session.note("snap-2", Noted(0, await session.put(b"3"), b""))
    assert await session.noted("snap-1", -1, 10) == [
        Noted(3, address(b"3"), b"tag"),
        Noted(5, b"", b"hole"),
        Noted(7, address(b"7"), b"tag"),
    ]
    assert [one.index for one in await session.noted("snap-1", 3, 1)] == [5]
    assert blocks.ledger.written("snap-1") == time.seconds
    assert blocks.ledger.written("none") is None
    with pytest.raises(BlockMissing):
        await session.note("snap-1", Noted(0, b"m" * 32, b""))
    for wrong in (Noted(-1, b"", b""), Noted(0, b"short", b""), Noted(0, b"", bytes(129))):
        with pytest.raises(ValueError):
            await session.note("snap-1", wrong)
    await session.close()
    done = await blocks.collect(on_record())
    assert (done.kept, done.removed) == (2, 1)  # the overwritten 5 is gone
    session = blocks.session()
    await session.drop("snap-1")
    await session.drop("snap-1")
    assert sorted(blocks.ledger.drafts()) == ["snap-2"]
    assert await session.noted("snap-1", -1, 10) == []
    assert (await blocks.collect(on_record())).kept == 1


async def test_many_entries_at_once(blocks, session):
    digest = await session.put(b"same")
    await asyncio.gather(*(session.note("snap", Noted(index, digest, b"")) for index in range(300)))
    assert [one.index for one in await session.noted("snap", -1, 4096)] == list(range(300))


def test_marks_beyond_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("pileus.engines.blocks.marks._IN_MEMORY", 1000)
    marks = Marks(tmp_path)
    digests = {address(str(n).encode()) for n in range(500)}
    for digest in digests:
        marks.add(digest)
    assert set().union(*(marks.bucket(n) for n in range(256))) == digests
    assert all(digest[0] == n for n in range(256) for digest in marks.bucket(n))
    marks.close()
    assert not list(tmp_path.iterdir())


async def test_a_root_whose_pages_are_all_holes(blocks, session):
    root = (await ManifestWriter(session, size=1 << 30, sealed=False).finish()).root
    await session.close()
    assert (await blocks.collect(on_record(root))).kept == 1
