"""Snapshots converge: hosts say that the instant is over, how far the upload is, and under which root all of it is.

Called by ``hosts`` with what hosts report, and by ``loop`` for what ends with time.
"""

import logging
from collections.abc import Iterable
from datetime import datetime

from msgspec.structs import replace

from pileus.hostapi.observation import SnapshotObservation
from pileus.records import Snapshot, Volume
from pileus.store import Transaction

log = logging.getLogger(__name__)


def observe(tx: Transaction, host_id: str, seen: SnapshotObservation, now: datetime) -> Snapshot | None:
    """Notes what a host reports of a snapshot. Reports about those that are over, or another host's, say nothing."""
    snapshot = tx.get(Snapshot, seen.snapshot_id)
    if snapshot is None or snapshot.host_id != host_id or snapshot.state != "pending":
        return None
    match seen.phase:
        case "taken":
            after = replace(
                snapshot,
                taken=snapshot.taken or now,
                progress=max(snapshot.progress, min(seen.progress, 99)),
                uploaded_bytes=seen.uploaded_bytes,
            )
        case "uploaded" if seen.root is not None:
            after = _complete(tx, snapshot, seen, seen.root, now)
        case "uploaded":
            after = _fail(snapshot, "The host did not say where it stored the snapshot.")
        case "failed":
            after = _fail(snapshot, seen.detail)
    return snapshot if after == snapshot else tx.put(after)


def _complete(tx: Transaction, snapshot: Snapshot, seen: SnapshotObservation, root: str, now: datetime) -> Snapshot:
    log.info(
        "snapshot completed",
        extra={"snapshot": snapshot.id, "full_bytes": seen.full_bytes, "uploaded_bytes": seen.uploaded_bytes},
    )
    volume = tx.get(Volume, snapshot.volume_id)
    if volume is not None and _is_newest(tx, snapshot):
        tx.put(replace(volume, line_root=root))
    return replace(
        snapshot,
        state="completed",
        progress=100,
        root=root,
        host_id=None,
        parent=None,
        taken=snapshot.taken or now,
        completed=now,
        full_bytes=seen.full_bytes,
        uploaded_bytes=seen.uploaded_bytes,
    )


def _is_newest(tx: Transaction, snapshot: Snapshot) -> bool:
    """Whether no later snapshot of the volume was completed before this one."""
    return not any(
        one.state == "completed" and one.root is not None and one.started > snapshot.started
        for one in tx.list(Snapshot, volume_id=snapshot.volume_id)
    )


def _fail(snapshot: Snapshot, message: str) -> Snapshot:
    log.error("snapshot failed", extra={"snapshot": snapshot.id, "reason": message})
    return replace(snapshot, state="error", state_message=message, host_id=None, parent=None)


def lose(tx: Transaction, host_ids: Iterable[str]) -> None:
    """Hosts are lost: what they have not taken yet has no instant any more that anybody asked for. What they have taken
    stays pending, since they can go on with it when they come back.
    """
    for host_id in host_ids:
        for snapshot in tx.list(Snapshot, host_id=host_id):
            if snapshot.state == "pending" and snapshot.taken is None and not snapshot.held:
                tx.put(_fail(snapshot, "The host of the volume was lost before the snapshot was taken."))


def empty_bin(tx: Transaction, now: datetime) -> None:
    """Deletes for good what has been in the recycle bin for long enough."""
    for snapshot in tx.list(Snapshot):
        if snapshot.bin_until is not None and snapshot.bin_until <= now:
            tx.delete(snapshot)
