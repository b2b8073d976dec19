"""The block store as its users see it: snapshot uploads and restores on hosts, the EBS direct API, copies, imports.

A block is ``BLOCK`` bytes of a volume (the last one is padded with zeros; one that is all zeros is not stored). What is
stored is its *encoded* form (see ``encoding``): compressed, and sealed under a data key where the snapshot is encrypted.
Its address, ``digest``, is the SHA-256 of the encoded bytes, so that anyone can check it without any key. A snapshot is
one root digest (see ``manifest``): pages of digests, themselves kept as blocks.
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec

BLOCK = 512 * 1024
DIGEST = 32

STORED_LIMIT = 9 << 20
"""Nothing that is stored is longer: a block has little more than ``BLOCK``, the root of the largest volume a few MiB."""

Digest = bytes


class BlockError(Exception):
    """Base of what goes wrong with blocks."""


class BlockMissing(BlockError):
    """No such block is stored. ``digest`` says which; ``root`` and ``index`` of which snapshot, where that is known."""

    def __init__(self, digest: Digest, root: Digest | None = None, index: int | None = None) -> None:
        super().__init__(f"{_named(digest, root, index)} is missing")
        self.digest = digest
        self.root = root
        self.index = index


class BlockDamaged(BlockError):
    """What is stored is not what its address says. It is never returned.

    ``digest`` says which; ``root`` and ``index`` of which snapshot, where that is known.
    """

    def __init__(self, digest: Digest, root: Digest | None = None, index: int | None = None) -> None:
        super().__init__(f"{_named(digest, root, index)} is damaged")
        self.digest = digest
        self.root = root
        self.index = index


class BlockUnreadable(BlockError):
    """The block is whole, but sealed under another key than the one given, or no block of a volume at all."""


class StoreUnavailable(BlockError):
    """The store does not answer now: try again."""


class SessionLost(StoreUnavailable):
    """The connection broke, and with it the protection of what was put: begin again, in a new session."""


class DraftClosed(BlockError):
    """The draft is being made into a snapshot: nothing more is written to it."""


def _named(digest: Digest, root: Digest | None, index: int | None) -> str:
    if root is None or index is None:
        return f"block {digest.hex()}"
    return f"block {index} of snapshot root {root.hex()} ({digest.hex()})"


class BlockStore(Protocol):
    """A session with the block store. Closing it ends the protection of what was put but not put on record.

    From ``missing`` (for those it says are there) and ``put`` on, a block is protected from collection until the session
    ends; so are all blocks below a root that is on record.
    """

    async def missing(self, digests: Sequence[Digest]) -> Sequence[Digest]:
        """Those of ``digests`` that are not stored. Raises StoreUnavailable."""
        ...

    async def put(self, data: bytes) -> Digest:
        """Stores an encoded block durably. Storing what is there already is cheap. Raises StoreUnavailable."""
        ...

    async def get(self, digest: Digest) -> bytes:
        """An encoded block, checked. Raises BlockMissing, BlockDamaged, StoreUnavailable."""
        ...

    async def close(self) -> None:
        """Ends the session."""
        ...


class Noted(msgspec.Struct, frozen=True, array_like=True):
    """What a draft says of one block: ``digest`` is empty for a hole; ``tag`` (up to ``TAG_LIMIT`` bytes) is its writer's."""

    index: int
    digest: Digest
    tag: bytes


TAG_LIMIT = 128


class DraftStore(BlockStore, Protocol):
    """A session that also keeps *drafts*: snapshots that are written block by block, over any time, under any name.

    The blocks of a draft are protected until it is dropped. All calls are durable when they return, and safe to repeat.
    """

    async def note(self, draft: str, noted: Noted) -> None:
        """Says what a block of a draft is, in place of what was said before.

        Raises BlockMissing, DraftClosed, StoreUnavailable.
        """
        ...

    async def noted(self, draft: str, after: int, limit: int) -> Sequence[Noted]:
        """Up to ``limit`` (4096 at most) entries with an index above ``after``, in order. Raises StoreUnavailable."""
        ...

    async def drop(self, draft: str) -> None:
        """Forgets a draft. Raises StoreUnavailable."""
        ...


class Blocks(Protocol):
    """Where sessions come from: ``store.LocalBlocks`` in the process that owns the blocks, ``client.BlockClient`` elsewhere."""

    def session(self) -> DraftStore:
        """A new session. Nothing is connected before its first call."""
        ...
