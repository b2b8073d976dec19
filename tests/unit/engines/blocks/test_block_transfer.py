"""Uploads and reads."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pileus.engines.blocks.encoding import BlockKey
from pileus.engines.blocks.fake import memory_blocks
from pileus.engines.blocks.interface import (
    BLOCK,
    BlockDamaged,
    BlockMissing,
    BlockUnreadable,
    StoreUnavailable,
)
from pileus.engines.blocks.manifest import Manifest
from pileus.engines.blocks.reader import Reader
from pileus.engines.blocks.upload import upload

SIZE = 6 * BLOCK - 100
KEY = BlockKey(bytes(range(32)))
contents = st.dictionaries(st.integers(0, 5), st.integers(0, 3), max_size=6)


def text(index, fill):
    length = SIZE % BLOCK if index == 5 else BLOCK
    return bytes([fill]) * length


async def sent(session, changed, **options):
    async def blocks():
        for index, plaintext in changed:
            yield index, plaintext

    return await upload(session, blocks(), **{"size": SIZE, **options})


@settings(max_examples=25)
@given(st.lists(contents, min_size=1, max_size=3), st.sampled_from([None, KEY]), st.data())
def test_what_was_uploaded_is_read(steps, key, data):
    async def run():
        blocks = memory_blocks(lambda: 0.0)
        session = blocks.session()
        disk, parent = bytearray(SIZE), None
        for step in steps:
            for index, fill in step.items():
                plaintext = text(index, fill)
                disk[index * BLOCK : index * BLOCK + len(plaintext)] = plaintext
            changed = [(index, text(index, fill)) for index, fill in step.items()]
            done = await sent(session, changed, parent=parent, key=key)
            again = await sent(blocks.session(), changed, parent=parent, key=key)
            assert (again.root, again.uploaded_bytes) == (done.root, 0)
            parent = done.root
        manifest = await Manifest.open(session, parent)
        full = sum(any(disk[n * BLOCK : (n + 1) * BLOCK]) for n in range(6))
        assert done.full_bytes == full * BLOCK == manifest.full_bytes
        assert manifest.sealed == (key is not None)
        reader = Reader(session, manifest, key, cached=2)
        for _ in range(4):
            offset = data.draw(st.integers(0, SIZE))
            length = data.draw(st.integers(0, SIZE - offset))
            assert await reader.read(offset, length) == bytes(disk[offset : offset + length])
        for index in range(6):
            assert await reader.hole(index) == (not any(disk[index * BLOCK : (index + 1) * BLOCK]))
        await blocks.close()

    asyncio.run(run())


async def test_only_what_changed_is_sent(session):
    first = await sent(session, [(n, text(n, n + 1)) for n in range(6)])
    assert first.uploaded_bytes > 0
    second = await sent(session, [(0, text(0, 1)), (3, text(3, 9))], parent=first.root)
    assert 0 < second.uploaded_bytes < first.uploaded_bytes
    assert (await Manifest.open(session, second.root)).allocated == 6


async def test_a_block_of_zeros_makes_a_hole(session):
    first = await sent(session, [(0, text(0, 1)), (1, text(1, 2))])
    second = await sent(session, [(0, text(0, 0))], parent=first.root)
    assert second.full_bytes == BLOCK


async def test_progress_and_bounded_reading_ahead(session):
    ahead, done = [0], []

    async def blocks():
        for index in range(6):
            ahead[0] += 1
            assert ahead[0] - len(done) <= 2 + 1
            yield index, text(index, index + 1)

    await upload(session, blocks(), size=SIZE, progress=done.append, parallel=2)
    assert done == [1, 2, 3, 4, 5, 6]


async def test_the_failure_that_came_first_is_raised(session, shelf):
    def full(_digest, _data):
        raise OSError(28, "No space left on device")

    shelf.stage = full
    with pytest.raises(StoreUnavailable):
        await sent(session, [(n, text(n, n + 1)) for n in range(6)])


async def test_a_source_that_fails(session):
    async def blocks():
        yield 0, text(0, 1)
        raise LookupError("the layer is gone")

    with pytest.raises(LookupError):
        await upload(session, blocks(), size=SIZE)


async def test_impossible_blocks(session):
    for index, plaintext in ((6, b"x"), (-1, b"x"), (0, b""), (0, bytes(BLOCK + 1))):
        with pytest.raises(ValueError):
            await sent(session, [(index, plaintext)])
    root = (await sent(session, [], key=KEY)).root
    with pytest.raises(ValueError):
        await sent(session, [], parent=root)


async def test_reading_names_snapshot_and_block(session, shelf):
    root = (await sent(session, [(n, text(n, n + 1)) for n in range(6)])).root
    manifest = await Manifest.open(session, root)
    damaged, missing = await manifest.digest(2), await manifest.digest(4)
    shelf.blocks[damaged] = (b"rot", 0.0)
    del shelf.blocks[missing]
    reader = Reader(session, manifest)
    with pytest.raises(BlockDamaged, match=f"block 2 of snapshot root {root.hex()}") as error:
        await reader.read(2 * BLOCK + 5, 10)
    assert (error.value.digest, error.value.root, error.value.index) == (damaged, root, 2)
    with pytest.raises(BlockMissing) as error:
        await reader.block(4)
    assert (error.value.digest, error.value.root, error.value.index) == (missing, root, 4)
    assert await reader.read(3 * BLOCK, BLOCK) == text(3, 4)


async def test_the_wrong_key(session):
    root = (await sent(session, [(0, text(0, 1))], key=KEY)).root
    manifest = await Manifest.open(session, root)
    for key in (None, BlockKey(bytes(32))):
        with pytest.raises(BlockUnreadable):
            await Reader(session, manifest, key).read(0, 1)


async def test_what_is_outside(session):
    reader = Reader(session, await Manifest.open(session, (await sent(session, [])).root))
    for offset, length in ((-1, 1), (0, SIZE + 1), (SIZE, 1), (0, -1)):
        with pytest.raises(ValueError):
            await reader.read(offset, length)
    assert await reader.read(SIZE, 0) == b""


async def test_a_block_is_fetched_once_for_all_who_want_it(session):
    root = (await sent(session, [(0, text(0, 1))])).root

    class Counting:
        def __init__(self):
            self.fetched = []

        async def get(self, digest):
            self.fetched.append(digest)
            await asyncio.sleep(0)
            return await session.get(digest)

    counting = Counting()
    manifest = await Manifest.open(counting, root)
    await manifest.digest(0)
    counting.fetched.clear()
    reader = Reader(counting, manifest)
    first = asyncio.create_task(reader.read(0, 5))
    others = [asyncio.create_task(reader.read(0, 5)) for _ in range(5)]
    await asyncio.sleep(0)
    first.cancel()
    assert await asyncio.gather(*others) == [b"\x01" * 5] * 5
    assert len(counting.fetched) == 1


async def test_an_upload_stores_anew_what_was_found_damaged(session, shelf):
    """Also where it is the parent's, and did not change."""
    first = await sent(session, [(0, text(0, 1))])
    digest = await (await Manifest.open(session, first.root)).digest(0)
    shelf.blocks[digest] = (b"rot", 0.0)
    with pytest.raises(BlockDamaged):
        await session.get(digest)
    second = await sent(session, [(0, text(0, 1))], parent=first.root)
    assert second.root == first.root
    reader = Reader(session, await Manifest.open(session, first.root))
    assert await reader.read(0, BLOCK) == text(0, 1)
