"""CreateSnapshot and CreateSnapshots: the answer comes once the host has taken them, the upload runs behind.

What is written to a volume before the call is in the snapshot, what is written after the answer is not. A host that does
not answer within the dispatcher's patience takes it later; then the answer says ``pending`` all the same.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from pileus.base.errors import ServiceError
from pileus.base.ids import new_id
from pileus.operations.context import Context
from pileus.operations.tags import merged, tag_set, tags_for
from pileus.records import Instance, Snapshot, Volume
from pileus.records.instance import State
from pileus.records.volume import GIB
from pileus.services.ec2.errors import (
    IncorrectInstanceState,
    IncorrectState,
    InvalidParameterCombination,
    InvalidParameterValue,
    LimitExceeded,
    NotFound,
    Unsupported,
)
from pileus.services.ec2.resources import INSTANCE, VOLUME
from pileus.services.ec2.service import ec2
from pileus.services.ec2.snapshots.listing import draw_snapshot

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import CreateSnapshotRequestTypeDef, CreateSnapshotsRequestTypeDef

CONCURRENT: Mapping[str, int] = {"st1": 1, "sc1": 1}
CONCURRENT_ELSE = 5
"""Snapshots of one volume that may be pending at a time, by volume type.

See https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html, ConcurrentSnapshotLimitExceeded.
"""
APART = timedelta(seconds=15)
"""What must lie between two concurrent snapshots of a volume, where calls are throttled."""

MAX_DESCRIPTION = 255


class SnapshotRateExceeded(ServiceError):
    """Snapshots of one volume too soon one after another."""

    code = "SnapshotCreationPerVolumeRateExceeded"


def check_description(text: str | None) -> str:
    """A snapshot's or image's description. Raises InvalidParameterValue."""
    if text and len(text) > MAX_DESCRIPTION:
        raise InvalidParameterValue(
            f"Value for parameter description is invalid. It must have at most {MAX_DESCRIPTION} characters."
        )
    return text or ""


def refuse_location(params: Mapping[str, Any]) -> None:
    """Snapshots are kept in the region: there are no Outposts and Local Zones here."""
    for name in ("Location", "SnapshotLocation"):
        if params.get(name, "regional") != "regional":
            raise Unsupported(f"The parameter {name} can't be '{params[name]}' in this cloud.")
    if params.get("OutpostArn") or params.get("DestinationOutpostArn"):
        raise Unsupported("There are no Outposts in this cloud.")


def take(
    context: Context,
    volume: Volume,
    *,
    description: str,
    tags: Mapping[str, str],
    group: str | None = None,
    held: bool = False,
) -> Snapshot:
    """Writes a snapshot for the volume's host to take. One that has no data on a host yet is its source, at once.

    ``group`` is for several at one instant; ``held`` until someone lets it go. What is returned is pending or completed.

    Raises:
        IncorrectState: the volume is being made or removed, or is in error. LimitExceeded: too many are pending.
    """
    if volume.state not in {"available", "in-use"}:
        raise IncorrectState(f"Volume '{volume.id}' is in the '{volume.state}' state and can't be snapshotted.")
    _check_concurrent(context, volume)
    snapshot = Snapshot(
        id=new_id("snap"),
        account=context.account,
        region=context.region,
        tags=merged({}, tags),
        volume_id=volume.id,
        size=volume.size,
        started=context.now,
        description=description,
        boot_content=_boot_content(context, volume),
        data_key_id=volume.data_key_id,
        group=group or "",
    )
    if volume.host_id is None:
        return context.tx.put(_of_source(context, volume, snapshot))
    # Uploaded on top of the line's last one; the first one of a volume on top of what the volume was made of.
    same_key = volume.source_key_id == volume.data_key_id
    parent = volume.line_root or (volume.source_root if same_key else None)
    return context.tx.put(replace(snapshot, host_id=volume.host_id, held=held, parent=parent))


def _check_concurrent(context: Context, volume: Volume) -> None:
    """Those that failed count, too: they are to be deleted."""
    open_ones = [one for one in context.view.list(Snapshot, volume_id=volume.id) if one.state in {"pending", "error"}]
    if len(open_ones) >= CONCURRENT.get(volume.volume_type, CONCURRENT_ELSE):
        raise LimitExceeded(
            "Maximum allowed in-progress snapshots for a single volume exceeded.",
            code="ConcurrentSnapshotLimitExceeded",
        )
    if context.env.config.throttle and any(context.now - one.started < APART for one in open_ones):
        raise SnapshotRateExceeded("The maximum per volume CreateSnapshot request rate has been exceeded.")


def _boot_content(context: Context, volume: Volume) -> str | None:
    """The built image whose kernel goes with what is on the volume, as far as that is known."""
    if volume.image_content is not None or volume.snapshot_id is None:
        return volume.image_content
    source = context.view.get(Snapshot, volume.snapshot_id)
    return source.boot_content if source else None


def _of_source(context: Context, volume: Volume, snapshot: Snapshot) -> Snapshot:
    """The snapshot of a volume that nobody has written to: what the volume was made of, or nothing."""
    grown = volume.size * GIB > volume.source_bytes
    if volume.source_root is not None and (grown or volume.source_key_id != volume.data_key_id):
        return replace(
            snapshot,
            parent=volume.source_root,
            reseal=True,
            source_key_id=volume.source_key_id,
            taken=context.now,
        )
    source = context.view.get(Snapshot, volume.snapshot_id) if volume.snapshot_id else None
    return replace(
        snapshot,
        state="completed",
        progress=100,
        root=volume.source_root,
        content=volume.image_content,
        taken=context.now,
        completed=context.now,
        full_bytes=source.full_bytes if source else 0,
    )


def is_taken(context: Context, snapshot_ids: Iterable[str]) -> bool:
    """Whether the instants of snapshots are over, or will never be."""
    found = (context.view.get(Snapshot, snapshot_id) for snapshot_id in snapshot_ids)
    return all(one is None or one.state != "pending" or one.taken is not None for one in found)


def _drawn(context: Context, snapshot: Snapshot) -> dict[str, Any]:
    """The answer to CreateSnapshot: as it is written, before anything of it is stored."""
    return {**draw_snapshot(context, snapshot), "State": "pending", "Progress": "", "CompletionTime": None}


def _then_one(context: Context, result: Mapping[str, Any]) -> Mapping[str, Any] | None:
    return result if is_taken(context, [result["SnapshotId"]]) else None


@ec2.writes("CreateSnapshot", resources=("volume:VolumeId", "snapshot:*"), taggable=("snapshot",), then=_then_one)
def create_snapshot(context: Context, params: "CreateSnapshotRequestTypeDef") -> dict[str, Any]:
    """A snapshot of one volume, attached or not."""
    refuse_location(params)
    description = check_description(params.get("Description"))
    volume = VOLUME.one(context, params["VolumeId"])
    return _drawn(context, take(context, volume, description=description, tags=tags_for(params, "snapshot")))


def _then_all(context: Context, result: Mapping[str, Any]) -> Mapping[str, Any] | None:
    return result if is_taken(context, [one["SnapshotId"] for one in result["Snapshots"]]) else None


@ec2.writes(
    "CreateSnapshots",
    resources=("instance:InstanceSpecification.InstanceId", "volume:*", "snapshot:*"),
    taggable=("snapshot",),
    then=_then_all,
)
def create_snapshots(context: Context, params: "CreateSnapshotsRequestTypeDef") -> dict[str, Any]:
    """Snapshots of all volumes of an instance, or all but some, at one instant."""
    refuse_location(params)
    description = check_description(params.get("Description"))
    asked: Mapping[str, Any] = params["InstanceSpecification"]
    if not asked.get("InstanceId"):
        raise InvalidParameterValue("Value () for parameter instanceId is invalid. It must not be empty.")
    instance = INSTANCE.one(context, asked["InstanceId"])
    if instance.state in {State.SHUTTING_DOWN, State.TERMINATED}:
        raise IncorrectInstanceState(f"The instance '{instance.id}' is in the '{instance.state}' state.")
    group, tags = new_id("group"), tags_for(params, "snapshot")
    copied = params.get("CopyTagsFromSource") == "volume"
    taken = [
        take(
            context,
            volume,
            description=description,
            tags={**volume.tags, **tags} if copied else tags,
            group=group,
        )
        for volume in _chosen(context, instance, asked)
    ]
    return {"Snapshots": [_info(context, snapshot) for snapshot in taken]}


def _chosen(context: Context, instance: Instance, asked: Mapping[str, Any]) -> Sequence[Volume]:
    """The volumes of an instance without those that are excluded."""
    mapped = {device.volume_id: device.device_name for device in instance.block_devices}
    excluded = set(asked.get("ExcludeDataVolumeIds", ()))
    for volume_id in excluded:
        VOLUME.check(volume_id)
        if volume_id not in mapped:
            raise InvalidParameterValue(f"The volume '{volume_id}' is not attached to the instance '{instance.id}'.")
        if mapped[volume_id] == instance.root_device_name:
            raise InvalidParameterValue(
                f"The volume '{volume_id}' is the root volume. To exclude it, use ExcludeBootVolume."
            )
    if asked.get("ExcludeBootVolume"):
        excluded |= {id_ for id_, name in mapped.items() if name == instance.root_device_name}
    chosen = [volume_id for volume_id in mapped if volume_id not in excluded]
    if not chosen:
        raise InvalidParameterCombination("All volumes of the instance are excluded.")
    return [_volume(context, volume_id) for volume_id in chosen]


def _volume(context: Context, volume_id: str) -> Volume:
    volume = context.view.get(Volume, volume_id)
    if volume is None:
        raise NotFound(f"The volume '{volume_id}' does not exist.", code="InvalidVolume.NotFound")
    return volume


def _info(context: Context, snapshot: Snapshot) -> dict[str, Any]:
    """A snapshot in the shape of CreateSnapshots, which has fewer members."""
    return {
        "SnapshotId": snapshot.id,
        "VolumeId": snapshot.volume_id,
        "VolumeSize": snapshot.size,
        "State": "pending",
        "StartTime": snapshot.started,
        "Progress": "",
        "OwnerId": snapshot.account,
        "Description": snapshot.description,
        "Encrypted": snapshot.encrypted,
        "Tags": tag_set(snapshot.tags),
    }
