"""What EBS has to make snapshots cheaper or faster, as far as it is here: all are in the standard tier, and all are fast.

A volume of a snapshot is usable at once; there is nothing that fast snapshot restore would add.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Never

from pileus.operations.context import Context
from pileus.operations.filters import absent
from pileus.operations.listing import Listing
from pileus.operations.tags import tag_set
from pileus.records import Snapshot
from pileus.services.ec2.errors import UnsupportedOperation
from pileus.services.ec2.service import ec2
from pileus.services.ec2.snapshots.listing import own_snapshot

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import (
        DescribeFastSnapshotRestoresRequestTypeDef,
        DescribeSnapshotTierStatusRequestTypeDef,
        ModifySnapshotTierRequestTypeDef,
    )


def _draw(_: Context, snapshot: Snapshot) -> dict[str, Any]:
    return {
        "SnapshotId": snapshot.id,
        "VolumeId": snapshot.volume_id,
        "Status": snapshot.state,
        "OwnerId": snapshot.account,
        "Tags": tag_set(snapshot.tags),
        "StorageTier": "standard",
    }


def _rows(context: Context) -> list[Snapshot]:
    mine = context.view.list(Snapshot, account=context.account, region=context.region)
    return [snapshot for snapshot in mine if snapshot.binned is None]


_TIERS = Listing(
    kind=Snapshot,
    member="SnapshotTierStatuses",
    draw=_draw,
    rows=_rows,
    cached=False,
    filters={
        "last-tiering-operation": absent,
        "snapshot-id": lambda _, snapshot: snapshot.id,
        "volume-id": lambda _, snapshot: snapshot.volume_id,
    },
)


@ec2.reads("DescribeSnapshotTierStatus")
def describe_snapshot_tier_status(
    context: Context, params: "DescribeSnapshotTierStatusRequestTypeDef"
) -> dict[str, Any]:
    """The tiers of the caller's snapshots."""
    return _TIERS.answer(context, params)


def _refuse(context: Context, snapshot_id: str) -> Never:
    own_snapshot(context, snapshot_id)
    raise UnsupportedOperation("This cloud has no archive tier for snapshots.")


@ec2.writes("ModifySnapshotTier", resources=("snapshot:SnapshotId",))
def modify_snapshot_tier(context: Context, params: "ModifySnapshotTierRequestTypeDef") -> dict[str, Any]:
    """There is no archive tier here."""
    _refuse(context, params["SnapshotId"])


@ec2.writes("RestoreSnapshotTier", resources=("snapshot:SnapshotId",))
def restore_snapshot_tier(context: Context, params: Mapping[str, Any]) -> dict[str, Any]:
    """There is no archive tier here."""
    _refuse(context, params["SnapshotId"])


_RESTORES = Listing(
    kind=Snapshot,
    member="FastSnapshotRestores",
    draw=_draw,
    rows=lambda _: (),
    filters=dict.fromkeys(("availability-zone", "availability-zone-id", "owner-id", "snapshot-id", "state"), absent),
)


@ec2.reads("DescribeFastSnapshotRestores")
def describe_fast_snapshot_restores(
    context: Context, params: "DescribeFastSnapshotRestoresRequestTypeDef"
) -> dict[str, Any]:
    """None is enabled here."""
    return _RESTORES.answer(context, params)
