"""ListSnapshotBlocks, ListChangedBlocks and GetSnapshotBlock."""

import asyncio
import base64
from collections.abc import AsyncIterator, Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from pileus.engines.blocks.encoding import decode
from pileus.engines.blocks.interface import BLOCK, BlockDamaged, BlockMissing, BlockStore, BlockUnreadable, Digest
from pileus.engines.blocks.manifest import Manifest, block_count, compare
from pileus.operations.context import Context
from pileus.records import Snapshot
from pileus.services.ebs.errors import ValidationException, invalid
from pileus.services.ebs.service import ebs
from pileus.services.ebs.snapshots import completed, key_for, line_of, with_blocks
from pileus.services.ebs.tokens import Tokens, check_block_token, open_page_token, page_token

if TYPE_CHECKING:
    from types_boto3_ebs.type_defs import (
        GetSnapshotBlockRequestTypeDef,
        ListChangedBlocksRequestTypeDef,
        ListSnapshotBlocksRequestTypeDef,
    )

_MOST = 10_000
_GIB = 1 << 30

Entry = tuple[int, Digest | None, Digest | None]
Page = tuple[list[Entry], int | None]


def _start(context: Context, params: Mapping[str, Any], snapshot: Snapshot, *ids: str) -> int:
    """The block that the asked page begins with."""
    if params.get("NextToken"):
        return open_page_token(context, params["NextToken"], *ids)
    start = params.get("StartingBlockIndex") or 0
    if start >= block_count(snapshot.size * _GIB):
        raise invalid(f"StartingBlockIndex {start} is past the end of the volume.")
    return start


async def _manifest(session: BlockStore, snapshot: Snapshot) -> Manifest | None:
    """None: the snapshot of an empty volume."""
    return await Manifest.open(session, bytes.fromhex(snapshot.root)) if snapshot.root else None


async def _page(entries: AsyncIterator[Entry], limit: int | None) -> Page:
    """Up to ``limit`` entries, and the index of the next one, if there is one."""
    page: list[Entry] = []
    async for entry in entries:
        if len(page) == (limit or _MOST):
            return page, entry[0]
        page.append(entry)
    return page, None


async def _allocated(manifest: Manifest | None, start: int) -> AsyncIterator[Entry]:
    if manifest is not None:
        async for index, digest in manifest.allocated_from(start):
            yield index, None, digest


async def _changed(first: Manifest | None, second: Manifest | None, start: int) -> AsyncIterator[Entry]:
    if first is not None and second is not None:
        async for entry in compare(first, second, start):
            yield entry
        return
    async for index, _, digest in _allocated(first or second, start):
        yield (index, None, digest) if first is None else (index, digest, None)


@ebs.waits("ListSnapshotBlocks", resources=("snapshot:SnapshotId",))
async def list_snapshot_blocks(context: Context, params: "ListSnapshotBlocksRequestTypeDef") -> dict[str, Any]:
    """The blocks of a snapshot that hold data."""
    snapshot = completed(context, params["SnapshotId"])
    start = _start(context, params, snapshot, snapshot.id)

    async def read(session: BlockStore) -> Page:
        return await _page(_allocated(await _manifest(session, snapshot), start), params.get("MaxResults"))

    page, following = await with_blocks(context, snapshot.id, read)
    tokens = Tokens(context, snapshot.id)
    return {
        "Blocks": [{"BlockIndex": index, "BlockToken": tokens.token(index)} for index, _, _ in page],
        "ExpiryTime": tokens.expires,
        "VolumeSize": snapshot.size,
        "BlockSize": BLOCK,
        "NextToken": None if following is None else page_token(context, following, snapshot.id),
    }


@ebs.waits("ListChangedBlocks", resources=("snapshot:FirstSnapshotId", "snapshot:SecondSnapshotId"))
async def list_changed_blocks(context: Context, params: "ListChangedBlocksRequestTypeDef") -> dict[str, Any]:
    """The blocks that differ between two snapshots of one line; without a first one, all that hold data."""
    second = completed(context, params["SecondSnapshotId"])
    first_id = params.get("FirstSnapshotId")
    first = completed(context, first_id) if first_id else None
    if first is not None:
        _check_related(first, second)
    ids = (first.id if first else "", second.id)
    start = _start(context, params, second, *ids)

    async def read(session: BlockStore) -> Page:
        before = await _manifest(session, first) if first else None
        after = await _manifest(session, second)
        return await _page(_changed(before, after, start), params.get("MaxResults"))

    page, following = await with_blocks(context, second.id, read)
    before_tokens, after_tokens = (Tokens(context, id_) for id_ in ids)
    return {
        "ChangedBlocks": [
            {
                "BlockIndex": index,
                "FirstBlockToken": before_tokens.token(index) if old else None,
                "SecondBlockToken": after_tokens.token(index) if new else None,
            }
            for index, old, new in page
        ],
        "ExpiryTime": after_tokens.expires,
        "VolumeSize": second.size,
        "BlockSize": BLOCK,
        "NextToken": None if following is None else page_token(context, following, *ids),
    }


def _check_related(first: Snapshot, second: Snapshot) -> None:
    if line_of(first) != line_of(second):
        raise ValidationException(
            f"The snapshots '{first.id}' and '{second.id}' are not of the same volume or line.", "UNRELATED_SNAPSHOTS"
        )
    if first.size > second.size:
        raise ValidationException(
            f"The volume of '{first.id}' is larger than that of '{second.id}'.", "INVALID_PARAMETER_VALUE"
        )


@ebs.waits("GetSnapshotBlock", resources=("snapshot:SnapshotId",))
async def get_snapshot_block(context: Context, params: "GetSnapshotBlockRequestTypeDef") -> dict[str, Any]:
    """A block's 512 KiB, with their checksum."""
    snapshot, index = completed(context, params["SnapshotId"]), params["BlockIndex"]
    check_block_token(context, snapshot.id, index, params["BlockToken"])
    key = key_for(context, snapshot, "Decrypt")

    async def read(session: BlockStore) -> bytes:
        manifest = await _manifest(session, snapshot)
        digest = await manifest.digest(index) if manifest and index < manifest.blocks else None
        if manifest is None or digest is None:
            raise ValidationException(f"Block {index} holds no data.", "INVALID_BLOCK")
        try:
            return await asyncio.to_thread(decode, await session.get(digest), key)
        except (BlockDamaged, BlockMissing) as error:
            raise type(error)(error.digest, manifest.root, index) from error
        except BlockUnreadable as error:
            raise BlockUnreadable(f"block {index}: {error}") from error

    block = await with_blocks(context, snapshot.id, read)
    return {
        "DataLength": len(block),
        "BlockData": block,
        "Checksum": base64.b64encode(sha256(block).digest()).decode(),
        "ChecksumAlgorithm": "SHA256",
    }
