"""The block store from other processes: sessions over sockets, and peers that misbehave."""

import asyncio
import os
import ssl
from hashlib import sha256

import msgspec
import pytest

from pileus.engines.blocks.client import BlockClient
from pileus.engines.blocks.fake import memory_blocks
from pileus.engines.blocks.interface import (
    BlockDamaged,
    BlockMissing,
    DraftClosed,
    Noted,
    SessionLost,
    StoreUnavailable,
)
from pileus.engines.blocks.server import BlockServer
from pileus.hostapi.block_link import FRAME_LIMIT, BlockHello, Get, Missing, connect_blocks
from pileus.hostapi.channel import ChannelError, TlsAddress, UnixAddress

CLOUD = "cloud-1"


def address(data):
    return sha256(data).digest()


def framed(data):
    return len(data).to_bytes(4, "big") + data


async def nothing():
    return ()


@pytest.fixture
async def blocks():
    store = memory_blocks(lambda: 0.0)
    yield store
    await store.close()


@pytest.fixture
def place(tmp_path):
    return UnixAddress(path=tmp_path / "blocks.sock")


@pytest.fixture
async def server(blocks, place):
    served = BlockServer(place, blocks, cloud_id=CLOUD)
    await served.start()
    yield served
    await served.close()


@pytest.fixture
async def session(server, place):
    opened = BlockClient(place, CLOUD).session()
    yield opened
    await opened.close()


async def test_a_session_does_what_a_local_one_does(blocks, session):
    assert await session.missing([address(b"one"), address(b"two")]) == [address(b"one"), address(b"two")]
    assert await session.put(b"one") == address(b"one")
    assert await session.missing([address(b"one"), address(b"two")]) == [address(b"two")]
    assert await session.get(address(b"one")) == b"one"
    with pytest.raises(BlockMissing) as missing:
        await session.get(address(b"two"))
    assert missing.value.digest == address(b"two")
    blocks._shelf.blocks[address(b"one")] = (b"rot", 0.0)
    with pytest.raises(BlockDamaged) as damaged:
        await session.get(address(b"one"))
    assert damaged.value.digest == address(b"one")
    with pytest.raises(ValueError):
        await session.put(bytes(FRAME_LIMIT - 1024 + 1))


async def test_drafts(blocks, session):
    digest = await session.put(b"one")
    await session.note("snap", Noted(3, digest, b"tag"))
    await session.note("snap", Noted(1, b"", b""))
    assert await session.noted("snap", -1, 10_000) == [Noted(1, b"", b""), Noted(3, digest, b"tag")]
    await blocks.close_draft("snap")
    with pytest.raises(DraftClosed):
        await session.note("snap", Noted(4, digest, b""))
    with pytest.raises(BlockMissing):
        await session.note("snap", Noted(4, b"m" * 32, b""))
    await session.drop("snap")
    assert await session.noted("snap", -1, 10) == []


async def test_many_requests_at_once(session):
    texts = [str(n).encode() * 1000 for n in range(200)]
    await asyncio.gather(*map(session.put, texts))
    assert await asyncio.gather(*(session.get(address(text)) for text in texts)) == texts
    many = [address(str(n).encode()) for n in range(10_000)]
    assert await session.missing(many) == many


async def test_the_connection_is_what_protects(blocks, place, server, session):
    await session.put(b"one")
    assert (await blocks.collect(nothing)).removed == 0
    await session.close()
    async with asyncio.timeout(10):
        while (await blocks.collect(nothing)).removed == 0:
            await asyncio.sleep(0.01)
    with pytest.raises(SessionLost):
        await session.get(address(b"one"))


async def test_after_a_break_it_reads_on_but_protects_no_more(blocks, place, session, server):
    await session.put(b"one")
    await server.close()
    with pytest.raises(StoreUnavailable):
        await session.get(address(b"one"))
    again = BlockServer(place, blocks, cloud_id=CLOUD)
    await again.start()
    assert await session.get(address(b"one")) == b"one"
    for call in (session.put(b"two"), session.missing([address(b"one")])):
        with pytest.raises(SessionLost):
            await call
    fresh = BlockClient(place, CLOUD).session()
    assert await fresh.missing([address(b"one")]) == []
    await fresh.close()
    await again.close()


async def test_a_session_that_only_read_may_write_after_a_break(blocks, place, session, server):
    with pytest.raises(BlockMissing):
        await session.get(address(b"one"))
    await server.close()
    again = BlockServer(place, blocks, cloud_id=CLOUD)
    await again.start()
    with pytest.raises(StoreUnavailable):
        await session.get(address(b"one"))
    await session.put(b"one")
    assert await session.get(address(b"one")) == b"one"
    await again.close()


async def test_what_waits_when_the_connection_breaks_is_told(blocks, place, server):
    gate = asyncio.Event()
    session = BlockClient(place, CLOUD).session()
    read = blocks.read

    async def slow(digest):
        await gate.wait()
        return await read(digest)

    blocks.read = slow
    waiting = [asyncio.create_task(session.get(address(b"x"))) for _ in range(5)]
    await asyncio.sleep(0.05)
    await server.close()
    for answer in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(answer, StoreUnavailable)
    await session.close()


async def test_nobody_there(tmp_path):
    session = BlockClient(UnixAddress(path=tmp_path / "none"), CLOUD).session()
    with pytest.raises(StoreUnavailable):
        await session.put(b"one")
    await session.close()


async def test_another_cloud_is_refused(server, place):
    with pytest.raises(StoreUnavailable, match="cloud-1"):
        await BlockClient(place, "cloud-2").session().get(bytes(32))


async def test_another_user_is_refused(blocks, place):
    served = BlockServer(place, blocks, cloud_id=CLOUD, allowed_uids=frozenset({os.getuid() + 1}))
    await served.start()
    with pytest.raises(StoreUnavailable):
        await BlockClient(place, CLOUD).session().get(bytes(32))
    await served.close()
    assert not place.path.exists()


async def test_drafts_are_for_the_own_user(blocks, place, monkeypatch):
    uid = os.getuid()
    monkeypatch.setattr("pileus.hostapi.block_link.os.getuid", lambda: uid + 1)
    served = BlockServer(place, blocks, cloud_id=CLOUD, allowed_uids=frozenset({uid}))
    await served.start()
    session = BlockClient(place, CLOUD).session()
    await session.put(b"one")
    for call in (
        session.note("snap", Noted(0, b"", b"")),
        session.noted("snap", -1, 1),
        session.drop("snap"),
    ):
        with pytest.raises(ValueError, match="control plane"):
            await call
    await session.close()
    await served.close()


@pytest.mark.parametrize(
    "frame",
    [
        b"\xff\xff\xff\xff",
        (FRAME_LIMIT + 1).to_bytes(4, "big"),
        b"\x00\x00\x00\x03\xc1\xc1\xc1",
        framed(msgspec.msgpack.encode({"type": "get", "number": 1, "digest": b"short"})),
        framed(msgspec.msgpack.encode({"type": "missing", "number": 1, "digests": [bytes(32)] * 4097})),
        framed(msgspec.msgpack.encode(BlockHello(cloud_id=CLOUD))),
    ],
)
async def test_nonsense_costs_the_connection_and_nothing_else(session, place, frame):
    await session.put(b"one")
    channel = await connect_blocks(place, CLOUD)
    channel._writer.write(frame)
    with pytest.raises(ChannelError):
        await channel.receive()
    assert await session.get(address(b"one")) == b"one"


async def test_nothing_is_answered_before_a_hello(server, place):
    reader, writer = await asyncio.open_unix_connection(place.path)
    data = msgspec.msgpack.encode(Get(number=1, digest=bytes(32)))
    writer.write(len(data).to_bytes(4, "big") + data)
    answer = await reader.read()
    assert b"refused" in answer
    writer.close()


async def test_a_flood_of_requests_is_taken_as_it_is_answered(blocks, server, place):
    """A peer that asks and asks has few of its requests worked on at a time."""
    under_way, most = [0], [0]
    gate = asyncio.Event()

    async def slow(_digest):
        under_way[0] += 1
        most[0] = max(most[0], under_way[0])
        await gate.wait()
        under_way[0] -= 1
        return b"block"

    blocks.read = slow
    channel = await connect_blocks(place, CLOUD)
    for number in range(1, 101):
        await channel.send(Get(number=number, digest=bytes(32)))
    await asyncio.sleep(0.1)
    gate.set()
    assert {(await channel.receive()).number for _ in range(100)} == set(range(1, 101))
    assert most[0] == 16
    channel.abort()


async def test_over_tls(blocks, new_authority):
    authority = new_authority("ours")
    served = BlockServer(
        TlsAddress(host="127.0.0.1", port=0, context=authority.server_context("storage")), blocks, cloud_id=CLOUD
    )
    await served.start()

    def client(context):
        place = TlsAddress(host="127.0.0.1", port=served.port, context=context, server_name="storage")
        return BlockClient(place, CLOUD).session()

    session = client(authority.client_context("host-1"))
    assert await session.put(b"one") == address(b"one")
    assert await session.get(address(b"one")) == b"one"
    with pytest.raises(ValueError, match="control plane"):
        await session.note("snap", Noted(0, b"", b""))
    stranger = ssl.create_default_context(cafile=authority.certificate_path)
    with pytest.raises(StoreUnavailable):
        await client(stranger).get(address(b"one"))
    await session.close()
    await served.close()
    with pytest.raises(ValueError, match="certificates"):
        open_to_all = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        BlockServer(TlsAddress(host="127.0.0.1", port=0, context=open_to_all), blocks, cloud_id=CLOUD)


def test_the_longest_list_fits_into_a_frame():
    assert len(msgspec.msgpack.encode(Missing(number=1 << 60, digests=[bytes(32)] * 4096))) < FRAME_LIMIT
