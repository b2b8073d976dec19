"""AttachVolume and DetachVolume: they write what shall be; hosts and controllers make it so and settle it."""

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from pileus.base.errors import ServiceError
from pileus.catalogue import instance_type
from pileus.operations.context import Context
from pileus.records import Instance, NetworkInterface, Volume
from pileus.records.instance import BlockDevice, State
from pileus.records.volume import VolumeAttachment
from pileus.services.ec2.device_names import valid_name
from pileus.services.ec2.errors import (
    IncorrectState,
    InvalidParameterValue,
    LimitExceeded,
    MissingParameter,
    NotFound,
    OperationNotPermitted,
    Unsupported,
    UnsupportedOperation,
)
from pileus.services.ec2.resources import INSTANCE, VOLUME
from pileus.services.ec2.service import ec2
from pileus.services.ec2.volume_types import most_volumes
from pileus.services.ec2.volumes.creation import VolumeInUse
from pileus.services.ec2.volumes.listing import draw_attachment

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import AttachVolumeRequestTypeDef, DetachVolumeRequestTypeDef

MAX_SHARED = 16
"""Instances that a Multi-Attach volume can have at once."""

_ATTACHABLE = frozenset({State.PENDING, State.RUNNING, State.STOPPING, State.STOPPED})


class ZoneMismatch(ServiceError):
    """Volume and instance are in different zones."""

    code = "InvalidVolume.ZoneMismatch"


@ec2.writes("AttachVolume", resources=("volume:VolumeId", "instance:InstanceId"))
def attach_volume(context: Context, params: "AttachVolumeRequestTypeDef") -> dict[str, Any]:
    """Attaches a volume to an instance, running or not. A volume that is nowhere yet gets its place on its host."""
    volume = VOLUME.one(context, params["VolumeId"])
    instance = INSTANCE.one(context, params["InstanceId"])
    if params.get("EbsCardIndex"):
        raise Unsupported("The parameter EbsCardIndex is not available in this cloud yet.")
    _check_instance(instance)
    _check_volume(volume, instance)
    device = _free_device(instance, params["Device"])
    _check_limit(context, instance)
    wiring = instance.wiring + 1
    root = device == instance.root_device_name
    attachment = VolumeAttachment(
        instance_id=instance.id,
        device=device,
        attached=context.now,
        delete_on_termination=False,
        status="attaching",
        fence=wiring,
    )
    mapped = BlockDevice(
        device_name=device,
        volume_id=volume.id,
        attached=context.now,
        delete_on_termination=False,
        index=0 if root else instance.free_index,
    )
    devices = (mapped, *instance.block_devices) if root else (*instance.block_devices, mapped)
    context.tx.put(replace(instance, block_devices=devices, wiring=wiring))
    placed = replace(volume.with_attachment(attachment), host_id=instance.host_id, failure=None, failed=None)
    return draw_attachment(context.tx.put(placed), attachment)


def _check_instance(instance: Instance) -> None:
    if instance.state not in _ATTACHABLE:
        raise IncorrectState(f"Instance '{instance.id}' is not 'running'.")


def _check_volume(volume: Volume, instance: Instance) -> None:
    """Raises unless the volume is free, or shared and not full, and where the instance is."""
    if volume.zone != instance.zone:
        raise ZoneMismatch(f"The volume '{volume.id}' is not in the same availability zone as instance '{instance.id}'")
    if volume.attachments and not volume.multi_attach:
        raise VolumeInUse(f"{volume.id} is already attached to an instance")
    if volume.attachment_to(instance.id) is not None:
        raise VolumeInUse(f"{volume.id} is already attached to {instance.id}")
    if len(volume.attachments) >= MAX_SHARED:
        raise LimitExceeded(
            f"The volume '{volume.id}' is attached to {MAX_SHARED} instances already.", code="AttachmentLimitExceeded"
        )
    if volume.state not in {"available", "in-use"}:
        raise IncorrectState(f"{volume.id} is not 'available'.")
    if volume.host_id not in {None, instance.host_id}:
        raise UnsupportedOperation(
            f"The data of the volume '{volume.id}' is on another host than the instance '{instance.id}', and the "
            "volume driver 'local' does not move it. Attach a volume made of a snapshot of it instead."
        )


def _free_device(instance: Instance, name: str) -> str:
    if not valid_name(name) and name != instance.root_device_name:
        raise InvalidParameterValue(
            f"Value ({name}) for parameter device is invalid. {name} is not a valid EBS device name."
        )
    taken = {device.device_name for device in instance.block_devices}
    taken |= {disk.device_name for disk in instance.store if disk.device_name}
    if name in taken:
        raise InvalidParameterValue(f"Invalid value '{name}' for unixDevice. Attachment point {name} is already in use")
    return name


def _check_limit(context: Context, instance: Instance) -> None:
    """Volumes count against the type's limit, and so do interfaces and instance store disks where it is shared."""
    type_ = instance_type(instance.instance_type)
    assert type_ is not None, f"{instance.id} has a type that the catalogue lost: {instance.instance_type}"
    interfaces = context.view.list(NetworkInterface, instance_id=instance.id)
    most = most_volumes(type_, len(interfaces), len(instance.store))
    if len(instance.block_devices) >= most:
        raise LimitExceeded(
            f"The instance '{instance.id}' has reached the limit of {most} volumes for the type {type_.name}.",
            code="AttachmentLimitExceeded",
        )


@ec2.writes("DetachVolume", resources=("volume:VolumeId", "instance:InstanceId"))
def detach_volume(context: Context, params: "DetachVolumeRequestTypeDef") -> dict[str, Any]:
    """Takes a volume out of an instance. Force does not wait for the guest, whose further reads and writes fail."""
    volume = VOLUME.one(context, params["VolumeId"])
    instance_id, device = params.get("InstanceId"), params.get("Device")
    if instance_id:
        INSTANCE.one(context, instance_id)
    attachment = _attachment(volume, instance_id)
    if device and device != attachment.device:
        raise NotFound(
            f"The volume '{volume.id}' is not attached to '{attachment.instance_id}' as device '{device}'.",
            code="InvalidAttachment.NotFound",
        )
    instance = context.tx.get(Instance, attachment.instance_id)
    assert instance is not None, f"{volume.id} is attached to {attachment.instance_id}, which is gone"
    if attachment.device == instance.root_device_name and instance.state is not State.STOPPED:
        raise OperationNotPermitted(f"Unable to detach root volume '{volume.id}' from instance '{instance.id}'")
    force = bool(params.get("Force")) or attachment.force
    if attachment.leaving and force == attachment.force:
        raise IncorrectState(f"Volume '{volume.id}' is already detaching from '{instance.id}'.")
    wiring = instance.wiring + 1
    leaving = replace(attachment, status="detaching", asked=attachment.asked or context.now, force=force, fence=wiring)
    context.tx.put(replace(instance, wiring=wiring))
    return draw_attachment(context.tx.put(volume.with_attachment(leaving)), leaving)


def _attachment(volume: Volume, instance_id: str | None) -> VolumeAttachment:
    if not volume.attachments:
        raise IncorrectState(f"Volume '{volume.id}' is in the '{volume.state}' state.")
    if instance_id is None:
        first, *others = volume.attachments
        if others:
            raise MissingParameter("instanceId")
        return first
    found = volume.attachment_to(instance_id)
    if found is None:
        raise NotFound(
            f"The volume '{volume.id}' is not attached to instance '{instance_id}'.", code="InvalidAttachment.NotFound"
        )
    return found
