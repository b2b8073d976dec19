"""What a snapshot consists of: the digest of each of its blocks, in pages, under one root. Used by ``upload``, ``reader``,
the EBS direct API and the collector.

A page holds the digests of ``PAGE`` blocks in order, 32 zero bytes for a hole, and is stored as a block: the byte
``PAGE_FORMAT`` and one Zstandard frame. The root is stored likewise: ``ROOT_FORMAT`` and one frame of MessagePack. They
are never sealed: digests tell nothing, and the collector follows them without any key. A snapshot that differs in a few
blocks from another shares all pages but theirs.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from hashlib import sha256
from typing import Self

import msgspec
import zstandard

from pileus.engines.blocks.encoding import pack, unpack
from pileus.engines.blocks.interface import BLOCK, DIGEST, BlockError, BlockStore, BlockUnreadable, Digest

PAGE = 4096
PAGE_FORMAT, ROOT_FORMAT = b"\x10", b"\x11"
LARGEST = 64 << 40
"""No volume has more bytes (EBS's bound of io2 Block Express)."""

HOLE = bytes(DIGEST)
_EMPTY_PAGE = bytes(DIGEST * PAGE)
_ROOT_LIMIT = 8 << 20
_OPEN_PAGES = 64
_CACHED_PAGES = 8


class NotAManifest(BlockError):
    """The digest is not that of a snapshot's root, or something below it is no page."""


class _Root(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    version: int
    size: int
    allocated: int
    sealed: bool
    pages: bytes


def block_count(size: int) -> int:
    """How many blocks a volume of ``size`` bytes has."""
    return -(-size // BLOCK)


class Manifest:
    """One snapshot's blocks. Made by ``open`` and ``ManifestWriter``; never changes.

    Attributes:
        root: its digest. size: bytes of the volume. blocks: how many those are. allocated: how many are stored, the others
            are holes. sealed: whether they are sealed under a data key.
    """

    def __init__(self, session: BlockStore, root: Digest, parts: _Root) -> None:
        self._session = session
        self.root = root
        self.size = parts.size
        self.blocks = block_count(parts.size)
        self.allocated = parts.allocated
        self.sealed = parts.sealed
        self._pages = parts.pages
        self._cache: OrderedDict[int, bytes] = OrderedDict()

    @classmethod
    async def open(cls, session: BlockStore, root: Digest) -> Self:
        """The manifest under a root.

        Raises NotAManifest, BlockMissing, BlockDamaged, StoreUnavailable.
        """
        return cls(session, root, _read_root(await session.get(root)))

    @property
    def full_bytes(self) -> int:
        """What its allocated blocks have in all, before compression."""
        return self.allocated * BLOCK

    @property
    def page_count(self) -> int:
        """How many pages it has, empty ones included."""
        return len(self._pages) // DIGEST

    def page_digest(self, number: int) -> Digest | None:
        """The digest of a page, None for one without any block or past the end."""
        digest = self._pages[number * DIGEST : (number + 1) * DIGEST]
        return digest if digest and digest != HOLE else None

    async def page(self, number: int) -> bytes:
        """The digests in a page, one after the other, ``PAGE`` of them."""
        address = self.page_digest(number)
        if address is None:
            return _EMPTY_PAGE
        cached = self._cache.get(number)
        if cached is None:
            cached = read_page(await self._session.get(address))
            self._cache[number] = cached
            if len(self._cache) > _CACHED_PAGES:
                self._cache.popitem(last=False)
        return cached

    async def digest(self, index: int) -> Digest | None:
        """The digest of a block, None for a hole. Raises IndexError past the end."""
        if not 0 <= index < self.blocks:
            raise IndexError(f"block {index} is not one of {self.blocks}")
        page = await self.page(index // PAGE)
        at = index % PAGE * DIGEST
        digest = page[at : at + DIGEST]
        return None if digest == HOLE else digest

    async def allocated_from(self, start: int = 0) -> AsyncIterator[tuple[int, Digest]]:
        """The blocks that are not holes, from ``start`` on, in order."""
        for number in range(start // PAGE, self.page_count):
            if self.page_digest(number) is None:
                continue
            page = await self.page(number)
            first = number * PAGE
            for place in range(max(0, start - first), PAGE):
                digest = page[place * DIGEST : (place + 1) * DIGEST]
                if digest != HOLE:
                    yield first + place, digest

    async def with_changes(
        self, session: BlockStore, changes: Mapping[int, Digest | None], size: int | None = None
    ) -> "Manifest":
        """A manifest with other digests (None: holes), stored durably; only pages that differ are written.

        ``size`` may grow. Raises ValueError, StoreUnavailable.
        """
        writer = ManifestWriter(session, size=size or self.size, sealed=self.sealed, parent=self)
        for index, digest in changes.items():
            await writer.set(index, digest)
        return await writer.finish()


class ManifestWriter:
    """Writes a manifest, on top of ``parent`` or from nothing; blocks may come in any order, ascending is quickest.

    Holds a bounded number of pages in memory. Raises ValueError when the size is impossible or below the parent's, or the
    parent is sealed and this one is not (or the other way round).
    """

    def __init__(self, session: BlockStore, *, size: int, sealed: bool, parent: Manifest | None = None) -> None:
        if not 0 < size <= LARGEST:
            raise ValueError(f"a volume can't have {size} bytes")
        if parent is not None and (size < parent.size or sealed != parent.sealed):
            raise ValueError("the parent is larger, or sealed otherwise")
        self._session = session
        self._size = size
        self._blocks = block_count(size)
        self._sealed = sealed
        self._parent = parent
        self._allocated = parent.allocated if parent else 0
        self._done: dict[int, Digest] = {}
        self._open: OrderedDict[int, bytearray] = OrderedDict()
        self._changing = asyncio.Lock()

    async def set(self, index: int, digest: Digest | None) -> None:
        """Says what a block is; None: a hole. Raises ValueError past the end."""
        if not 0 <= index < self._blocks:
            raise ValueError(f"block {index} is not one of {self._blocks}")
        async with self._changing:
            page = await self._page(index // PAGE)
            at = index % PAGE * DIGEST
            fresh = digest or HOLE
            self._allocated += (fresh != HOLE) - (bytes(page[at : at + DIGEST]) != HOLE)
            page[at : at + DIGEST] = fresh

    async def finish(self) -> Manifest:
        """Stores what was not yet, the root last. Nothing can be set any more."""
        async with self._changing:
            while self._open:
                await self._write_first()
            pages = b"".join(
                self._done.get(number) or (self._parent and self._parent.page_digest(number)) or HOLE
                for number in range(-(-self._blocks // PAGE))
            )
            parts = _Root(version=1, size=self._size, allocated=self._allocated, sealed=self._sealed, pages=pages)
            data = ROOT_FORMAT + pack(msgspec.msgpack.encode(parts))
            return Manifest(self._session, await _store(self._session, data), parts)

    async def _page(self, number: int) -> bytearray:
        page = self._open.get(number)
        if page is None:
            if len(self._open) >= _OPEN_PAGES:
                await self._write_first()
            page = self._open[number] = bytearray(await self._before(number))
        return page

    async def _before(self, number: int) -> bytes:
        if (written := self._done.get(number)) is not None:
            return _EMPTY_PAGE if written == HOLE else read_page(await self._session.get(written))
        return _EMPTY_PAGE if self._parent is None else await self._parent.page(number)

    async def _write_first(self) -> None:
        number, page = next(iter(self._open.items()))
        whole = bytes(page)
        self._done[number] = HOLE if whole == _EMPTY_PAGE else await _store(self._session, PAGE_FORMAT + pack(whole))
        del self._open[number]


async def compare(
    first: Manifest, second: Manifest, start: int = 0
) -> AsyncIterator[tuple[int, Digest | None, Digest | None]]:
    """The blocks from ``start`` on whose digests differ: index, digest in the first, digest in the second (None: a hole).

    Equal pages are not read. Blocks past the end of one are holes in it.
    """
    for number in range(start // PAGE, max(first.page_count, second.page_count)):
        if first.page_digest(number) == second.page_digest(number):
            continue
        one, other = await first.page(number), await second.page(number)
        begin = number * PAGE
        for place in range(max(0, start - begin), PAGE):
            before, after = (page[place * DIGEST : (place + 1) * DIGEST] for page in (one, other))
            if before != after:
                yield begin + place, None if before == HOLE else before, None if after == HOLE else after


def children(data: bytes) -> list[Digest]:
    """The pages that an encoded root names. Raises NotAManifest."""
    pages = _read_root(data).pages
    return [page for at in range(0, len(pages), DIGEST) if (page := pages[at : at + DIGEST]) != HOLE]


def read_page(data: bytes) -> bytes:
    """The digests in an encoded page, one after the other. Raises NotAManifest."""
    if data[:1] != PAGE_FORMAT:
        raise NotAManifest("a page of a manifest was expected")
    try:
        return unpack(data[1:], len(_EMPTY_PAGE))
    except BlockUnreadable as error:
        raise NotAManifest(str(error)) from error


def _read_root(data: bytes) -> _Root:
    if data[:1] != ROOT_FORMAT:
        raise NotAManifest("a snapshot's root was expected")
    try:
        length = zstandard.frame_content_size(data[1:])
        if not 0 < length <= _ROOT_LIMIT:
            raise NotAManifest(f"a root of {length} bytes")
        root = msgspec.msgpack.decode(unpack(data[1:], length), type=_Root)
    except (zstandard.ZstdError, BlockUnreadable, msgspec.MsgspecError) as error:
        raise NotAManifest(f"not a snapshot's root: {error}") from error
    if (
        root.version != 1
        or not 0 < root.size <= LARGEST
        or len(root.pages) != -(-block_count(root.size) // PAGE) * DIGEST
    ):
        raise NotAManifest("a snapshot's root of another version, or not whole")
    return root


async def _store(session: BlockStore, data: bytes) -> Digest:
    digest = sha256(data).digest()
    if await session.missing([digest]):
        await session.put(data)
    return digest
