"""DeleteSnapshot: at any time, also while it is pending; other snapshots of its line lose nothing."""

from typing import TYPE_CHECKING, Any

from pileus.base.errors import ServiceError
from pileus.operations.context import Context
from pileus.records import Image, Snapshot
from pileus.services.ec2.errors import NotFound, OperationNotPermitted
from pileus.services.ec2.retention import into_bin
from pileus.services.ec2.service import ec2
from pileus.services.ec2.snapshots.listing import own_snapshot
from pileus.services.ec2.snapshots.locks import lock_state

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import DeleteSnapshotRequestTypeDef


class SnapshotInUse(ServiceError):
    """An image needs the snapshot."""

    code = "InvalidSnapshot.InUse"


def discard(context: Context, snapshot: Snapshot) -> None:
    """Deletes a snapshot of the caller's, or moves it to the recycle bin where a rule says so.

    Raises:
        SnapshotInUse: an image is made of it. OperationNotPermitted: it is locked.
    """
    images = [image.id for image in context.view.list(Image, snapshot_ids=snapshot.id) if image.binned is None]
    if images:
        raise SnapshotInUse(f"The snapshot {snapshot.id} is currently in use by {images[0]}")
    if snapshot.lock is not None and lock_state(snapshot, snapshot.lock, context.now) != "expired":
        raise OperationNotPermitted(f"The snapshot {snapshot.id} is locked and can't be deleted.")
    kept = into_bin(context, snapshot) if snapshot.state == "completed" else None
    if kept is None:
        context.tx.delete(snapshot)
    else:
        context.tx.put(kept)


@ec2.writes("DeleteSnapshot", resources=("snapshot:SnapshotId",))
def delete_snapshot(context: Context, params: "DeleteSnapshotRequestTypeDef") -> dict[str, Any]:
    """Deletes a snapshot. What other snapshots need of it stays."""
    snapshot = own_snapshot(context, params["SnapshotId"])
    stored = context.tx.get(Snapshot, snapshot.id)
    if stored is None:
        raise NotFound(f"The snapshot '{snapshot.id}' does not exist.", code="InvalidSnapshot.NotFound")
    discard(context, stored)
    return {}
