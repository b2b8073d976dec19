"""Block device mappings that images are made with."""

from collections.abc import Mapping, Sequence
from typing import Any

from pileus.operations.context import Context
from pileus.records.image import ImageDevice
from pileus.services.ec2.device_names import store_number, valid_name
from pileus.services.ec2.errors import InvalidBlockDeviceMapping, Unsupported
from pileus.services.ec2.snapshots.listing import usable_snapshot
from pileus.services.ec2.volume_types import VOLUME_TYPES, settings

_NOT_YET = ("OutpostArn", "VolumeInitializationRate", "AvailabilityZone", "AvailabilityZoneId", "EbsCardIndex")
_KEPT_IOPS = frozenset({"gp3", "io1", "io2"})


def by_name(mappings: Sequence[Mapping[str, Any]], root: str) -> Mapping[str, Mapping[str, Any]]:
    """The call's mappings by device name. Raises InvalidBlockDeviceMapping: a name twice, none, or one that is no device's."""
    named: dict[str, Mapping[str, Any]] = {}
    for mapping in mappings:
        name = mapping.get("DeviceName")
        if not name:
            raise InvalidBlockDeviceMapping("The device name of a block device mapping must not be empty.")
        if name != root and not valid_name(name):
            raise InvalidBlockDeviceMapping(f"Invalid device name {name}")
        if name in named:
            raise InvalidBlockDeviceMapping(f"The device '{name}' is used in more than one block-device mapping")
        if mapping.get("VirtualName") and mapping.get("Ebs"):
            raise InvalidBlockDeviceMapping(f"The device '{name}' can't be both a volume and ephemeral.")
        named[name] = mapping
    return named


def new_device(context: Context, name: str, mapping: Mapping[str, Any]) -> ImageDevice | None:
    """A mapping of a device that is not there yet: a disk of the instance store, or a volume, empty or of a snapshot.

    None where the mapping says that there is no device.

    Raises:
        InvalidBlockDeviceMapping: it makes no sense. ServiceError: of ``usable_snapshot`` and ``settings``.
    """
    if "NoDevice" in mapping:
        return None
    virtual = mapping.get("VirtualName")
    if virtual:
        if store_number(virtual) is None:
            raise InvalidBlockDeviceMapping(f"Invalid virtual name {virtual}")
        return ImageDevice(device_name=name, virtual_name=virtual)
    ebs: Mapping[str, Any] = mapping.get("Ebs", {})
    snapshot = usable_snapshot(context, ebs["SnapshotId"]) if ebs.get("SnapshotId") else None
    if snapshot is not None and (ebs.get("KmsKeyId") or ebs.get("Encrypted") not in {None, snapshot.encrypted}):
        raise InvalidBlockDeviceMapping(
            f"The encryption of the device '{name}' follows from its snapshot: copy that under another key first."
        )
    size = ebs.get("VolumeSize", snapshot.size if snapshot else None)
    if size is None:
        raise InvalidBlockDeviceMapping(f"The device '{name}' needs a volumeSize or a snapshotId.")
    if snapshot is not None and size < snapshot.size:
        raise InvalidBlockDeviceMapping(
            f"Volume of size {size}GB is smaller than snapshot '{snapshot.id}', expect size >= {snapshot.size}GB"
        )
    device = ImageDevice(
        device_name=name,
        snapshot_id=snapshot.id if snapshot else None,
        encrypted=ebs.get("Encrypted") if snapshot is None else None,
        kms_key_id=ebs.get("KmsKeyId"),
        delete_on_termination=ebs.get("DeleteOnTermination", True),
    )
    return set_up(device, {"VolumeType": "standard" if snapshot is None else "gp2", **ebs}, size)


def set_up(device: ImageDevice, ebs: Mapping[str, Any], size: int) -> ImageDevice:
    """The device with the size, type and performance that a mapping gives; what it leaves out stays.

    Raises ServiceError: of ``settings``.
    """
    for unknown in _NOT_YET:
        if ebs.get(unknown):
            raise Unsupported(f"The parameter {unknown} of a block device is not available in this cloud yet.")
    type_ = ebs.get("VolumeType", device.volume_type)
    same = type_ == device.volume_type
    iops, throughput = ebs.get("Iops"), ebs.get("Throughput")
    rules = VOLUME_TYPES.get(type_)
    if same and rules is not None:
        iops = device.iops if iops is None and rules.iops is not None else iops
        throughput = device.throughput if throughput is None and rules.throughput is not None else throughput
    given = settings(type_, size, iops, throughput)
    return ImageDevice(
        device_name=device.device_name,
        snapshot_id=device.snapshot_id,
        size=given.size,
        volume_type=given.volume_type,
        iops=given.iops if given.volume_type in _KEPT_IOPS else None,
        throughput=given.throughput,
        delete_on_termination=ebs.get("DeleteOnTermination", device.delete_on_termination),
        encrypted=device.encrypted,
        kms_key_id=device.kms_key_id,
    )
