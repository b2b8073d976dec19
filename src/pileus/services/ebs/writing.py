"""PutSnapshotBlock: a block is durable when the call is answered, whatever is killed then."""

import asyncio
import base64
import binascii
import hmac
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from pileus.engines.blocks.encoding import encode, is_hole
from pileus.engines.blocks.interface import BLOCK, DraftClosed, DraftStore, Noted
from pileus.engines.blocks.manifest import block_count
from pileus.operations.context import Context
from pileus.operations.drafts import checksum_tag
from pileus.records import Snapshot
from pileus.services.ebs.errors import ValidationException, invalid
from pileus.services.ebs.service import ebs
from pileus.services.ebs.snapshots import key_for, open_for_writing, with_blocks

if TYPE_CHECKING:
    from types_boto3_ebs.type_defs import PutSnapshotBlockRequestTypeDef

_GIB = 1 << 30


@ebs.waits("PutSnapshotBlock", resources=("snapshot:SnapshotId",))
async def put_snapshot_block(context: Context, params: "PutSnapshotBlockRequestTypeDef") -> dict[str, Any]:
    """Writes a block, in place of what was written there before."""
    snapshot = open_for_writing(context, params["SnapshotId"])
    data: Any = params.get("BlockData", b"")
    checksum = await _checked(params, snapshot, data)
    key = key_for(context, snapshot, "GenerateDataKey")
    tag = checksum_tag(context.env.sealer, snapshot, checksum)
    encoded = None if is_hole(data) else await asyncio.to_thread(encode, data, key)

    async def write(session: DraftStore) -> None:
        digest = b"" if encoded is None else await session.put(encoded)
        await session.note(snapshot.id, Noted(params["BlockIndex"], digest, tag))

    try:
        await with_blocks(context, snapshot.id, write)
    except DraftClosed as error:
        raise ValidationException(f"The snapshot '{snapshot.id}' is being completed.", "INVALID_SNAPSHOT_ID") from error
    return {"Checksum": params["Checksum"], "ChecksumAlgorithm": "SHA256"}


async def _checked(params: "PutSnapshotBlockRequestTypeDef", snapshot: Snapshot, data: bytes) -> bytes:
    """The block's SHA-256, which is what the client says. Raises ValidationException."""
    index = params["BlockIndex"]
    if index >= block_count(snapshot.size * _GIB):
        raise invalid(f"BlockIndex {index} is past the end of the volume of {snapshot.size} GiB.")
    if params["DataLength"] != BLOCK or len(data) != BLOCK:
        raise ValidationException(
            f"A block has {BLOCK} bytes: DataLength and the data must have as many.", "INVALID_BLOCK"
        )
    if params["ChecksumAlgorithm"] != "SHA256":
        raise invalid("ChecksumAlgorithm must be SHA256.")
    actual = await asyncio.to_thread(lambda: sha256(data).digest())
    try:
        named = base64.b64decode(params["Checksum"], validate=True)
    except binascii.Error as error:
        raise invalid("Checksum must be in base64.") from error
    if not hmac.compare_digest(named, actual):
        raise ValidationException("The checksum is not that of the block's data.", "INVALID_BLOCK")
    return actual
