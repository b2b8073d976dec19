"""Reads a snapshot as if it were a disk. Used by hosts to serve volumes that are not filled yet, and to fill them."""

import asyncio
from collections import OrderedDict

from pileus.engines.blocks.encoding import BlockKey, decode
from pileus.engines.blocks.interface import BLOCK, BlockDamaged, BlockMissing, BlockStore, Digest
from pileus.engines.blocks.manifest import Manifest

_ZEROS = bytes(BLOCK)


class Reader:
    """Random access to a snapshot's plaintext, with the decoded blocks that were used last kept in memory.

    ``cached`` is how many (512 KiB each). Several reads may go on at once; a block that several want is fetched once.
    """

    def __init__(
        self, session: BlockStore, manifest: Manifest, key: BlockKey | None = None, *, cached: int = 32
    ) -> None:
        self._session = session
        self.manifest = manifest
        self._key = key
        self._cached = cached
        self._blocks: OrderedDict[Digest, bytes] = OrderedDict()
        self._fetching: dict[Digest, asyncio.Task[bytes]] = {}

    async def read(self, offset: int, length: int) -> bytes:
        """``length`` bytes from ``offset`` on; holes read as zeros. What is past the end is a ValueError.

        Raises:
            BlockDamaged, BlockMissing: ``index`` and ``root`` say which block of which snapshot.
            BlockUnreadable: the key is not the one that it is sealed under. StoreUnavailable: try again.
        """
        if offset < 0 or length < 0 or offset + length > self.manifest.size:
            raise ValueError(f"{length} bytes at {offset} are not within {self.manifest.size}")
        parts: list[bytes] = []
        while length:
            index, begin = divmod(offset, BLOCK)
            part = min(length, BLOCK - begin)
            block = await self.block(index)
            parts.append(block if part == BLOCK else block[begin : begin + part])
            offset += part
            length -= part
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def block(self, index: int) -> bytes:
        """A whole block (the last one padded with zeros). Raises IndexError past the end, and what ``read`` raises."""
        try:
            digest = await self.manifest.digest(index)
            return _ZEROS if digest is None else await self._plaintext(digest)
        except (BlockDamaged, BlockMissing) as error:
            raise type(error)(error.digest, self.manifest.root, index) from error

    async def hole(self, index: int) -> bool:
        """Whether a block is a hole. Raises as ``block`` does."""
        try:
            return await self.manifest.digest(index) is None
        except (BlockDamaged, BlockMissing) as error:
            raise type(error)(error.digest, self.manifest.root, index) from error

    async def _plaintext(self, digest: Digest) -> bytes:
        if (block := self._blocks.get(digest)) is not None:
            self._blocks.move_to_end(digest)
            return block
        fetch = self._fetching.get(digest)
        if fetch is None:
            fetch = self._fetching[digest] = asyncio.create_task(self._fetch(digest))
            fetch.add_done_callback(lambda _: self._fetching.pop(digest, None))
        # Whoever asked first may be cancelled while others wait for the same block.
        return await asyncio.shield(fetch)

    async def _fetch(self, digest: Digest) -> bytes:
        data = await self._session.get(digest)
        block = await asyncio.to_thread(decode, data, self._key)
        self._blocks[digest] = block
        while len(self._blocks) > self._cached:
            self._blocks.popitem(last=False)
        return block
