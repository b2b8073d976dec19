"""Manifests against a model: a dictionary from index to digest."""

import asyncio
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pileus.engines.blocks import manifest as manifests
from pileus.engines.blocks.fake import memory_blocks
from pileus.engines.blocks.interface import BLOCK, BlockDamaged, BlockMissing
from pileus.engines.blocks.manifest import (
    LARGEST,
    PAGE,
    Manifest,
    ManifestWriter,
    NotAManifest,
    children,
    compare,
)

BLOCKS = 5 * PAGE
indexes = st.integers(0, 4).flatmap(lambda page: st.integers(page * PAGE, page * PAGE + 5))
digests = st.one_of(st.none(), st.integers(0, 3).map(lambda n: sha256(bytes([n])).digest()))
changes = st.dictionaries(indexes, digests, max_size=12)


async def made(session, chosen, parent=None, size=BLOCKS * BLOCK, sealed=False):
    writer = ManifestWriter(session, size=size, sealed=sealed, parent=parent)
    for index, digest in chosen.items():
        await writer.set(index, digest)
    return await writer.finish()


async def listed(manifest, start=0):
    return {index: digest async for index, digest in manifest.allocated_from(start)}


def allocated(model):
    return {index: digest for index, digest in sorted(model.items()) if digest}


@given(st.lists(changes, min_size=1, max_size=4), st.integers(0, BLOCKS))
def test_manifests_are_what_was_set(steps, start):
    async def run():
        blocks = memory_blocks(lambda: 0.0)
        session = blocks.session()
        model, manifest, before = {}, None, {}
        for step in steps:
            before, model = model, {**model, **step}
            earlier, manifest = manifest, await made(session, step, manifest)
            reopened = await Manifest.open(session, manifest.root)
            assert await listed(reopened) == allocated(model)
            assert list(await listed(reopened)) == sorted(allocated(model))
            assert reopened.allocated == len(allocated(model))
            assert reopened.full_bytes == len(allocated(model)) * BLOCK
            assert (reopened.size, reopened.blocks, reopened.sealed) == (BLOCKS * BLOCK, BLOCKS, False)
            for index in {0, BLOCKS - 1, *step}:
                assert await reopened.digest(index) == model.get(index)
            # The same content has the same root, however it came about.
            assert (await made(session, model)).root == manifest.root
            if earlier is not None:
                found = [entry async for entry in compare(earlier, manifest, start)]
                assert found == [
                    (index, before.get(index), model.get(index))
                    for index in sorted(model)
                    if before.get(index) != model.get(index) and index >= start
                ]
        assert await listed(manifest, start) == {i: d for i, d in allocated(model).items() if i >= start}
        await blocks.close()

    asyncio.run(run())


async def test_only_changed_pages_are_written(session, shelf):
    first = await made(session, {0: b"a" * 32, PAGE: b"b" * 32, 2 * PAGE: b"c" * 32})
    before = set(shelf.blocks)
    second = await first.with_changes(session, {PAGE + 1: b"d" * 32})
    assert len(set(shelf.blocks) - before) == 2  # a page and the root
    assert second.page_digest(0) == first.page_digest(0)
    assert second.page_digest(1) != first.page_digest(1)
    assert set(children(shelf.blocks[second.root][0])) == {second.page_digest(n) for n in range(3)}


async def test_more_pages_than_are_held_open(session, monkeypatch):
    monkeypatch.setattr(manifests, "_OPEN_PAGES", 2)
    chosen = {n % 5 * PAGE + n: bytes([n]) * 32 for n in range(1, 40)}
    manifest = await made(session, chosen)
    assert await listed(manifest) == allocated(chosen)
    assert manifest.allocated == len(chosen)


async def test_it_grows_and_does_not_shrink(session):
    small = await made(session, {0: b"a" * 32}, size=BLOCK)
    large = await small.with_changes(session, {PAGE: b"b" * 32}, size=(PAGE + 1) * BLOCK)
    assert await listed(large) == {0: b"a" * 32, PAGE: b"b" * 32}
    assert [entry async for entry in compare(small, large)] == [(PAGE, None, b"b" * 32)]
    with pytest.raises(ValueError):
        await large.with_changes(session, {}, size=BLOCK)


async def test_bounds(session):
    manifest = await made(session, {}, size=BLOCK + 1)
    assert manifest.blocks == 2
    with pytest.raises(IndexError):
        await manifest.digest(2)
    with pytest.raises(ValueError):
        await manifest.with_changes(session, {2: b"a" * 32})
    with pytest.raises(ValueError):
        await made(session, {}, manifest, size=2 * BLOCK, sealed=True)
    for size in (0, LARGEST + 1):
        with pytest.raises(ValueError):
            await made(session, {}, size=size)


async def test_the_largest_volume_has_a_root_that_can_be_stored(session):
    manifest = await made(session, {index * PAGE: bytes([index]) * 32 for index in range(1, 200)}, size=LARGEST)
    assert (await Manifest.open(session, manifest.root)).allocated == 199


async def test_what_is_no_manifest(session, shelf):
    noise = await session.put(b"\x11garbage")
    with pytest.raises(NotAManifest):
        await Manifest.open(session, noise)
    block = await session.put(b"\x00block")
    with pytest.raises(NotAManifest):
        await Manifest.open(session, block)
    with pytest.raises(BlockMissing):
        await Manifest.open(session, b"m" * 32)
    manifest = await made(session, {0: b"a" * 32})
    page = manifest.page_digest(0)
    shelf.blocks[page] = (b"\x10", 0.0)
    with pytest.raises(BlockDamaged) as error:
        await (await Manifest.open(session, manifest.root)).digest(0)
    assert error.value.digest == page
