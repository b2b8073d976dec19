"""Which blocks the records need, and which records a block is of. Used by ``keeper``."""

import logging
import re
from collections.abc import Iterable, Mapping, Sequence

from pileus.engines.blocks.interface import BlockDamaged, BlockMissing, BlockStore, Digest
from pileus.engines.blocks.manifest import Manifest, NotAManifest
from pileus.records import DiskTask, Snapshot, Volume
from pileus.store import View

log = logging.getLogger(__name__)

_DIGEST = re.compile(r"[0-9a-f]{64}")


def live_roots(view: View) -> set[Digest]:
    """The roots that some record needs: snapshots and their parents in any state, volumes that are not filled or go on."""
    named: set[str | None] = set()
    for snapshot in view.list(Snapshot):
        named |= {snapshot.root, snapshot.parent}
    for volume in view.list(Volume):
        named |= {volume.source_root, volume.line_root}
    for task in view.list(DiskTask):
        named |= {task.source_root, task.result_root}
    return {bytes.fromhex(root) for root in named if root and _is_digest(root)}


def _is_digest(root: str) -> bool:
    """Whether it can name a block at all: hosts write them, and what they write is untrusted."""
    if _DIGEST.fullmatch(root):
        return True
    log.error("a root on record is no digest", extra={"root": root[:100]})
    return False


def open_drafts(view: View) -> set[str]:
    """The drafts that are still being written, or made into snapshots."""
    return {one.id for one in view.list(Snapshot) if one.state == "pending" and one.writing is not None}


async def affected(view: View, session: BlockStore, damaged: Iterable[Digest]) -> Mapping[Digest, Sequence[str]]:
    """The snapshots and volumes that need each of some damaged blocks. Reads all manifests: for the rare case."""
    wanted = set(damaged)
    holders: dict[str, list[str]] = {}
    for snapshot in view.list(Snapshot):
        if snapshot.root:
            holders.setdefault(snapshot.root, []).append(snapshot.id)
    for volume in view.list(Volume):
        for root in {volume.source_root, volume.line_root} - {None}:
            holders.setdefault(str(root), []).append(volume.id)
    found: dict[Digest, list[str]] = {digest: [] for digest in wanted}
    for root, ids in holders.items():
        if not _is_digest(root):
            continue
        for digest in await _needed(session, bytes.fromhex(root), wanted):
            found[digest] += ids
    return found


async def _needed(session: BlockStore, root: Digest, wanted: set[Digest]) -> set[Digest]:
    """Those of the wanted blocks that a manifest needs; where it can't be read on, what keeps it from that."""
    found = {root} & wanted
    try:
        manifest = await Manifest.open(session, root)
        found |= {page for n in range(manifest.page_count) if (page := manifest.page_digest(n)) in wanted}
        async for _, digest in manifest.allocated_from():
            if digest in wanted:
                found.add(digest)
    except (BlockDamaged, BlockMissing) as error:
        found |= {error.digest} & wanted
    except NotAManifest:
        return found
    return found
