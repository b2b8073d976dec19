"""What the API writes beside each block of a draft, and the storage process reads: the checksum of the block's plaintext.

It would tell which of some known texts a block is, so where the snapshot is encrypted it is sealed.
"""

from pileus.base.sealing import SealBroken, Sealer
from pileus.records import Snapshot


def checksum_tag(sealer: Sealer, snapshot: Snapshot, checksum: bytes) -> bytes:
    """The tag of a block with this SHA-256."""
    if not snapshot.encrypted:
        return checksum
    return sealer.seal(checksum, _purpose(snapshot)).encode()


def checksum_of(sealer: Sealer, snapshot: Snapshot, tag: bytes) -> bytes:
    """The SHA-256 in a tag. Raises SealBroken."""
    if not snapshot.encrypted:
        return tag
    try:
        return sealer.open(tag.decode(), _purpose(snapshot))
    except UnicodeDecodeError as error:
        raise SealBroken(f"{snapshot.id}: no tag of a block") from error


def _purpose(snapshot: Snapshot) -> str:
    return f"block-checksum/{snapshot.id}"
