"""Block device mappings of a launch: which volumes an instance starts with."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from pileus.base.errors import ServiceError
from pileus.base.ids import new_id
from pileus.operations.context import Context
from pileus.records import Image, Instance, Volume
from pileus.records.instance import BlockDevice
from pileus.records.volume import VolumeAttachment
from pileus.services.ec2.errors import InvalidParameterValue, NotFound, Unsupported


class InvalidBlockDeviceMapping(ServiceError):
    """A mapping that the image or the volume type does not allow."""

    code = "InvalidBlockDeviceMapping"


class VolumeType(msgspec.Struct, frozen=True):
    """What a volume type allows: GiB, IOPS (None: it has no such setting), IOPS per GiB at most, throughput in MiB/s."""

    least: int
    most: int
    iops: tuple[int, int] | None = None
    iops_per_gib: int = 0
    throughput: tuple[int, int] | None = None


VOLUME_TYPES: Mapping[str, VolumeType] = {
    "standard": VolumeType(1, 1024),
    "gp2": VolumeType(1, 16384),
    "gp3": VolumeType(1, 65536, (3000, 80000), 500, (125, 2000)),
    "io1": VolumeType(4, 16384, (100, 64000), 50),
    "io2": VolumeType(4, 65536, (100, 256000), 1000),
    "st1": VolumeType(125, 16384),
    "sc1": VolumeType(125, 16384),
}
"""See https://docs.aws.amazon.com/ebs/latest/userguide/ebs-volume-types.html."""

_GP2_IOPS_PER_GIB, _GP2_LEAST, _GP2_MOST = 3, 100, 16000


_NOT_FOR_BOOT = frozenset({"st1", "sc1"})
_DEVICE_NAME = re.compile(r"(?:/dev/)?(?:sd[a-z]|hd[a-z]|xvd[a-z]{1,2})[0-9]{0,2}")
"""See https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/device_naming.html."""


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """One volume of every instance of the launch. ``content`` is the image that it starts as."""

    name: str
    size: int
    volume_type: str
    iops: int | None
    throughput: int | None
    delete_on_termination: bool
    snapshot_id: str | None = None
    content: str | None = None


def plan_devices(image: Image, mappings: Sequence[Mapping[str, Any]]) -> list[Device]:
    """The volumes of a launch, the root volume first.

    Raises:
        InvalidBlockDeviceMapping: a device twice, a root volume smaller than the image, no size, a wrong type's setting.
        NotFound: a snapshot that is not the image's own.
    """
    named: dict[str, Mapping[str, Any]] = {}
    for mapping in mappings:
        name = mapping.get("DeviceName")
        if not name:
            raise InvalidBlockDeviceMapping("The device name of a block device mapping must not be empty.")
        if name != image.root_device_name and not _DEVICE_NAME.fullmatch(name):
            raise InvalidBlockDeviceMapping(f"Invalid device name {name}")
        if name in named:
            raise InvalidBlockDeviceMapping(f"The device '{name}' is used in more than one block-device mapping")
        named[name] = mapping
    root = named.pop(image.root_device_name, {})
    if "NoDevice" in root or root.get("VirtualName"):
        raise InvalidBlockDeviceMapping(f"The root device {image.root_device_name} can't be left out or be ephemeral.")
    return [_root(image, root.get("Ebs", {})), *_further(named)]


def _root(image: Image, ebs: Mapping[str, Any]) -> Device:
    snapshot = ebs.get("SnapshotId", image.snapshot_id)
    if snapshot != image.snapshot_id:
        raise NotFound(f"The snapshot '{snapshot}' does not exist.", code="InvalidSnapshot.NotFound")
    size = ebs.get("VolumeSize", image.size)
    if size < image.size:
        raise InvalidBlockDeviceMapping(
            f"Volume of size {size}GB is smaller than snapshot '{snapshot}', expect size >= {image.size}GB"
        )
    if ebs.get("VolumeType") in _NOT_FOR_BOOT:
        raise InvalidBlockDeviceMapping(f"A volume of the type {ebs['VolumeType']} can't be a boot volume.")
    device = _device(image.root_device_name, ebs, size, delete_by_default=True)
    return msgspec.structs.replace(device, snapshot_id=image.snapshot_id, content=image.content)


def _further(mappings: Mapping[str, Mapping[str, Any]]) -> Iterable[Device]:
    for name, mapping in mappings.items():
        # Instance types without an instance store ignore ephemeral mappings, and so do we as long as none has one.
        if "NoDevice" in mapping or mapping.get("VirtualName"):
            continue
        ebs: Mapping[str, Any] = mapping.get("Ebs", {})
        if ebs.get("SnapshotId"):
            raise NotFound(f"The snapshot '{ebs['SnapshotId']}' does not exist.", code="InvalidSnapshot.NotFound")
        if ebs.get("VolumeSize") is None:
            raise InvalidBlockDeviceMapping(f"The device '{name}' needs a volumeSize or a snapshotId.")
        yield _device(name, ebs, ebs["VolumeSize"], delete_by_default=True)


def _device(name: str, ebs: Mapping[str, Any], size: int, *, delete_by_default: bool) -> Device:
    if ebs.get("Encrypted"):
        raise Unsupported(f"The parameter encrypted of the block device '{name}' is not available in this cloud yet.")
    type_name = ebs.get("VolumeType", "gp3")
    rules = VOLUME_TYPES.get(type_name)
    if rules is None:
        raise InvalidParameterValue(f"Value ({type_name}) for parameter volumeType is invalid. Unknown volume type.")
    if not rules.least <= size <= rules.most:
        raise InvalidParameterValue(
            f"Volume of {size}GiB is invalid for volume type {type_name}. Supported sizes: {rules.least}-{rules.most} GiB."
        )
    return Device(
        name=name,
        size=size,
        volume_type=type_name,
        iops=_iops(type_name, rules, size, ebs.get("Iops")),
        throughput=_throughput(type_name, rules, ebs.get("Throughput")),
        delete_on_termination=ebs.get("DeleteOnTermination", delete_by_default),
    )


def _iops(type_name: str, rules: VolumeType, size: int, wanted: int | None) -> int | None:
    if rules.iops is None:
        if wanted is not None:
            raise InvalidBlockDeviceMapping(f"The parameter iops is not supported for {type_name} volumes.")
        return min(max(_GP2_IOPS_PER_GIB * size, _GP2_LEAST), _GP2_MOST) if type_name == "gp2" else None
    least, most = rules.iops
    if wanted is None:
        if type_name != "gp3":
            raise InvalidBlockDeviceMapping(f"The parameter iops must be specified for {type_name} volumes.")
        return least
    if not least <= wanted <= most:
        raise InvalidParameterValue(
            f"Volume iops of {wanted} is out of range for {type_name}. Supported: {least}-{most}."
        )
    if wanted > max(rules.iops_per_gib * size, least):
        raise InvalidParameterValue(
            f"Iops to volume size ratio of {wanted / size:.1f} is too high; maximum is {rules.iops_per_gib}."
        )
    return wanted


def _throughput(type_name: str, rules: VolumeType, wanted: int | None) -> int | None:
    if rules.throughput is None:
        if wanted is not None:
            raise InvalidBlockDeviceMapping(f"The parameter throughput is not supported for {type_name} volumes.")
        return None
    least, most = rules.throughput
    if wanted is not None and not least <= wanted <= most:
        raise InvalidParameterValue(f"Throughput of {wanted} is out of range. Supported: {least}-{most}.")
    return wanted or least


def create_volumes(
    context: Context, devices: Sequence[Device], instance: Instance, tags: Mapping[str, str]
) -> tuple[BlockDevice, ...]:
    """Writes the volumes of one placed instance, attached to it and on its host."""
    mapped: list[BlockDevice] = []
    for index, device in enumerate(devices):
        volume = context.tx.put(
            Volume(
                id=new_id("vol"),
                account=context.account,
                region=context.region,
                tags=tags,
                zone=instance.zone,
                host_id=instance.host_id,
                size=device.size,
                created=context.now,
                volume_type=device.volume_type,
                state="in-use",
                iops=device.iops,
                throughput=device.throughput,
                snapshot_id=device.snapshot_id,
                image_content=device.content,
                attachments=(
                    VolumeAttachment(
                        instance_id=instance.id,
                        device=device.name,
                        attached=context.now,
                        delete_on_termination=device.delete_on_termination,
                    ),
                ),
            )
        )
        mapped.append(
            BlockDevice(
                device_name=device.name,
                volume_id=volume.id,
                attached=context.now,
                delete_on_termination=device.delete_on_termination,
                index=index,
            )
        )
    return tuple(mapped)
