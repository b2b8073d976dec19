"""CreateImage: an image of an instance with all its volumes at one instant, which without NoReboot is while it is down.

The guest is told to shut down, its volumes are snapshotted, and it is started again; to the API it runs all the while.
``controllers.images`` does that. See https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateImage.html.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from pileus.base.ids import new_id
from pileus.operations.context import Context
from pileus.operations.tags import tags_for
from pileus.records import Image, Instance, Snapshot, Volume
from pileus.records.image import ImageDevice
from pileus.records.instance import BlockDevice, State
from pileus.services.ec2.errors import IncorrectInstanceState, IncorrectState, InvalidBlockDeviceMapping
from pileus.services.ec2.images.mappings import by_name, new_device, set_up
from pileus.services.ec2.images.registration import claim_name
from pileus.services.ec2.resources import INSTANCE
from pileus.services.ec2.service import ec2
from pileus.services.ec2.snapshots.creation import check_description, is_taken, refuse_location, take

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import CreateImageRequestTypeDef

_KEPT_IOPS = frozenset({"gp3", "io1", "io2"})


def _then(context: Context, result: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Without a reboot the answer comes when the instant is over; a reboot takes longer than a call."""
    image = context.view.get(Image, result["ImageId"])
    if image is None or image.rebooting or image.state != "pending":
        return result
    return result if is_taken(context, image.snapshot_ids) else None


@ec2.writes(
    "CreateImage",
    resources=("image:*", "instance:InstanceId", "snapshot:*"),
    taggable=("image", "snapshot"),
    then=_then,
)
def create_image(context: Context, params: "CreateImageRequestTypeDef") -> dict[str, Any]:
    """An image of an instance that runs or is stopped."""
    refuse_location(params)
    description = check_description(params.get("Description"))
    instance = INSTANCE.one(context, params["InstanceId"])
    if instance.state not in {State.RUNNING, State.STOPPED}:
        raise IncorrectInstanceState(f"The instance '{instance.id}' is not in the 'running' or 'stopped' state.")
    if instance.imaging is not None:
        raise IncorrectState(f"The instance '{instance.id}' is being rebooted for the image '{instance.imaging}'.")
    id_ = new_id("ami")
    claim_name(context, params["Name"], id_)
    reboots = instance.state is State.RUNNING and not params.get("NoReboot")
    root, further = _devices(context, params, instance, id_, reboots=reboots)
    base = context.view.get(Image, instance.image_id)
    if reboots:
        context.tx.put(replace(instance, imaging=id_))
    assert root.snapshot_id is not None, "a root device is a volume, and that has a snapshot now"
    image = Image(
        id=id_,
        account=context.account,
        region=context.region,
        tags=tags_for(params, "image"),
        name=params["Name"],
        description=description,
        created=context.now,
        family="",
        user=instance.image_user,
        snapshot_id=root.snapshot_id,
        size=root.size,
        boot_content=instance.image_content,
        root=root,
        block_devices=further,
        architecture=instance.architecture,
        root_device_name=instance.root_device_name,
        boot_mode=params.get("BootModeOverride", instance.boot_mode),
        state="pending",
        instance_id=instance.id,
        rebooting=reboots,
        group=id_,
        source_image_id=instance.image_id,
        source_image_region=instance.region,
    )
    if base is not None:
        image = replace(
            image,
            min_memory=base.min_memory,
            ena_support=base.ena_support,
            sriov_net_support=base.sriov_net_support,
            tpm_support=base.tpm_support,
            imds_support=base.imds_support,
            uefi_data=base.uefi_data,
        )
    context.tx.put(image)
    return {"ImageId": id_}


def _devices(
    context: Context, params: "CreateImageRequestTypeDef", instance: Instance, image_id: str, *, reboots: bool
) -> tuple[ImageDevice, tuple[ImageDevice, ...]]:
    """The root device, and the others: the instance's volumes with their snapshots, and what the call adds."""
    named = by_name(params.get("BlockDeviceMappings", ()), instance.root_device_name)
    made: list[ImageDevice] = []
    mapped = _mapped(instance)
    for device in mapped:
        mapping = named.get(device.device_name, {})
        is_root = device.device_name == instance.root_device_name
        if "NoDevice" in mapping or mapping.get("VirtualName"):
            if is_root:
                raise InvalidBlockDeviceMapping(f"The root device {device.device_name} can't be left out.")
            continue
        snapshot = _snapshot(context, params, device, instance, image_id, held=reboots)
        made.append(_device(context, device, snapshot, mapping.get("Ebs", {})))
    known = {device.device_name for device in made}
    added = (new_device(context, name, mapping) for name, mapping in named.items() if name not in known)
    made += [device for device in added if device is not None]
    root = next(device for device in made if device.device_name == instance.root_device_name)
    return root, tuple(device for device in made if device is not root)


def _mapped(instance: Instance) -> Sequence[BlockDevice]:
    """The volumes of an instance, the root volume first."""
    return sorted(instance.block_devices, key=lambda one: one.device_name != instance.root_device_name)


def _snapshot(
    context: Context,
    params: "CreateImageRequestTypeDef",
    device: BlockDevice,
    instance: Instance,
    image_id: str,
    *,
    held: bool,
) -> Snapshot:
    volume = context.view.get(Volume, device.volume_id)
    assert volume is not None, f"{device.volume_id} is attached and not there"
    return take(
        context,
        volume,
        description=f"Created by CreateImage({instance.id}) for {image_id}",
        tags=tags_for(params, "snapshot"),
        group=image_id,
        held=held,
    )


def _device(context: Context, device: BlockDevice, snapshot: Snapshot, ebs: Mapping[str, Any]) -> ImageDevice:
    """How a volume of the instance is mapped in the image: as it is, but for what the call says."""
    if ebs.get("SnapshotId") or ebs.get("Encrypted") not in {None, snapshot.encrypted} or ebs.get("KmsKeyId"):
        raise InvalidBlockDeviceMapping(
            f"The snapshot and the encryption of the device '{device.device_name}' are those of its volume."
        )
    volume = context.view.get(Volume, device.volume_id)
    assert volume is not None, f"{device.volume_id} was just there"
    size = ebs.get("VolumeSize", volume.size)
    if size < volume.size:
        raise InvalidBlockDeviceMapping(
            f"Volume of size {size}GB is smaller than snapshot '{snapshot.id}', expect size >= {volume.size}GB"
        )
    as_it_is = ImageDevice(
        device_name=device.device_name,
        snapshot_id=snapshot.id,
        size=volume.size,
        volume_type=volume.volume_type,
        iops=volume.iops if volume.volume_type in _KEPT_IOPS else None,
        throughput=volume.throughput,
        delete_on_termination=device.delete_on_termination,
    )
    return set_up(as_it_is, ebs, size)
