"""DescribeVolumes."""

from typing import TYPE_CHECKING, Any

from pileus.catalogue import zones
from pileus.operations.context import Context
from pileus.operations.filters import absent, constant
from pileus.operations.listing import Listing
from pileus.operations.tags import tag_set
from pileus.records import Volume
from pileus.records.volume import VolumeAttachment
from pileus.services.ec2.arns import arn
from pileus.services.ec2.encryption import kms_key_of
from pileus.services.ec2.resources import VOLUME
from pileus.services.ec2.service import ec2
from pileus.services.ec2.times import iso

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import DescribeVolumesRequestTypeDef


def zone_id(volume: Volume) -> str | None:
    """The id of its zone."""
    return next((zone.id for zone in zones(volume.region) if zone.name == volume.zone), None)


def draw_attachment(volume: Volume, attachment: VolumeAttachment) -> dict[str, Any]:
    """An attachment, as volumes and the attaching operations show it."""
    return {
        "VolumeId": volume.id,
        "InstanceId": attachment.instance_id,
        "Device": attachment.device,
        "State": attachment.status,
        "AttachTime": attachment.attached,
        "DeleteOnTermination": attachment.delete_on_termination,
    }


def draw_volume(context: Context, volume: Volume) -> dict[str, Any]:
    """A volume, as DescribeVolumes and CreateVolume show it."""
    return {
        "VolumeId": volume.id,
        "VolumeArn": arn(volume, "volume"),
        "OwnerId": volume.account,
        "AvailabilityZone": volume.zone,
        "AvailabilityZoneId": zone_id(volume),
        "State": volume.state,
        "Size": volume.size,
        "VolumeType": volume.volume_type,
        "Iops": volume.iops,
        "Throughput": volume.throughput,
        "Encrypted": volume.encrypted,
        "KmsKeyId": kms_key_of(context, volume.data_key_id),
        "SseType": "sse-kms" if volume.encrypted else "none",
        "MultiAttachEnabled": volume.multi_attach,
        "FastRestored": False,
        "SnapshotId": volume.snapshot_id or "",
        "CreateTime": volume.created,
        "Operator": {"Managed": False},
        "Attachments": [draw_attachment(volume, attachment) for attachment in volume.attachments],
        "Tags": tag_set(volume.tags),
    }


VOLUMES = Listing(
    kind=Volume,
    member="Volumes",
    draw=draw_volume,
    ids="VolumeIds",
    find=VOLUME.find,
    exclusive=True,
    filters={
        "attachment.attach-time": lambda _, volume: [iso(one.attached) for one in volume.attachments],
        "attachment.delete-on-termination": lambda _, volume: [
            str(one.delete_on_termination).lower() for one in volume.attachments
        ],
        "attachment.device": lambda _, volume: [one.device for one in volume.attachments],
        "attachment.instance-id": lambda _, volume: volume.instance_id,
        "attachment.status": lambda _, volume: [one.status for one in volume.attachments],
        "availability-zone": lambda _, volume: volume.zone,
        "availability-zone-id": lambda _, volume: zone_id(volume),
        "create-time": lambda _, volume: iso(volume.created),
        "encrypted": lambda _, volume: volume.encrypted,
        "fast-restored": constant(False),
        "multi-attach-enabled": lambda _, volume: volume.multi_attach,
        "operator.managed": constant(False),
        "operator.principal": absent,
        "size": lambda _, volume: volume.size,
        "snapshot-id": lambda _, volume: volume.snapshot_id,
        "status": lambda _, volume: volume.state,
        "volume-id": lambda _, volume: volume.id,
        "volume-type": lambda _, volume: volume.volume_type,
    },
)


@ec2.reads("DescribeVolumes")
def describe_volumes(context: Context, params: "DescribeVolumesRequestTypeDef") -> dict[str, Any]:
    """The caller's volumes."""
    return VOLUMES.answer(context, params)
