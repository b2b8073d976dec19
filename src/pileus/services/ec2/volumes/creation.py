"""CreateVolume and DeleteVolume."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from pileus.base.errors import ServiceError
from pileus.operations.context import Context
from pileus.operations.tags import tags_for
from pileus.records import Snapshot
from pileus.services.ec2.errors import (
    IncorrectState,
    InvalidParameterCombination,
    InvalidParameterValue,
    MissingParameter,
    NotFound,
    Unsupported,
)
from pileus.services.ec2.regions import configured_zones
from pileus.services.ec2.resources import VOLUME
from pileus.services.ec2.service import ec2
from pileus.services.ec2.snapshots.listing import usable_snapshot
from pileus.services.ec2.volume_sources import Encryption, new_volume
from pileus.services.ec2.volume_types import DEFAULT_TYPE, MULTI_ATTACH_TYPES, settings
from pileus.services.ec2.volumes.listing import draw_volume

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import CreateVolumeRequestTypeDef, DeleteVolumeRequestTypeDef


_NOT_AT_CREATION = frozenset({"Attachments", "FastRestored", "SseType"})
"""What DescribeVolumes tells of a volume, and CreateVolume does not."""


class VolumeInUse(ServiceError):
    """The volume is attached."""

    code = "VolumeInUse"


@ec2.writes("CreateVolume", resources=("volume:*", "snapshot:SnapshotId"), idempotent=True, taggable=("volume",))
def create_volume(context: Context, params: "CreateVolumeRequestTypeDef") -> dict[str, Any]:
    """A volume of its own. No host has it before it is attached for the first time."""
    for name in ("OutpostArn", "VolumeInitializationRate", "Operator"):
        if params.get(name):
            raise Unsupported(f"The parameter {name} is not available in this cloud yet.")
    zone = _zone(context, params)
    snapshot_id, size = params.get("SnapshotId"), params.get("Size")
    if not snapshot_id and size is None:
        raise MissingParameter("size/snapshot")
    source = usable_snapshot(context, snapshot_id) if snapshot_id else None
    volume_type = params.get("VolumeType", DEFAULT_TYPE)
    multi_attach = params.get("MultiAttachEnabled", False)
    if multi_attach and volume_type not in MULTI_ATTACH_TYPES:
        raise InvalidParameterCombination(
            f"The parameter multiAttachEnabled is not supported for {volume_type} volumes."
        )
    volume = new_volume(
        context,
        settings(volume_type, _size(size, source), params.get("Iops"), params.get("Throughput")),
        zone,
        source=source,
        encryption=Encryption(encrypted=params.get("Encrypted"), kms_key_id=params.get("KmsKeyId")),
        tags=tags_for(params, "volume"),
        multi_attach=multi_attach,
    )
    drawn = draw_volume(context, context.tx.put(volume))
    return {name: value for name, value in drawn.items() if name not in _NOT_AT_CREATION}


def _size(size: int | None, source: Snapshot | None) -> int:
    if source is None:
        return size or 0
    if size is not None and size < source.size:
        raise InvalidParameterValue(
            f"The size of a volume must be greater than or equal to the size of the snapshot ({source.size} GiB)."
        )
    return source.size if size is None else size


def _zone(context: Context, params: Mapping[str, Any]) -> str:
    """The zone by name or id; both, when they are the same one."""
    name, id_ = params.get("AvailabilityZone"), params.get("AvailabilityZoneId")
    if not name and not id_:
        raise MissingParameter("availabilityZone")
    if name and id_:
        raise InvalidParameterCombination("Only one of availabilityZone and availabilityZoneId can be specified.")
    for zone in configured_zones(context):
        if zone.name == name or zone.id == id_:
            return zone.name
    raise NotFound(f"The zone '{name or id_}' does not exist.", code="InvalidZone.NotFound")


@ec2.writes("DeleteVolume", resources=("volume:VolumeId",))
def delete_volume(context: Context, params: "DeleteVolumeRequestTypeDef") -> dict[str, Any]:
    """Deletes a volume that nobody has. Its data goes as soon as its host hears of it, and no snapshot of it is pending."""
    volume = VOLUME.one(context, params["VolumeId"])
    if volume.attachments:
        raise VolumeInUse(f"Volume {volume.id} is currently attached to {volume.attachments[0].instance_id}")
    if volume.state == "deleting":
        raise VOLUME.not_found([volume.id])
    if volume.state == "creating":
        raise IncorrectState(f"Volume '{volume.id}' is in the 'creating' state.")
    context.tx.put(replace(volume, state="deleting"))
    return {}
