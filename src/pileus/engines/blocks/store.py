"""The block store in the one process that owns its shelf: sessions, and the collection of what nobody needs any more.

Used by the ``storage`` process (directly, and for others through ``server``), by tests and the simulated cloud.

Collection is mark and sweep. It may run beside everything else, and be killed anywhere, because of three rules:
a block is *held* from before its presence is looked up until its session ends; when a collection begins, what is held
then, and whatever is held later, counts as used for the whole of it, and only after that the roots on record are read; what
was put or asked for within ``grace`` seconds is kept too (that spans a restart, which ends all sessions). If anything
below a root can't be read, nothing at all is removed.

All of its state is touched on the event loop only; the shelf works in threads.
"""

import asyncio
import errno
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

import msgspec

from pileus.engines.blocks.interface import (
    DIGEST,
    STORED_LIMIT,
    TAG_LIMIT,
    BlockDamaged,
    BlockMissing,
    Digest,
    DraftClosed,
    Noted,
    SessionLost,
    StoreUnavailable,
)
from pileus.engines.blocks.ledger import Ledger
from pileus.engines.blocks.manifest import HOLE, NotAManifest, children, read_page
from pileus.engines.blocks.marks import Marks
from pileus.engines.blocks.shelf import BUCKETS, Shelf

log = logging.getLogger(__name__)

T = TypeVar("T")
Roots = Callable[[], Awaitable[Iterable[Digest]]]
"""Reads the roots that are on record, when it is called and not before."""

_THREADS = 16
_SWEPT_AT_ONCE = 64
_LOOKED_UP_AT_ONCE = 256


class Collected(msgspec.Struct, frozen=True, kw_only=True):
    """What a collection did: blocks ``kept`` and ``removed``, and the bytes of the latter."""

    kept: int
    removed: int
    removed_bytes: int


class CollectionStopped(Exception):
    """Nothing was removed: what the roots on record need could not all be found out. The cause is a BlockError."""


class LocalBlocks:
    """The blocks on a shelf, with a ledger. ``now`` is the shelf's time; ``grace`` is in seconds.

    ``scratch`` is a directory for large intermediate results.
    """

    def __init__(
        self, shelf: Shelf, ledger: Ledger, *, now: Callable[[], float], grace: float, scratch: Path | None = None
    ) -> None:
        self._shelf = shelf
        self.ledger = ledger
        self._now = now
        self._grace = grace
        self._scratch = scratch
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="blocks")
        self._held: Counter[Digest] = Counter()
        self._epoch: set[Digest] | None = None
        self._doomed: frozenset[Digest] = frozenset()
        self._swept = asyncio.Condition()
        self._publishing: dict[Digest, asyncio.Future[None]] = {}
        self._doubtful: set[Digest] = set()
        self._staged: list[tuple[Digest, str]] = []
        self._publisher: asyncio.Task[None] | None = None
        self._notes: list[tuple[str, Noted, asyncio.Future[None]]] = []
        self._scribe: asyncio.Task[None] | None = None
        self._renaming = asyncio.Lock()
        self._collecting = asyncio.Lock()

    def session(self) -> "LocalSession":
        """A new session."""
        return LocalSession(self)

    @property
    def damaged(self) -> Sequence[Digest]:
        """The blocks that were found damaged and not put again since."""
        return self._shelf.aside()

    async def close(self) -> None:
        """Finishes what is being written and lets the shelf go."""
        for task in (self._publisher, self._scribe):
            if task is not None:
                await asyncio.gather(task, return_exceptions=True)
        self._threads.shutdown()
        self.ledger.close()
        self._shelf.close()

    async def thread(self, function: Callable[..., T], *args: object) -> T:
        """Runs a blocking call on the shelf or ledger. Raises StoreUnavailable for an OSError, but FileNotFoundError."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, function, *args)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise StoreUnavailable(str(error)) from error

    # What sessions do

    async def hold(self, digests: Sequence[Digest], held: set[Digest]) -> None:
        """Protects blocks for a session, whose set is ``held``; waits for a removal of any of them that is under way."""
        async with self._swept:
            await self._swept.wait_for(lambda: self._doomed.isdisjoint(digests))
        fresh = [digest for digest in dict.fromkeys(digests) if digest not in held]
        held.update(fresh)
        self._held.update(fresh)
        if self._epoch is not None:
            self._epoch.update(digests)

    def release(self, held: set[Digest]) -> None:
        """Ends a session's protection."""
        for digest in held:
            self._held[digest] -= 1
            if not self._held[digest]:
                del self._held[digest]
        held.clear()

    async def which(self, digests: Sequence[Digest]) -> set[Digest]:
        """Those of some held blocks that are stored, and durably so."""
        there: set[Digest] = set()
        for start in range(0, len(digests), _LOOKED_UP_AT_ONCE):
            part = digests[start : start + _LOOKED_UP_AT_ONCE]
            found = await self.thread(_touch, self._shelf, part)
            for digest in found:
                doubtful = digest in self._publishing or digest in self._doubtful
                if not doubtful or await self.present(digest):
                    there.add(digest)
        return there

    async def present(self, digest: Digest, size: int | None = None) -> bool:
        """Whether a held block is stored, and durably so."""
        if not await self.thread(self._shelf.touch, digest, size):
            return False
        if (under_way := self._publishing.get(digest)) is not None:
            # Its name may be there already, and not yet on the disk.
            await asyncio.wait([under_way])
            return await self.present(digest, size)
        return digest not in self._doubtful

    async def write(self, digest: Digest, data: bytes) -> None:
        """Stores a held block durably. Writers that come together share the syncing of directories."""
        staged = await self.thread(self._shelf.stage, digest, data)
        while (under_way := self._publishing.get(digest)) is not None:
            await asyncio.wait([under_way])
        done = self._publishing[digest] = asyncio.get_running_loop().create_future()
        self._staged.append((digest, staged))
        if self._publisher is None or self._publisher.done():
            self._publisher = asyncio.create_task(self._publish())
        # Whoever is cancelled does not take it back from the others.
        await asyncio.shield(done)

    async def note(self, draft: str, noted: Noted) -> None:
        """Writes an entry of a draft; writers that come together share the syncing."""
        done = asyncio.get_running_loop().create_future()
        self._notes.append((draft, noted, done))
        if self._scribe is None or self._scribe.done():
            self._scribe = asyncio.create_task(self._write_notes())
        await asyncio.shield(done)

    async def _write_notes(self) -> None:
        while self._notes:
            batch, self._notes = self._notes, []
            try:
                entries = [(draft, noted) for draft, noted, _ in batch]
                closed = await self.thread(self.ledger.note, entries, self._now())
            except StoreUnavailable as error:
                for *_, done in batch:
                    done.set_exception(error)
                    done.exception()
            else:
                for draft, _, done in batch:
                    if draft in closed:
                        done.set_exception(DraftClosed(draft))
                        done.exception()
                    else:
                        done.set_result(None)

    async def close_draft(self, draft: str, *, closed: bool = True) -> None:
        """Lets nothing more be written to a draft, or lets it again. Raises StoreUnavailable."""
        await self.thread(lambda: self.ledger.close_draft(draft, self._now(), closed=closed))

    async def _publish(self) -> None:
        while self._staged:
            batch, self._staged = self._staged, []
            problem: StoreUnavailable | None = None
            try:
                async with self._renaming:
                    await self.thread(self._shelf.publish, batch)
            except (StoreUnavailable, FileNotFoundError) as error:
                problem = StoreUnavailable(str(error))
            for digest, _ in batch:
                done = self._publishing.pop(digest)
                if problem is None:
                    self._doubtful.discard(digest)
                    done.set_result(None)
                else:
                    # It may have its name, but not for sure: whoever wants it must put it again.
                    self._doubtful.add(digest)
                    done.set_exception(problem)
                    done.exception()  # also when nobody waits any more

    async def read(self, digest: Digest) -> bytes:
        """A block, checked. Raises BlockMissing, BlockDamaged, StoreUnavailable."""
        try:
            data = await self.thread(self._read_checked, digest)
        except FileNotFoundError:
            if self._shelf.is_aside(digest):
                raise BlockDamaged(digest) from None
            raise BlockMissing(digest) from None
        if data is None:
            await self._set_aside(digest)
            raise BlockDamaged(digest)
        return data

    def _read_checked(self, digest: Digest) -> bytes | None:
        """None when it is damaged."""
        try:
            data = self._shelf.read(digest)
        except OSError as error:
            if error.errno == errno.EIO:
                return None
            raise
        return data if sha256(data).digest() == digest else None

    async def _set_aside(self, digest: Digest) -> None:
        async with self._renaming:
            # Meanwhile it may have been put again.
            try:
                if await self.thread(self._read_checked, digest) is not None:
                    return
            except FileNotFoundError:
                return
            await self.thread(self._shelf.set_aside, digest)
        log.error("a block of the snapshot store is damaged", extra={"block": digest.hex()})

    # What the owner does

    async def check(self, bucket: int, pause: Callable[[int], Awaitable[None]]) -> int:
        """Reads all blocks of a bucket, and sets aside what is damaged. Returns how many are.

        ``pause`` is awaited after each block, with its size.
        """
        found = 0
        for stored in await self.thread(self._shelf.list, bucket):
            try:
                await self.read(stored.digest)
            except BlockDamaged:
                found += 1
            except BlockMissing:
                pass  # collected meanwhile
            await pause(stored.size)
        return found

    async def collect(self, roots: Roots) -> Collected:
        """Removes what neither a root on record, nor a draft, nor a session needs.

        Raises:
            CollectionStopped: something below a root is missing or damaged; nothing was removed.
            StoreUnavailable: the medium failed; some may have been removed.
        """
        async with self._collecting:
            self._epoch = set(self._held)
            marks = Marks(self._scratch)
            try:
                await self._mark(await roots(), marks)
                return await self._sweep(marks)
            finally:
                self._epoch = None
                marks.close()

    async def _mark(self, roots: Iterable[Digest], marks: Marks) -> None:
        seen: set[Digest] = set()
        for digest in await self.thread(lambda: list(self.ledger.digests())):
            marks.add(digest)
        for root in roots:
            if root in seen:
                continue
            seen.add(root)
            marks.add(root)
            try:
                for page in children(await self.read(root)):
                    if page not in seen:
                        seen.add(page)
                        marks.add(page)
                        digests = read_page(await self.read(page))
                        await self.thread(_mark_page, digests, marks)
            except NotAManifest as error:
                # It is whole and was never a snapshot, so there is nothing below that anyone could want.
                log.error("a root on record is no snapshot", extra={"root": root.hex(), "reason": str(error)})  # noqa: TRY400
            except (BlockMissing, BlockDamaged) as error:
                raise CollectionStopped(f"snapshot root {root.hex()}: {error}") from error

    async def _sweep(self, marks: Marks) -> Collected:
        kept = removed = removed_bytes = 0
        for bucket in range(BUCKETS):
            used = await self.thread(marks.bucket, bucket)
            stored = await self.thread(self._shelf.list, bucket)
            oldest = self._now() - self._grace
            over = [one for one in stored if one.digest not in used and one.used <= oldest]
            kept += len(stored) - len(over)
            for start in range(0, len(over), _SWEPT_AT_ONCE):
                batch = over[start : start + _SWEPT_AT_ONCE]
                gone = await self._remove([one.digest for one in batch])
                kept += len(batch) - len(gone)
                removed += len(gone)
                removed_bytes += sum(one.size for one in batch if one.digest in gone)
        return Collected(kept=kept, removed=removed, removed_bytes=removed_bytes)

    async def _remove(self, digests: Sequence[Digest]) -> frozenset[Digest]:
        """Removes those that nobody has held since the collection began."""
        assert self._epoch is not None
        gone = self._doomed = frozenset(digests) - self._epoch
        try:
            await self.thread(self._shelf.remove, sorted(gone))
        finally:
            self._doomed = frozenset()
            async with self._swept:
                self._swept.notify_all()
        return gone


class LocalSession:
    """A session in the process that owns the blocks."""

    def __init__(self, blocks: LocalBlocks) -> None:
        self._blocks = blocks
        self._held: set[Digest] = set()
        self._ended = False

    async def missing(self, digests: Sequence[Digest]) -> Sequence[Digest]:
        for digest in digests:
            if len(digest) != DIGEST:
                raise ValueError(f"a digest has {DIGEST} bytes, not {len(digest)}")
        await self._hold(digests)
        there = await self._blocks.which(digests)
        return [digest for digest in digests if digest not in there]

    async def put(self, data: bytes) -> Digest:
        if len(data) > STORED_LIMIT:
            raise ValueError(f"a block of {len(data)} bytes is too long")
        digest = await self._blocks.thread(lambda: sha256(data).digest())
        await self._hold([digest])
        if not await self._blocks.present(digest, len(data)):
            await self._blocks.write(digest, data)
        return digest

    async def get(self, digest: Digest) -> bytes:
        return await self._blocks.read(digest)

    async def note(self, draft: str, noted: Noted) -> None:
        if len(noted.tag) > TAG_LIMIT or not 0 <= noted.index < 1 << 40 or len(noted.digest) not in {0, DIGEST}:
            raise ValueError("no entry of a draft")
        if noted.digest and await self.missing([noted.digest]):
            raise BlockMissing(noted.digest)
        await self._blocks.note(draft, noted)

    async def noted(self, draft: str, after: int, limit: int) -> Sequence[Noted]:
        return await self._blocks.thread(self._blocks.ledger.noted, draft, after, min(limit, 4096))

    async def drop(self, draft: str) -> None:
        await self._blocks.thread(self._blocks.ledger.drop, draft)

    async def close(self) -> None:
        self._ended = True
        self._blocks.release(self._held)

    async def _hold(self, digests: Sequence[Digest]) -> None:
        if self._ended:
            raise SessionLost("the session has ended")
        await self._blocks.hold(digests, self._held)
        if self._ended:  # while it waited
            self._blocks.release(self._held)
            raise SessionLost("the session has ended")


def _touch(shelf: Shelf, digests: Sequence[Digest]) -> list[Digest]:
    return [digest for digest in digests if shelf.touch(digest)]


def _mark_page(digests: bytes, marks: Marks) -> None:
    for at in range(0, len(digests), DIGEST):
        digest = digests[at : at + DIGEST]
        if digest != HOLE:
            marks.add(digest)
