"""Seals the blocks of a snapshot anew, under another data key. Used by ``making``."""

import asyncio
from collections.abc import AsyncIterator, Callable

from pileus.engines.blocks.encoding import BlockKey, decode
from pileus.engines.blocks.interface import BlockDamaged, BlockMissing, BlockStore, Digest
from pileus.engines.blocks.manifest import Manifest
from pileus.engines.blocks.upload import Uploaded, upload


async def reseal(
    session: BlockStore,
    source: Digest,
    old: BlockKey | None,
    new: BlockKey | None,
    progress: Callable[[int], None] | None = None,
    size: int = 0,
) -> Uploaded:
    """Stores the same snapshot under another key. ``progress`` is told percent; ``size`` is what it grows to, if that is more.

    It may be killed and begun again: sealing is convergent, so what is stored already is found.

    Raises:
        BlockDamaged, BlockMissing: ``index`` and ``root`` say which block of the source. BlockUnreadable: ``old`` is not
            its key. StoreUnavailable, SessionLost.
    """
    manifest = await Manifest.open(session, source)

    def told(done: int) -> None:
        if progress is not None:
            progress(done * 100 // max(1, manifest.allocated))

    return await upload(session, _opened(session, manifest, old), size=max(size, manifest.size), key=new, progress=told)


async def _opened(session: BlockStore, manifest: Manifest, key: BlockKey | None) -> AsyncIterator[tuple[int, bytes]]:
    async for index, digest in manifest.allocated_from():
        try:
            data = await session.get(digest)
        except (BlockDamaged, BlockMissing) as error:
            raise type(error)(error.digest, manifest.root, index) from error
        yield index, await asyncio.to_thread(decode, data, key)
