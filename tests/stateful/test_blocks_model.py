"""Uploads, deletions, collections and kills in any order, over a block store in memory and one in a directory.

The model is which roots are on record: every one of them can be read, whole, at any time; and once nobody writes, a collection
leaves nothing else.
"""

import asyncio
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pileus.engines.blocks.directory import DirectoryShelf
from pileus.engines.blocks.encoding import BlockKey
from pileus.engines.blocks.fake import MemoryShelf
from pileus.engines.blocks.interface import BLOCK, BlockMissing, Noted, SessionLost
from pileus.engines.blocks.ledger import Ledger
from pileus.engines.blocks.manifest import Manifest
from pileus.engines.blocks.reader import Reader
from pileus.engines.blocks.store import LocalBlocks
from pileus.engines.blocks.upload import upload

SIZE = 5000 * BLOCK  # two pages
KEYS = (None, BlockKey(b"k" * 32))
INDEXES = (0, 1, 2, 4999)

changes = st.dictionaries(st.sampled_from(INDEXES), st.integers(0, 3), max_size=4)
picks = st.integers(0, 7)


def text(fill):
    return bytes([fill]) * BLOCK


class Upload:
    """One that is under way or waits to be put on record. ``died`` is when its session was lost, None while it lives."""

    def __init__(self, session, began, parent, key, content):
        self.session = session
        self.began = began
        self.parent = parent
        self.key = key
        self.content = content
        self.lost = False
        self.root = None


class BlocksModel(RuleBasedStateMachine):
    durable = False
    grace = 100.0

    @initialize()
    def begin(self):
        self.loop = asyncio.new_event_loop()
        self.now = 1000.0
        self.directory = Path(tempfile.mkdtemp(prefix="pileus-blocks-")) if self.durable else None
        self.shelf = None
        self.ledger = Ledger(self.directory / "ledger" if self.directory else None)
        self.start()
        self.records = []  # (root, key number, content)
        self.uploads = []
        self.drafts = {}
        self.collection = None

    def start(self):
        if self.directory is not None:
            self.shelf = DirectoryShelf(self.directory, lambda: self.now)
        elif self.shelf is None:
            self.shelf = MemoryShelf(lambda: self.now)
        self.blocks = LocalBlocks(self.shelf, self.ledger, now=lambda: self.now, grace=self.grace)

    def run(self, work):
        return self.loop.run_until_complete(work)

    def teardown(self):
        if not hasattr(self, "loop"):
            return
        try:
            self.quiet()
        finally:
            self.run(self.blocks.close())
            self.loop.close()
            if self.directory is not None:
                shutil.rmtree(self.directory)

    def quiet(self):
        """Nobody writes any more, time goes by, and what is left is what the records need."""
        self.finish_collection()
        for one in self.uploads:
            self.run(one.session.close())
        self.uploads = []
        self.now += 2 * self.grace + 1
        self.run(self.blocks.collect(self.roots))
        left = {one.digest for bucket in range(256) for one in self.shelf.list(bucket)}
        assert left == self.run(self.needed())
        self.everything_on_record_can_be_read()

    async def needed(self):
        session = self.blocks.session()
        found = {noted.digest for entries in self.drafts.values() for noted in entries.values() if noted.digest}
        for root in await self.roots():
            manifest = await Manifest.open(session, root)
            found.add(root)
            found |= {page for n in range(manifest.page_count) if (page := manifest.page_digest(n))}
            found |= {digest async for _, digest in manifest.allocated_from()}
        await session.close()
        return found

    async def roots(self):
        # A snapshot that is being uploaded is on record with its parent.
        return [root for root, _, _ in self.records] + [one.parent for one in self.uploads if one.parent]

    @rule(change=changes, parent=st.none() | picks, key=st.integers(0, 1))
    def upload(self, change, parent, key):
        content, base = {}, None
        if parent is not None and self.records:
            base, key, content = self.records[parent % len(self.records)]
        one = Upload(self.blocks.session(), self.now, base, key, {**content, **change})
        self.uploads.append(one)
        self.send(one, change)

    def send(self, one, change):
        async def blocks():
            for index, fill in change.items():
                yield index, text(fill)

        done = self.run(upload(one.session, blocks(), size=SIZE, parent=one.parent, key=KEYS[one.key], parallel=2))
        one.root = done.root

    @precondition(lambda self: self.uploads)
    @rule(pick=picks)
    def put_on_record(self, pick):
        """Only while its session lives, or soon after."""
        one = self.uploads.pop(pick % len(self.uploads))
        if not one.lost or self.now < one.began + self.grace:
            self.records.append((one.root, one.key, one.content))
        self.run(one.session.close())

    @precondition(lambda self: self.uploads)
    @rule(pick=picks)
    def give_up(self, pick):
        self.run(self.uploads.pop(pick % len(self.uploads)).session.close())

    @precondition(lambda self: self.records)
    @rule(pick=picks)
    def delete(self, pick):
        self.records.pop(pick % len(self.records))

    @rule(draft=st.sampled_from(["a", "b"]), index=st.integers(0, 3), fill=st.integers(0, 3))
    def note(self, draft, index, fill):
        async def write():
            session = self.blocks.session()
            digest = await session.put(b"\x00" + text(fill)) if fill else b""
            noted = Noted(index, digest, bytes([fill]))
            await session.note(draft, noted)
            await session.close()
            return noted

        self.drafts.setdefault(draft, {})[index] = self.run(write())

    @rule(draft=st.sampled_from(["a", "b"]))
    def drop(self, draft):
        self.run(self.blocks.session().drop(draft))
        self.drafts.pop(draft, None)

    @rule(seconds=st.sampled_from([30.0, 90.0, 150.0]))
    def pass_time(self, seconds):
        self.now += seconds

    @precondition(lambda self: self.collection is None)
    @rule()
    def begin_collection(self):
        """It goes on beside everything else; the roots are read now."""
        gate = asyncio.Event()

        async def roots():
            found = await self.roots()
            await gate.wait()
            return found

        self.collection = (gate, self.loop.create_task(self.blocks.collect(roots)))
        self.run(asyncio.sleep(0))

    @precondition(lambda self: self.collection is not None)
    @rule()
    def finish_collection(self):
        if self.collection is not None:
            gate, task = self.collection
            self.collection = None
            gate.set()
            self.run(task)

    @rule(change=changes)
    def upload_while_it_is_collected(self, change):
        """The two run at once, their steps mixed as threads will have it."""
        self.finish_collection()
        one = Upload(self.blocks.session(), self.now, None, 0, dict(change))
        self.uploads.append(one)

        async def blocks():
            for index, fill in change.items():
                yield index, text(fill)

        async def both():
            done, _ = await asyncio.gather(
                upload(one.session, blocks(), size=SIZE, parallel=2), self.blocks.collect(self.roots)
            )
            return done.root

        one.root = self.run(both())

    @rule()
    def kill(self):
        """The process is gone: all sessions, and a collection wherever it is. What is in the directory stays."""
        if self.collection is not None:
            _, task = self.collection
            self.collection = None
            task.cancel()
            self.run(asyncio.gather(task, return_exceptions=True))
        for one in self.uploads:
            one.lost = True
            one.session._ended = True  # its user is told SessionLost from now on
        if self.directory is not None:
            self.shelf.close()
        self.blocks._threads.shutdown()
        self.start()

    @precondition(lambda self: any(one.lost for one in self.uploads))
    @rule(pick=picks, change=changes)
    def begin_again(self, pick, change):
        """The user of a lost session uploads anew; what is stored still is found."""
        lost = [one for one in self.uploads if one.lost]
        one = lost[pick % len(lost)]
        with pytest.raises(SessionLost):
            self.run(one.session.missing([bytes(32)]))
        one.session, one.began, one.lost = self.blocks.session(), self.now, False
        self.send(one, {**{index: one.content.get(index, 0) for index in INDEXES}, **change})
        one.content = {**one.content, **change}

    @invariant()
    def drafts_are_as_noted(self):
        if not hasattr(self, "loop"):
            return

        async def check():
            session = self.blocks.session()
            for draft, entries in self.drafts.items():
                assert await session.noted(draft, -1, 100) == [entries[index] for index in sorted(entries)]
                for noted in entries.values():
                    if noted.digest:
                        await session.get(noted.digest)
            await session.close()

        self.run(check())

    @rule()
    def everything_on_record_can_be_read(self):
        async def check():
            session = self.blocks.session()
            for root, key, content in self.records:
                reader = Reader(session, await Manifest.open(session, root), KEYS[key])
                assert reader.manifest.allocated == sum(fill > 0 for fill in content.values())
                for index in INDEXES:
                    assert await reader.block(index) == text(content.get(index, 0))
            await session.close()

        self.run(check())

    @rule()
    def what_was_never_put_is_missing(self):
        with pytest.raises(BlockMissing):
            self.run(self.blocks.session().get(bytes(32)))


class GracelessModel(BlocksModel):
    """Sessions alone protect: whoever loses one must begin again."""

    grace = 0.0


class DirectoryModel(BlocksModel):
    durable = True


TestInMemory = BlocksModel.TestCase
TestInMemory.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)
TestWithoutGrace = GracelessModel.TestCase
TestWithoutGrace.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)
TestInDirectory = DirectoryModel.TestCase
TestInDirectory.settings = settings(max_examples=8, stateful_step_count=20, deadline=None)
