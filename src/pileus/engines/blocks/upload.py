"""Brings a snapshot into the block store: what changed, on top of its parent. Used by hosts, copies and imports."""

import asyncio
from collections.abc import AsyncIterable, Callable
from hashlib import sha256

import msgspec

from pileus.engines.blocks.encoding import BlockKey, encode, is_hole, padded
from pileus.engines.blocks.interface import BlockStore, Digest
from pileus.engines.blocks.manifest import Manifest, ManifestWriter

PARALLEL = 8


class Uploaded(msgspec.Struct, frozen=True, kw_only=True):
    """``root`` is the snapshot's root digest; ``uploaded_bytes`` what had to be sent (encoded, without manifest);
    ``full_bytes`` what its allocated blocks have in all (before compression).
    """

    root: Digest
    uploaded_bytes: int
    full_bytes: int


async def upload(
    session: BlockStore,
    changed: AsyncIterable[tuple[int, bytes]],
    *,
    size: int,
    parent: Digest | None = None,
    key: BlockKey | None = None,
    progress: Callable[[int], None] | None = None,
    parallel: int = PARALLEL,
) -> Uploaded:
    """Stores a snapshot and returns its root. Everything is durable, and protected until the session ends.

    It can be cancelled or killed at any point and called again, with a new session: what is stored already is not sent
    again. On SessionLost open a new session and call again.

    Args:
        changed: the blocks that may differ from the parent's, each index at most once, in any order (ascending is
            quickest), with their plaintext: 512 KiB, fewer bytes only for the last. A block of zeros becomes a hole. With
            no parent, those that do not come are holes. It is read no further ahead than ``parallel`` blocks.
        size: bytes of the volume, at least the parent's.
        parent: root digest of a snapshot that is on record, sealed under the same key.
        key: seals the blocks; None: they are not sealed.
        progress: told after each block how many are done.

    Raises:
        ValueError: an index, length or size is impossible, or the parent is sealed otherwise.
        SessionLost, StoreUnavailable, BlockMissing, BlockDamaged: (the latter two about the parent's manifest).
    """
    base = None if parent is None else await Manifest.open(session, parent)
    work = _Upload(session, ManifestWriter(session, size=size, sealed=key is not None, parent=base), key, progress)
    slots = asyncio.Semaphore(parallel)
    try:
        async with asyncio.TaskGroup() as group:
            async for index, plaintext in changed:
                await slots.acquire()
                task = group.create_task(work.block(index, plaintext))
                task.add_done_callback(lambda _: slots.release())
    except BaseExceptionGroup as several:
        raise several.exceptions[0] from None
    manifest = await work.writer.finish()
    return Uploaded(root=manifest.root, uploaded_bytes=work.sent, full_bytes=manifest.full_bytes)


class _Upload:
    """One upload on its way."""

    def __init__(
        self,
        session: BlockStore,
        writer: ManifestWriter,
        key: BlockKey | None,
        progress: Callable[[int], None] | None,
    ) -> None:
        self._session = session
        self.writer = writer
        self._key = key
        self._progress = progress
        self.sent = 0
        self._done = 0

    async def block(self, index: int, plaintext: bytes) -> None:
        encoded = await asyncio.to_thread(_encoded, plaintext, self._key)
        if encoded is None:
            await self.writer.set(index, None)
        else:
            digest, data = encoded
            if await self._session.missing([digest]):
                await self._session.put(data)
                self.sent += len(data)
            await self.writer.set(index, digest)
        self._done += 1
        if self._progress is not None:
            self._progress(self._done)


def _encoded(plaintext: bytes, key: BlockKey | None) -> tuple[Digest, bytes] | None:
    block = padded(plaintext)
    if is_hole(block):
        return None
    data = encode(block, key)
    return sha256(data).digest(), data
