"""Blocks as files: what a kill leaves, what damage on the disk does, who owns the directory."""

import asyncio
import os
from hashlib import sha256
from pathlib import Path

import pytest

from pileus.engines.blocks.directory import DirectoryShelf
from pileus.engines.blocks.encoding import BlockKey
from pileus.engines.blocks.interface import (
    BLOCK,
    BlockDamaged,
    BlockMissing,
    Noted,
    StoreUnavailable,
)
from pileus.engines.blocks.ledger import Ledger
from pileus.engines.blocks.manifest import Manifest
from pileus.engines.blocks.reader import Reader
from pileus.engines.blocks.store import LocalBlocks
from pileus.engines.blocks.upload import upload


def address(data):
    return sha256(data).digest()


async def nothing():
    return ()


def name_of(descriptor):
    return str(Path(f"/proc/self/fd/{descriptor}").readlink())


@pytest.fixture
def place(tmp_path):
    return tmp_path / "blocks"


def opened(place):
    shelf = DirectoryShelf(place, lambda: 1000.0)
    return LocalBlocks(shelf, Ledger(place / "ledger.sqlite"), now=lambda: 1000.0, grace=0.0, scratch=shelf.scratch)


def file_of(place, digest):
    return place / "blocks" / f"{digest[0]:02x}" / digest.hex()


async def test_what_was_put_is_there_for_the_next_owner(place):
    first = opened(place)
    session = first.session()
    texts = [str(n).encode() for n in range(100)]
    await asyncio.gather(*map(session.put, texts))
    await session.note("draft", Noted(1, address(texts[0]), b"tag"))
    first.ledger.keep_position("checked", 17)
    await first.close()
    second = opened(place)
    session = second.session()
    assert await session.missing([address(text) for text in texts]) == []
    assert [await session.get(address(text)) for text in texts] == texts
    assert await session.noted("draft", -1, 10) == [Noted(1, address(texts[0]), b"tag")]
    assert second.ledger.position("checked") == 17
    assert not list((place / "incoming").iterdir())
    await second.close()


async def test_one_owner(place):
    first = opened(place)
    with pytest.raises(BlockingIOError):
        opened(place)
    await first.close()
    await opened(place).close()


async def test_half_written_blocks_are_removed(place):
    await opened(place).close()
    (place / "incoming" / "0011.aa").write_bytes(b"half")
    blocks = opened(place)
    assert not list((place / "incoming").iterdir())
    await blocks.close()


async def test_what_failed_to_be_written_leaves_nothing(place, monkeypatch):
    blocks = opened(place)
    session = blocks.session()
    fsync = os.fsync

    def broken(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(StoreUnavailable):
        await session.put(b"one")
    assert not list((place / "incoming").iterdir())
    monkeypatch.setattr(os, "fsync", fsync)
    assert await session.missing([address(b"one")]) == [address(b"one")]
    await blocks.close()


async def test_everything_is_synced_before_it_is_acknowledged(place, monkeypatch):
    """A block's bytes before its name, and the name's directory before the answer."""
    blocks = opened(place)
    session = blocks.session()
    steps, fsync, rename = [], os.fsync, os.replace

    def sync(descriptor):
        steps.append(("sync", name_of(descriptor)))
        fsync(descriptor)

    def move(source, target):
        steps.append(("rename", str(target)))
        rename(source, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "replace", move)
    await session.put(b"one")
    path = file_of(place, address(b"one"))
    assert [kind for kind, _ in steps] == ["sync", "rename", "sync"]
    assert steps[0][1].startswith(str(place / "incoming"))
    assert steps[1:] == [("rename", str(path)), ("sync", str(path.parent))]
    await blocks.close()


async def test_many_blocks_share_the_syncing_of_directories(place, monkeypatch):
    blocks = opened(place)
    session = blocks.session()
    texts = [text for n in range(20_000) if address(text := str(n).encode())[0] == 7][:60]
    synced, fsync = [], os.fsync

    def sync(descriptor):
        synced.append(name_of(descriptor))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    await asyncio.gather(*map(session.put, texts))
    assert synced.count(str(place / "blocks" / "07")) < len(texts)
    await blocks.close()


@pytest.mark.parametrize("key", [None, BlockKey(bytes(32))])
async def test_a_flipped_byte_is_named_and_never_returned(place, key):
    blocks = opened(place)
    session = blocks.session()

    async def changed():
        for index in range(5):
            yield index, bytes([index + 1]) * BLOCK

    root = (await upload(session, changed(), size=5 * BLOCK, key=key)).root
    manifest = await Manifest.open(session, root)
    bad = await manifest.digest(3)
    path = file_of(place, bad)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    reader = Reader(session, manifest, key)
    for index in (0, 1, 2, 4):
        assert await reader.block(index) == bytes([index + 1]) * BLOCK
    for _ in range(2):
        with pytest.raises(BlockDamaged) as error:
            await reader.read(3 * BLOCK, 1)
        assert (error.value.digest, error.value.root, error.value.index) == (bad, root, 3)
    assert list(blocks.damaged) == [bad]
    await blocks.close()
    # The next owner knows, until the block is put again, as the next snapshot with it does.
    blocks = opened(place)
    assert list(blocks.damaged) == [bad]
    session = blocks.session()
    with pytest.raises(BlockDamaged):
        await session.get(bad)
    again = await upload(session, changed(), size=5 * BLOCK, key=key)
    assert again.root == root
    assert again.uploaded_bytes > 0
    assert list(blocks.damaged) == []
    assert await Reader(session, await Manifest.open(session, root), key).read(3 * BLOCK, 1) == b"\x04"
    await blocks.close()


async def test_checking_finds_what_was_cut_or_lengthened(place):
    blocks = opened(place)
    session = blocks.session()
    texts = [str(n).encode() for n in range(30)]
    await asyncio.gather(*map(session.put, texts))
    cut, longer = (file_of(place, address(text)) for text in texts[:2])
    os.truncate(cut, 0)
    longer.write_bytes(longer.read_bytes() + b"\0")
    for path in (cut, longer):
        os.utime(path, (1000.0, 1000.0))

    async def pause(_size):
        pass

    assert sum([await blocks.check(bucket, pause) for bucket in range(256)]) == 2
    assert sorted(blocks.damaged) == sorted(map(address, texts[:2]))
    await session.close()
    assert (await blocks.collect(nothing)).removed == 30
    assert list(blocks.damaged) == []
    assert not list((place / "aside").iterdir())
    await blocks.close()


async def test_only_the_owner_can_read_the_files(place):
    blocks = opened(place)
    await blocks.session().put(b"one")
    assert place.stat().st_mode & 0o077 == 0
    assert file_of(place, address(b"one")).stat().st_mode & 0o077 == 0
    with pytest.raises(BlockMissing):
        await blocks.session().get(address(b"two"))
    await blocks.close()
