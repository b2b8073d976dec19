"""Machine images: an account's own, those shared with it, and the public ones."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from pileus.base.errors import ServiceError
from pileus.operations.context import Context
from pileus.operations.filters import absent, constant
from pileus.operations.listing import Listing
from pileus.operations.tags import tag_set
from pileus.records import Image
from pileus.services.ec2.attributes import attribute
from pileus.services.ec2.resources import IMAGE, find_visible
from pileus.services.ec2.service import ec2
from pileus.services.ec2.times import iso

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import DescribeImageAttributeRequestTypeDef, DescribeImagesRequestTypeDef

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


class NotAuthorized(ServiceError):
    """The image is visible to the caller, but is another account's."""

    code = "AuthFailure"


def visible_image(context: Context, image_id: str) -> Image:
    """An image that the caller may launch. Raises InvalidAMIID.Malformed, InvalidAMIID.NotFound."""
    return _find(context, [image_id])[0]


def _visible(context: Context, image: Image) -> bool:
    return image.public or image.account == context.account or context.account in image.launch_accounts


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


_ACCOUNT = re.compile(r"[0-9]{12}")


class InvalidUserId(ServiceError):
    """An owner that is neither an account nor one of the aliases."""

    code = "InvalidUserID.Malformed"


def _location(image: Image) -> str:
    return f"{image.owner_alias or image.account}/{image.name}"


def _block_devices(image: Image) -> list[dict[str, Any]]:
    return [
        {
            "DeviceName": image.root_device_name,
            "Ebs": {
                "SnapshotId": image.snapshot_id,
                "VolumeSize": image.size,
                "VolumeType": "gp3",
                "DeleteOnTermination": True,
                "Encrypted": False,
            },
        }
    ]


def _draw(_: Context, image: Image) -> dict[str, Any]:
    return {
        "ImageId": image.id,
        "ImageLocation": _location(image),
        "ImageType": "machine",
        "Name": image.name,
        "Description": image.description,
        "State": image.state,
        "OwnerId": image.account,
        "ImageOwnerAlias": image.owner_alias,
        "Public": image.public,
        "CreationDate": iso(image.created),
        "Architecture": image.architecture,
        "BootMode": image.boot_mode,
        "VirtualizationType": image.virtualization_type,
        "Hypervisor": "xen",
        "EnaSupport": True,
        "RootDeviceType": "ebs",
        "RootDeviceName": image.root_device_name,
        "BlockDeviceMappings": _block_devices(image),
        "PlatformDetails": "Linux/UNIX",
        "UsageOperation": "RunInstances",
        "DeregistrationProtection": "disabled",
        "PublicSsmParameterName": image.ssm_path,
        "ProductCodes": [],
        "Tags": tag_set(image.tags),
    }


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
        "block-device-mapping.delete-on-termination": constant(True),
        "block-device-mapping.device-name": lambda _, image: image.root_device_name,
        "block-device-mapping.encrypted": constant(False),
        "block-device-mapping.snapshot-id": lambda _, image: image.snapshot_id,
        "block-device-mapping.volume-size": lambda _, image: image.size,
        "block-device-mapping.volume-type": constant("gp3"),
        "boot-mode": lambda _, image: image.boot_mode,
        "creation-date": lambda _, image: iso(image.created),
        "description": lambda _, image: image.description,
        "ena-support": constant(True),
        "free-tier-eligible": absent,
        "hypervisor": constant("xen"),
        "image-allowed": constant(True),
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
        "source-image-id": absent,
        "source-image-region": absent,
        "source-instance-id": absent,
        "sriov-net-support": absent,
        "state": lambda _, image: image.state,
        "state-reason-code": absent,
        "state-reason-message": absent,
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


@ec2.reads("DescribeImages")
def describe_images(context: Context, params: "DescribeImagesRequestTypeDef") -> dict[str, Any]:
    """The images that the caller may launch. No image here is ever deprecated; disabled ones come on demand."""
    owners, users = params.get("Owners"), params.get("ExecutableUsers")
    for owner in owners or ():
        if owner != "self" and owner not in _ALIASES and not _ACCOUNT.fullmatch(owner):
            raise InvalidUserId(f'Invalid user id: "{owner}"')

    def asked_for(image: Image) -> bool:
        return (
            (not owners or _owned_by(context, image, owners))
            and (not users or _executable_by(context, image, users))
            and (image.state != "disabled" or bool(params.get("IncludeDisabled")))
        )

    return IMAGES.answer(context, params, asked_for)


@ec2.reads("DescribeImageAttribute", resources=("image:ImageId",))
def describe_image_attribute(context: Context, params: "DescribeImageAttributeRequestTypeDef") -> dict[str, Any]:
    """One attribute of an image, for its owner."""
    image = visible_image(context, params["ImageId"])
    if image.account != context.account:
        raise NotAuthorized(f"Not authorized for image:{image.id}")
    member, value = attribute(_attributes(image), params["Attribute"])
    return {"ImageId": image.id, member: value}


def _attributes(image: Image) -> Mapping[str, tuple[str, Any]]:
    """By attribute name: the member of the answer, and its value. What an image does not have is an empty structure."""
    everybody = [{"Group": "all"}] if image.public else []
    return {
        "blockDeviceMapping": ("BlockDeviceMappings", _block_devices(image)),
        "bootMode": ("BootMode", {"Value": image.boot_mode}),
        "deregistrationProtection": ("DeregistrationProtection", {"Value": "disabled"}),
        "description": ("Description", {"Value": image.description}),
        "imdsSupport": ("ImdsSupport", {}),
        "kernel": ("KernelId", {}),
        "lastLaunchedTime": ("LastLaunchedTime", {}),
        "launchPermission": ("LaunchPermissions", [*everybody, *({"UserId": user} for user in image.launch_accounts)]),
        "productCodes": ("ProductCodes", []),
        "ramdisk": ("RamdiskId", {}),
        "sriovNetSupport": ("SriovNetSupport", {}),
        "tpmSupport": ("TpmSupport", {}),
        "uefiData": ("UefiData", {}),
    }
