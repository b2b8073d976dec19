"""The real storage process, killed again and again while snapshots are uploaded, written block by block, copied and deleted."""

import asyncio
import base64
import os
import random
import signal
import sys
from contextlib import suppress
from hashlib import sha256

import pytest
from msgspec.structs import replace

from pileus.base.clock import SystemClock
from pileus.base.process import spawn
from pileus.base.sealing import Sealer, load_or_create_key
from pileus.cmd.layout import Layout
from pileus.engines.blocks.client import BlockClient
from pileus.engines.blocks.encoding import BlockKey, encode
from pileus.engines.blocks.interface import BLOCK, BlockError, Noted, StoreUnavailable
from pileus.engines.blocks.manifest import Manifest
from pileus.engines.blocks.reader import Reader
from pileus.engines.blocks.upload import upload
from pileus.hostapi.channel import UnixAddress
from pileus.operations.keys import default_key, make_data_key, open_data_key
from pileus.records import KINDS, DataKey, Snapshot
from pileus.records.snapshot import NO_VOLUME, BlockWriting
from pileus.store import open_store

pytestmark = pytest.mark.slow

KILLS = 10
INDEXES = range(24)
GIB = 1 << 30
GRACE = 2.0
WHO = {"account": "000000000001", "region": "us-east-1"}


def text(fill):
    return bytes([fill]) * BLOCK if fill % 3 else bytes([fill, 1, fill ^ 85]) * (BLOCK // 3) + b"xx"


class Process:
    """The storage process of a data directory."""

    def __init__(self, layout):
        self._argv = (sys.executable, "-m", "pileus.cmd.main", "--data-dir", str(layout.root), "serve", "storage")
        self._log = layout.root / "storage.log"
        self.start()

    def start(self):
        with self._log.open("ab") as log:
            self._child = spawn(*self._argv, stdout=log, stderr=log)

    def kill(self):
        self._child.kill()
        self._child.wait()

    def signal(self, number):
        self._child.send_signal(number)

    def stop(self):
        self._child.terminate()
        return self._child.wait()


class Cloud:
    """What hosts and the API do with the storage process. ``expected`` are the contents of the completed snapshots."""

    def __init__(self, layout):
        self.store = open_store(layout.store_url(layout.load_config()), KINDS, SystemClock())
        self.sealer = Sealer(load_or_create_key(layout.sealing_key))
        self.client = BlockClient(UnixAddress(path=layout.blocks_socket), layout.identity().cloud_id)
        self.expected = {}
        self.lost = 0
        self.data_key = self.store.transact(self._make_key)
        self.number = 0

    def _make_key(self, tx):
        now = SystemClock().now()
        key = default_key(tx, self.sealer, *WHO.values(), "ebs", now)
        return make_data_key(tx, self.sealer, key, WHO["account"], now)

    def key(self, key_id):
        if key_id is None:
            return None
        view = self.store.view()
        return BlockKey(open_data_key(view, self.sealer, view.get(DataKey, key_id)))

    def record(self, **fields):
        self.number += 1
        id_ = f"snap-{self.number:017x}"
        made = Snapshot(id=id_, volume_id=NO_VOLUME, size=1, started=SystemClock().now(), **WHO, **fields)
        self.store.transact(lambda tx: tx.put(made))
        return id_

    def settle(self, id_, **changes):
        self.store.transact(lambda tx: tx.put(replace(tx.get(Snapshot, id_), **changes)))

    def completed(self, chance):
        return chance.choice(sorted(self.expected)) if self.expected else None

    async def again(self, work):
        """Until the store is there, as hosts and clients do it: each time with a new session."""
        while True:
            session = self.client.session()
            try:
                return await work(session)
            except StoreUnavailable:
                self.lost += 1
                await asyncio.sleep(0.02)
            finally:
                await session.close()

    async def upload(self, chance):
        """As a host does: the root is put on record while the session lasts."""
        base = self.completed(chance)
        before = self.store.view().get(Snapshot, base) if base else None
        key_id = before.data_key_id if before else chance.choice([None, self.data_key.id])
        content = dict(self.expected[base]) if base else {}
        change = {index: chance.randrange(256) for index in chance.sample(INDEXES, 5)}
        id_ = self.record(parent=before.root if before else None, data_key_id=key_id)

        async def work(session):
            async def blocks():
                for index, fill in change.items():
                    yield index, text(fill)

            parent = bytes.fromhex(before.root) if before else None
            done = await upload(session, blocks(), size=GIB, parent=parent, key=self.key(key_id))
            self.settle(id_, root=done.root.hex(), state="completed", parent=None)

        await self.again(work)
        self.expected[id_] = {**content, **change}

    async def write(self, chance):
        """As the API does: what was acknowledged must be in the snapshot."""
        key_id = chance.choice([None, self.data_key.id])
        writing = BlockWriting(timeout=60)
        id_ = self.record(data_key_id=key_id, writing=writing, line="line")
        change = {index: chance.randrange(1, 256) for index in chance.sample(INDEXES, 5)}
        for index, fill in change.items():

            async def work(session, index=index, fill=fill):
                digest = await session.put(encode(text(fill), self.key(key_id)))
                await session.note(id_, Noted(index, digest, self.tag(id_, key_id, fill)))

            await self.again(work)
        sums = b"".join(sha256(text(change[index])).digest() for index in sorted(change))
        closed = replace(
            writing,
            closed=SystemClock().now(),
            changed=len(change),
            checksum=base64.b64encode(sha256(sums).digest()).decode(),
        )
        self.settle(id_, writing=closed)
        await self.made(id_, change)

    def tag(self, id_, key_id, fill):
        checksum = sha256(text(fill)).digest()
        return checksum if key_id is None else self.sealer.seal(checksum, f"block-checksum/{id_}").encode()

    async def copy(self, chance):
        base = self.completed(chance)
        if base is None:
            return
        source, content = self.store.view().get(Snapshot, base), self.expected[base]
        other = None if source.data_key_id else self.data_key.id
        id_ = self.record(parent=source.root, reseal=True, source_key_id=source.data_key_id, data_key_id=other)
        await self.made(id_, content)

    async def made(self, id_, content):
        """The storage process makes it, however often it is killed."""
        while (snapshot := self.store.view().get(Snapshot, id_)).state == "pending":
            assert snapshot.writing is None or snapshot.writing.refused is None, snapshot.writing.refused
            await asyncio.sleep(0.02)
        assert snapshot.state == "completed", snapshot.state_message
        self.expected[id_] = content

    async def delete(self, chance):
        id_ = self.completed(chance)
        if id_ is not None and len(self.expected) > 3:
            del self.expected[id_]
            self.store.transact(lambda tx: tx.delete(tx.get(Snapshot, id_)))

    async def act(self, chance, stop):
        while not stop.is_set():
            await chance.choice([self.upload, self.upload, self.write, self.copy, self.delete])(chance)

    async def check(self):
        """Everything on record, byte by byte."""
        session = self.client.session()
        for id_, content in self.expected.items():
            snapshot = self.store.view().get(Snapshot, id_)
            manifest = await Manifest.open(session, bytes.fromhex(snapshot.root))
            reader = Reader(session, manifest, self.key(snapshot.data_key_id))
            for index in INDEXES:
                assert await reader.block(index) == (text(content[index]) if index in content else bytes(BLOCK))
        await session.close()

    async def needed(self):
        session, found = self.client.session(), set()
        for id_ in self.expected:
            root = bytes.fromhex(self.store.view().get(Snapshot, id_).root)
            manifest = await Manifest.open(session, root)
            found |= {root} | {page for n in range(manifest.page_count) if (page := manifest.page_digest(n))}
            found |= {digest async for _, digest in manifest.allocated_from()}
        await session.close()
        return {digest.hex() for digest in found}


@pytest.fixture
def layout(tmp_path):
    made = Layout(tmp_path / "cloud")
    made.prepare(os.geteuid(), simulate=True)
    made.config_file.write_text(f"block_collection_interval = 0.3\nblock_grace = {GRACE}\nblock_check_rate = 1000.0\n")
    return made


async def reachable(cloud):
    while True:
        with suppress(BlockError):
            session = cloud.client.session()
            await session.missing([bytes(32)])
            await session.close()
            return
        await asyncio.sleep(0.05)


async def test_kills_lose_nothing_and_leak_nothing(layout):
    chance = random.Random(20261123)
    cloud, process = Cloud(layout), Process(layout)
    try:
        stop = asyncio.Event()
        workers = [asyncio.create_task(cloud.act(random.Random(chance.random()), stop)) for _ in range(3)]
        for _ in range(KILLS):
            await reachable(cloud)
            await asyncio.sleep(chance.uniform(0.05, 1.0))
            process.kill()
            process.start()
        stop.set()
        async with asyncio.timeout(120):
            await asyncio.gather(*workers)
        assert cloud.expected
        assert cloud.lost
        await reachable(cloud)
        await cloud.check()
        # Quiet: after the grace, what is in the directory is what the records need.
        needed = await cloud.needed()
        await asyncio.sleep(GRACE)
        async with asyncio.timeout(60):
            while {path.name for path in (layout.blocks / "blocks").glob("*/*")} != needed:
                process.signal(signal.SIGUSR1)
                await asyncio.sleep(0.1)
        assert not list((layout.blocks / "aside").iterdir())
        await cloud.check()
        assert process.stop() == 0
        log = (layout.root / "storage.log").read_text()
        assert "Traceback" not in log, log[-4000:]
    finally:
        process.kill()
        cloud.store.close()
