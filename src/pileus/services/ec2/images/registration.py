"""RegisterImage: an image of snapshots that are there already; and the names of images."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pileus.base.errors import ServiceError
from pileus.base.ids import new_id
from pileus.operations.context import Context
from pileus.operations.tags import tags_for
from pileus.records import Image, Snapshot
from pileus.records.image import image_name_scope
from pileus.services.ec2.errors import Duplicate, InvalidBlockDeviceMapping, InvalidParameterValue, Unsupported
from pileus.services.ec2.images.mappings import by_name, new_device
from pileus.services.ec2.service import ec2
from pileus.services.ec2.snapshots.creation import check_description
from pileus.store import ClaimTaken

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import RegisterImageRequestTypeDef

_NAME = re.compile(r"[A-Za-z0-9()\[\] ./\-'@_]{3,128}")
_ARCHITECTURES = frozenset({"i386", "x86_64", "arm64", "x86_64_mac", "arm64_mac"})
_BOOT_MODES = frozenset({"legacy-bios", "uefi", "uefi-preferred"})
_NOT_YET = ("ImageLocation", "BillingProducts", "KernelId", "RamdiskId")
DEFAULT_USER = "ec2-user"
"""The login of images of which nothing is known."""


class MalformedName(ServiceError):
    """An image name that EC2 does not take."""

    code = "InvalidAMIName.Malformed"


def claim_name(context: Context, name: str, image_id: str) -> None:
    """Takes an image's name, which no other image of the account in the region has.

    Raises:
        MalformedName. Duplicate: another image has it.
    """
    if not _NAME.fullmatch(name):
        raise MalformedName(
            "AMI names must be between 3 and 128 characters long, and may contain letters, numbers, parentheses, square "
            "brackets, spaces, periods, slashes, dashes, single quotes, at-signs, and underscores"
        )
    try:
        context.tx.claim(image_name_scope(context.account, context.region), name, image_id)
    except ClaimTaken as taken:
        raise Duplicate(
            f"AMI name {name} is already in use by AMI {taken.holder}", code="InvalidAMIName.Duplicate"
        ) from taken


def _choice(params: Mapping[str, Any], name: str, allowed: frozenset[str], default: str) -> str:
    value = params.get(name, default)
    if value not in allowed:
        raise InvalidParameterValue(
            f"Value ({value}) for parameter {name[0].lower() + name[1:]} is invalid. "
            f"Expecting one of {', '.join(sorted(allowed))}."
        )
    return value


@ec2.writes("RegisterImage", resources=("image:*", "snapshot:*"), taggable=("image",))
def register_image(context: Context, params: "RegisterImageRequestTypeDef") -> dict[str, Any]:
    """An image of a snapshot of a root volume, and of more. It boots by the firmware, unless its root volume comes from
    one of the images that this cloud builds: then it boots with that image's kernel.
    """
    for name in _NOT_YET:
        if params.get(name):
            raise Unsupported(f"The parameter {name} is not available in this cloud yet.")
    if params.get("VirtualizationType", "hvm") != "hvm":
        raise Unsupported("Instances here are of the virtualization type hvm.")
    architecture = _choice(params, "Architecture", _ARCHITECTURES, "i386")
    boot_mode = _choice(params, "BootMode", _BOOT_MODES, "legacy-bios")
    mappings = params.get("BlockDeviceMappings", ())
    root_name = params.get("RootDeviceName") or next((one.get("DeviceName") for one in mappings), None)
    if not root_name:
        raise InvalidBlockDeviceMapping("No root snapshot specified in device mapping.")
    named = by_name(mappings, root_name)
    devices = [new_device(context, name, mapping) for name, mapping in named.items()]
    root = next((one for one in devices if one and one.device_name == root_name), None)
    snapshot = context.view.get(Snapshot, root.snapshot_id) if root and root.snapshot_id else None
    if root is None or snapshot is None:
        raise InvalidBlockDeviceMapping("No root snapshot specified in device mapping.")
    id_ = new_id("ami")
    claim_name(context, params["Name"], id_)
    context.tx.put(
        Image(
            id=id_,
            account=context.account,
            region=context.region,
            tags=tags_for(params, "image"),
            name=params["Name"],
            description=check_description(params.get("Description")),
            created=context.now,
            family="",
            user=DEFAULT_USER,
            snapshot_id=snapshot.id,
            size=root.size,
            content=snapshot.content,
            boot_content=snapshot.boot_content,
            root=root,
            block_devices=tuple(one for one in devices if one and one is not root),
            architecture=architecture,
            root_device_name=root_name,
            boot_mode=boot_mode,
            ena_support=params.get("EnaSupport", False),
            sriov_net_support=params.get("SriovNetSupport"),
            tpm_support=_only(params, "TpmSupport"),
            imds_support=_only(params, "ImdsSupport"),
            uefi_data=params.get("UefiData"),
        )
    )
    return {"ImageId": id_}


def _only(params: Mapping[str, Any], name: str) -> str | None:
    """A parameter with one possible value."""
    return _choice(params, name, frozenset({"v2.0"}), "v2.0") if params.get(name) else None
