"""The snapshots that a host is to take and upload, computed from the records. Called by ``pileus.controllers.host_spec``."""

from pileus.controllers.reading import Reading
from pileus.hostapi.spec import SnapshotSpec
from pileus.records import Snapshot


def host_snapshots(view: Reading, host_id: str) -> tuple[SnapshotSpec, ...]:
    """Those that are on their way from this host, but for those that still wait for their instance to be down."""
    return tuple(
        SnapshotSpec(
            snapshot_id=snapshot.id,
            volume_id=snapshot.volume_id,
            group=snapshot.group or snapshot.id,
            parent=snapshot.parent,
            key_id=snapshot.data_key_id,
        )
        for snapshot in view.list(Snapshot, host_id=host_id)
        if snapshot.state == "pending" and not snapshot.held
    )
