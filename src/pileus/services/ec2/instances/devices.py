"""Block device mappings of a launch: which volumes and instance store disks an instance starts with.

See https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/block-device-mapping-concepts.html.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from pileus.catalogue import InstanceType
from pileus.operations.context import Context
from pileus.records import Image, Instance, Snapshot
from pileus.records.image import ImageDevice
from pileus.records.instance import BlockDevice
from pileus.records.volume import VolumeAttachment
from pileus.services.ec2.device_names import store_number, valid_name
from pileus.services.ec2.errors import InvalidBlockDeviceMapping, LimitExceeded, Unsupported
from pileus.services.ec2.snapshots.listing import usable_snapshot
from pileus.services.ec2.volume_sources import Encryption, new_volume
from pileus.services.ec2.volume_types import (
    DEFAULT_TYPE,
    NOT_FOR_BOOT,
    VOLUME_TYPES,
    Settings,
    most_volumes,
    settings,
)


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """One volume of every instance of the launch. ``content`` is the image that it starts as, where ``source`` isn't known."""

    name: str
    settings: Settings
    delete_on_termination: bool
    source: Snapshot | None
    content: str | None
    snapshot_id: str | None
    encryption: Encryption


class Devices(msgspec.Struct, frozen=True, kw_only=True):
    """The disks of a launch: volumes, the root volume first, and names for disks of the instance store by their numbers."""

    volumes: tuple[Device, ...]
    store_names: tuple[tuple[int, str], ...]


def plan_devices(
    context: Context, image: Image, type_: InstanceType, mappings: Sequence[Mapping[str, Any]], interfaces: int = 1
) -> Devices:
    """The disks of a launch: those of the image, changed and added to by the call's mappings.

    Raises:
        InvalidBlockDeviceMapping: a device twice, a root volume smaller than the image, no size, a type that can't boot.
        NotFound, MalformedId, IncorrectState: a snapshot that the caller can't use.
        InvalidParameterValue, InvalidParameterCombination, MissingSetting: settings that the volume type does not take.
        LimitExceeded: more than the instance type takes.
    """
    named = _by_name(image, mappings)
    own = {device.device_name: device for device in image.devices}
    volumes: list[Device] = []
    stores: dict[int, str] = {}
    for name in dict.fromkeys((*own, *named)):
        mapping, device = named.get(name, {}), own.get(name)
        if "NoDevice" in mapping:
            continue
        virtual = mapping.get("VirtualName") or (device.virtual_name if device and "Ebs" not in mapping else None)
        if virtual:
            _map_store(stores, virtual, name)
        else:
            volumes.append(_volume(context, image, name, mapping.get("Ebs", {}), device))
    most = most_volumes(type_, interfaces, sum(disk.count for disk in _disks(type_)))
    if len(volumes) > most:
        raise LimitExceeded(
            f"{len(volumes)} volumes exceed the limit of {most} for the type {type_.name}.",
            code="AttachmentLimitExceeded",
        )
    return Devices(volumes=tuple(volumes), store_names=tuple(stores.items()))


def _by_name(image: Image, mappings: Sequence[Mapping[str, Any]]) -> Mapping[str, Mapping[str, Any]]:
    named: dict[str, Mapping[str, Any]] = {}
    for mapping in mappings:
        name = mapping.get("DeviceName")
        if not name:
            raise InvalidBlockDeviceMapping("The device name of a block device mapping must not be empty.")
        if name != image.root_device_name and not valid_name(name):
            raise InvalidBlockDeviceMapping(f"Invalid device name {name}")
        if name in named:
            raise InvalidBlockDeviceMapping(f"The device '{name}' is used in more than one block-device mapping")
        if mapping.get("VirtualName") and mapping.get("Ebs"):
            raise InvalidBlockDeviceMapping(f"The device '{name}' can't be both a volume and ephemeral.")
        named[name] = mapping
    root = named.get(image.root_device_name, {})
    if "NoDevice" in root or root.get("VirtualName"):
        raise InvalidBlockDeviceMapping(f"The root device {image.root_device_name} can't be left out or be ephemeral.")
    return named


def _map_store(stores: dict[int, str], virtual: str, name: str) -> None:
    number = store_number(virtual)
    if number is None:
        raise InvalidBlockDeviceMapping(f"Invalid virtual name {virtual}")
    if number in stores:
        raise InvalidBlockDeviceMapping(f"The device '{virtual}' is used in more than one block-device mapping")
    stores[number] = name


def _disks(type_: InstanceType) -> Sequence[Any]:
    return type_.instance_storage.disks if type_.instance_storage else ()


def _volume(context: Context, image: Image, name: str, ebs: Mapping[str, Any], device: ImageDevice | None) -> Device:
    for unknown in ("OutpostArn", "VolumeInitializationRate", "EbsCardIndex"):
        if ebs.get(unknown):
            raise Unsupported(
                f"The parameter {unknown} of the block device '{name}' is not available in this cloud yet."
            )
    root = name == image.root_device_name
    source = _source(context, ebs, device, root=root)
    least = source.size if source else (device.size if device and device.snapshot_id else 0)
    size = ebs.get("VolumeSize", device.size if device else None)
    if size is None:
        size = least
    if not size and not least:
        raise InvalidBlockDeviceMapping(f"The device '{name}' needs a volumeSize or a snapshotId.")
    if size < least:
        snapshot = source.id if source else device and device.snapshot_id
        raise InvalidBlockDeviceMapping(
            f"Volume of size {size}GB is smaller than snapshot '{snapshot}', expect size >= {least}GB"
        )
    given = _settings(ebs, device, size)
    if root and given.volume_type in NOT_FOR_BOOT:
        raise InvalidBlockDeviceMapping(f"A volume of the type {given.volume_type} can't be a boot volume.")
    return Device(
        name=name,
        settings=given,
        delete_on_termination=ebs.get("DeleteOnTermination", device.delete_on_termination if device else True),
        source=source,
        content=image.content if root else None,
        snapshot_id=source.id if source else (device.snapshot_id if device else None),
        encryption=Encryption(
            encrypted=ebs.get("Encrypted", device.encrypted if device and not device.snapshot_id else None),
            kms_key_id=ebs.get("KmsKeyId", device.kms_key_id if device else None),
        ),
    )


def _source(context: Context, ebs: Mapping[str, Any], device: ImageDevice | None, *, root: bool) -> Snapshot | None:
    """The snapshot that the volume starts as. Who may launch the image may use its snapshots, whosever they are."""
    named, own = ebs.get("SnapshotId"), device.snapshot_id if device else None
    if named and named != own:
        found = usable_snapshot(context, named)
        if root:
            raise InvalidBlockDeviceMapping("snapshotId cannot be modified on root device")
        return found
    # The images that the cloud is shipped with were there before they had snapshots.
    return context.view.get(Snapshot, own) if own else None


def _settings(ebs: Mapping[str, Any], device: ImageDevice | None, size: int) -> Settings:
    """Type, size and performance; what the image says of its type's performance holds while the type stays."""
    name = ebs.get("VolumeType") or (device.volume_type if device else DEFAULT_TYPE)
    iops, throughput = ebs.get("Iops"), ebs.get("Throughput")
    rules = VOLUME_TYPES.get(name)
    if rules is not None and device is not None and name == device.volume_type:
        iops = device.iops if iops is None and rules.iops is not None else iops
        throughput = device.throughput if throughput is None and rules.throughput is not None else throughput
    return settings(name, size, iops, throughput)


def create_volumes(
    context: Context, devices: Iterable[Device], instance: Instance, tags: Mapping[str, str]
) -> tuple[BlockDevice, ...]:
    """Writes the volumes of one placed instance, being attached to it on its host. Raises what ``encryption_of`` raises."""
    fitted = instance
    for device in devices:
        volume = new_volume(
            context,
            device.settings,
            instance.zone,
            source=device.source,
            content=device.content,
            encryption=device.encryption,
            tags=tags,
        )
        attachment = VolumeAttachment(
            instance_id=instance.id,
            device=device.name,
            attached=context.now,
            delete_on_termination=device.delete_on_termination,
            status="attaching",
        )
        attached = msgspec.structs.replace(
            volume.with_attachment(attachment), host_id=instance.host_id, snapshot_id=device.snapshot_id
        )
        context.tx.put(attached)
        mapped = BlockDevice(
            device_name=device.name,
            volume_id=volume.id,
            attached=context.now,
            delete_on_termination=device.delete_on_termination,
            index=0 if device.name == instance.root_device_name else fitted.free_index,
        )
        fitted = msgspec.structs.replace(fitted, block_devices=(*fitted.block_devices, mapped))
    return fitted.block_devices
