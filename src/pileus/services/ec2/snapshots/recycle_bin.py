"""Snapshots in the recycle bin."""

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from pileus.operations.context import Context
from pileus.operations.listing import Listing
from pileus.records import Snapshot
from pileus.services.ec2.resources import SNAPSHOT, find_visible
from pileus.services.ec2.service import ec2
from pileus.services.ec2.snapshots.listing import progress_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from types_boto3_ec2.type_defs import (
        ListSnapshotsInRecycleBinRequestTypeDef,
        RestoreSnapshotFromRecycleBinRequestTypeDef,
    )


def _find(context: Context, ids: "Sequence[str]") -> list[Snapshot]:
    return find_visible(SNAPSHOT, context, ids, lambda one: one.account == context.account and one.binned is not None)


def _rows(context: Context) -> "Iterable[Snapshot]":
    mine = context.view.list(Snapshot, account=context.account, region=context.region)
    return [snapshot for snapshot in mine if snapshot.binned is not None]


def _draw(_: Context, snapshot: Snapshot) -> dict[str, Any]:
    return {
        "SnapshotId": snapshot.id,
        "RecycleBinEnterTime": snapshot.binned,
        "RecycleBinExitTime": snapshot.bin_until,
        "Description": snapshot.description,
        "VolumeId": snapshot.volume_id,
    }


_BINNED = Listing(
    kind=Snapshot, member="Snapshots", draw=_draw, ids="SnapshotIds", find=_find, rows=_rows, cached=False, filters={}
)


@ec2.reads("ListSnapshotsInRecycleBin", resources=("snapshot:SnapshotIds",))
def list_snapshots_in_recycle_bin(
    context: Context, params: "ListSnapshotsInRecycleBinRequestTypeDef"
) -> dict[str, Any]:
    """The caller's snapshots that were deleted and can be restored."""
    return _BINNED.answer(context, params)


@ec2.writes("RestoreSnapshotFromRecycleBin", resources=("snapshot:SnapshotId",))
def restore_snapshot_from_recycle_bin(
    context: Context, params: "RestoreSnapshotFromRecycleBinRequestTypeDef"
) -> dict[str, Any]:
    """Takes a snapshot out of the recycle bin."""
    snapshot = context.tx.put(replace(_find(context, [params["SnapshotId"]])[0], binned=None, bin_until=None))
    return {
        "SnapshotId": snapshot.id,
        "Description": snapshot.description,
        "Encrypted": snapshot.encrypted,
        "OwnerId": snapshot.account,
        "Progress": progress_of(snapshot),
        "StartTime": snapshot.started,
        "State": snapshot.state,
        "VolumeId": snapshot.volume_id,
        "VolumeSize": snapshot.size,
    }
