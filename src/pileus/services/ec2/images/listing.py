"""Machine images: an account's own, those shared with it, and the public ones."""

from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from pileus.base.errors import ServiceError
from pileus.operations.context import Context
from pileus.operations.filters import Value, absent, constant, texts
from pileus.operations.listing import Listing
from pileus.operations.tags import tag_set
from pileus.records import Image, Sharing, Snapshot
from pileus.records.image import ImageDevice
from pileus.services.ec2.errors import NotAuthorized
from pileus.services.ec2.images.criteria import is_allowed
from pileus.services.ec2.resources import IMAGE, find_visible
from pileus.services.ec2.service import ec2
from pileus.services.ec2.sharing import is_account, sharing_of
from pileus.services.ec2.times import iso

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import DescribeImagesRequestTypeDef

_ALIASES = frozenset({"amazon", "aws-backup-vault", "aws-marketplace"})


_SCAN_RESULTS = (
    "critical-fix-available-since",
    "finding-scan-date",
    "high-fix-available-since",
    "highest-finding-severity-label",
    "informational-fix-available-since",
    "low-fix-available-since",
    "medium-fix-available-since",
)
"""What Amazon Inspector would know of an image."""


class ImageUnavailable(ServiceError):
    """The image is there, but not in a state in which this can be done."""

    code = "InvalidAMIID.Unavailable"


def visible_image(context: Context, image_id: str) -> Image:
    """An image that the caller may launch. Raises InvalidAMIID.Malformed, InvalidAMIID.NotFound."""
    return _find(context, [image_id])[0]


def launchable_image(context: Context, image_id: str) -> Image:
    """The same, in a state in which it can be launched.

    Raises ImageUnavailable, and NotFound for one that the account's own rules don't allow.
    """
    image = visible_image(context, image_id)
    if image.state != "available":
        raise ImageUnavailable(f"The AMI ID '{image.id}' is {image.state} and can't be launched.")
    rules = _rules(context)
    if rules.allowed_images == "enabled" and not is_allowed(context, rules, image):
        raise IMAGE.not_found([image_id])
    return image


def note_launch(context: Context, image_id: str) -> None:
    """Keeps on record that an image was used, to the day."""
    image = context.tx.get(Image, image_id)
    if image is not None and (image.last_launched is None or context.now - image.last_launched >= timedelta(days=1)):
        context.tx.put(replace(image, last_launched=context.now))


def own_image(context: Context, image_id: str) -> Image:
    """An image of the caller's, as it is on record. Raises NotAuthorized for one that is another's."""
    image = visible_image(context, image_id)
    if image.account != context.account:
        raise NotAuthorized(f"Not authorized for image:{image.id}")
    return image


def _visible(context: Context, image: Image) -> bool:
    if image.account == context.account:
        return image.binned is None
    return image.public or context.account in image.launch_accounts


def _as_seen(context: Context, image: Image) -> Image:
    """An image as the caller sees it: tags are their owner's alone."""
    return image if image.account == context.account or not image.tags else replace(image, tags={})


def _find(context: Context, ids: Sequence[str]) -> list[Image]:
    found = find_visible(IMAGE, context, ids, lambda image: _visible(context, image))
    return [_as_seen(context, image) for image in found]


def _rows(context: Context) -> Iterable[Image]:
    for image in context.view.list(Image, region=context.region):
        if _visible(context, image):
            yield _as_seen(context, image)


class InvalidUserId(ServiceError):
    """An owner that is neither an account nor one of the aliases."""

    code = "InvalidUserID.Malformed"


def _location(image: Image) -> str:
    return f"{image.owner_alias or image.account}/{image.name}"


def draw_devices(context: Context, image: Image) -> list[dict[str, Any]]:
    """The block device mappings, the root device's first."""
    return [_draw_device(context, device) for device in image.devices]


def _draw_device(context: Context, device: ImageDevice) -> dict[str, Any]:
    if device.virtual_name is not None:
        return {"DeviceName": device.device_name, "VirtualName": device.virtual_name}
    return {
        "DeviceName": device.device_name,
        "Ebs": {
            "SnapshotId": device.snapshot_id,
            "VolumeSize": device.size,
            "VolumeType": device.volume_type,
            "Iops": device.iops,
            "Throughput": device.throughput,
            "DeleteOnTermination": device.delete_on_termination,
            "Encrypted": _is_encrypted(context, device),
            "KmsKeyId": device.kms_key_id,
        },
    }


def _is_encrypted(context: Context, device: ImageDevice) -> bool:
    snapshot = context.view.get(Snapshot, device.snapshot_id) if device.snapshot_id else None
    return snapshot.encrypted if snapshot else bool(device.encrypted)


def _of_volumes(value: Callable[[ImageDevice], Value]) -> Callable[[Context, Image], list[str]]:
    """The field of a filter over the volumes of an image."""
    return lambda _, image: [
        text for device in image.devices if not device.virtual_name for text in texts(value(device))
    ]


def _draw(context: Context, image: Image) -> dict[str, Any]:
    return {
        "ImageId": image.id,
        "ImageLocation": _location(image),
        "ImageType": "machine",
        "Name": image.name,
        "Description": image.description,
        "State": image.state,
        "StateReason": _state_reason(image),
        "OwnerId": image.account,
        "ImageOwnerAlias": image.owner_alias,
        "Public": image.public,
        "CreationDate": iso(image.created),
        "Architecture": image.architecture,
        "BootMode": image.boot_mode,
        "VirtualizationType": image.virtualization_type,
        "Hypervisor": "xen",
        "EnaSupport": image.ena_support,
        "SriovNetSupport": image.sriov_net_support,
        "TpmSupport": image.tpm_support,
        "ImdsSupport": image.imds_support,
        "RootDeviceType": "ebs",
        "RootDeviceName": image.root_device_name,
        "BlockDeviceMappings": draw_devices(context, image),
        "PlatformDetails": "Linux/UNIX",
        "UsageOperation": "RunInstances",
        "DeregistrationProtection": image.protection,
        "DeprecationTime": iso(image.deprecated) if image.deprecated else None,
        "LastLaunchedTime": iso(image.last_launched) if image.last_launched else None,
        "SourceInstanceId": image.instance_id,
        "SourceImageId": image.source_image_id,
        "SourceImageRegion": image.source_image_region,
        "PublicSsmParameterName": image.ssm_path,
        "ProductCodes": [],
        "Tags": tag_set(image.tags),
    }


def _state_reason(image: Image) -> dict[str, str] | None:
    if image.state_reason is None:
        return None
    return {"Code": "Client.ImageCreationFailure", "Message": image.state_reason}


def _rules(context: Context) -> Sharing:
    return sharing_of(context.view, context.account, context.region)


def _draw_judged(context: Context, image: Image) -> dict[str, Any]:
    return {**_draw(context, image), "ImageAllowed": is_allowed(context, _rules(context), image)}


IMAGES = Listing(
    kind=Image,
    member="Images",
    draw=_draw,
    ids="ImageIds",
    find=_find,
    rows=_rows,
    exclusive=True,
    filters={
        "architecture": lambda _, image: image.architecture,
        "block-device-mapping.delete-on-termination": _of_volumes(lambda device: device.delete_on_termination),
        "block-device-mapping.device-name": lambda _, image: [device.device_name for device in image.devices],
        "block-device-mapping.encrypted": lambda context, image: [
            str(_is_encrypted(context, one)).lower() for one in image.devices
        ],
        "block-device-mapping.snapshot-id": _of_volumes(lambda device: device.snapshot_id),
        "block-device-mapping.volume-size": _of_volumes(lambda device: device.size),
        "block-device-mapping.volume-type": _of_volumes(lambda device: device.volume_type),
        "boot-mode": lambda _, image: image.boot_mode,
        "creation-date": lambda _, image: iso(image.created),
        "description": lambda _, image: image.description,
        "ena-support": lambda _, image: image.ena_support,
        "free-tier-eligible": absent,
        "hypervisor": constant("xen"),
        "image-allowed": lambda context, image: is_allowed(context, _rules(context), image),
        "image-id": lambda _, image: image.id,
        "image-type": constant("machine"),
        "image-watermark.source-image-creation-time": absent,
        "image-watermark.source-image-id": absent,
        "image-watermark.source-image-region": absent,
        "image-watermark.watermark-creation-time": absent,
        "image-watermark.watermark-key": absent,
        "instance-type-specification.supported-instance-type": absent,
        "instance-type-specification.unsupported-instance-type": absent,
        "is-public": lambda _, image: image.public,
        "kernel-id": absent,
        "manifest-location": lambda _, image: _location(image),
        "name": lambda _, image: image.name,
        "owner-alias": lambda _, image: image.owner_alias,
        "owner-id": lambda _, image: image.account,
        "platform": absent,
        "product-code": absent,
        "product-code.type": absent,
        "public-ssm-parameter-name": lambda _, image: image.ssm_path,
        "ramdisk-id": absent,
        "root-device-name": lambda _, image: image.root_device_name,
        "root-device-type": constant("ebs"),
        **{f"scan-result.{name}": absent for name in _SCAN_RESULTS},
        "source-image-id": lambda _, image: image.source_image_id,
        "source-image-region": lambda _, image: image.source_image_region,
        "source-instance-id": lambda _, image: image.instance_id,
        "sriov-net-support": lambda _, image: image.sriov_net_support,
        "state": lambda _, image: image.state,
        "state-reason-code": lambda _, image: image.state_reason and "Client.ImageCreationFailure",
        "state-reason-message": lambda _, image: image.state_reason,
        "virtualization-type": lambda _, image: image.virtualization_type,
    },
)


def _owned_by(context: Context, image: Image, owners: Iterable[str]) -> bool:
    """Whether one of ``self``, account numbers and aliases is the image's owner."""
    for owner in owners:
        if owner in _ALIASES:
            if image.owner_alias == owner:
                return True
        elif image.account == (context.account if owner == "self" else owner):
            return True
    return False


def _executable_by(context: Context, image: Image, users: Iterable[str]) -> bool:
    """Whether the image is shared with one of ``all`` (everybody), ``self`` and account numbers."""
    for user in users:
        if user == "all":
            if image.public:
                return True
        elif (context.account if user == "self" else user) in image.launch_accounts:
            return True
    return False


_JUDGED = replace(IMAGES, draw=_draw_judged, cached=False)
"""For accounts that allow only some images: whether it is one depends on more than the image."""


@ec2.reads("DescribeImages")
def describe_images(context: Context, params: "DescribeImagesRequestTypeDef") -> dict[str, Any]:
    """The images that the caller may launch. Others' deprecated ones come on demand, and so do disabled ones."""
    owners, users = params.get("Owners"), params.get("ExecutableUsers")
    for owner in owners or ():
        if owner != "self" and owner not in _ALIASES and not is_account(owner):
            raise InvalidUserId(f'Invalid user id: "{owner}"')
    rules = _rules(context)

    def asked_for(image: Image) -> bool:
        return (
            (not owners or _owned_by(context, image, owners))
            and (not users or _executable_by(context, image, users))
            and (image.state != "disabled" or bool(params.get("IncludeDisabled")))
            and (not _is_deprecated(context, image) or bool(params.get("IncludeDeprecated")))
            and (rules.allowed_images != "enabled" or is_allowed(context, rules, image))
        )

    listing = IMAGES if rules.allowed_images == "disabled" else _JUDGED
    return listing.answer(context, params, asked_for)


def _is_deprecated(context: Context, image: Image) -> bool:
    """Whether it is left out of others' lists; to its owner it never is."""
    return image.deprecated is not None and image.deprecated <= context.now and image.account != context.account
