"""Attributes of images: Describe-, Modify- and ResetImageAttribute."""

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

from msgspec.structs import replace

from pileus.base.errors import ServiceError
from pileus.operations.context import Context
from pileus.records import Image, Snapshot
from pileus.services.ec2.attributes import attribute
from pileus.services.ec2.errors import (
    InvalidParameterCombination,
    InvalidParameterValue,
    MissingParameter,
    OperationNotPermitted,
    Unsupported,
)
from pileus.services.ec2.images.listing import ImageUnavailable, draw_devices, own_image
from pileus.services.ec2.service import ec2
from pileus.services.ec2.sharing import changed, is_account, sharing_of, under_default_key
from pileus.services.ec2.snapshots.creation import check_description
from pileus.services.ec2.times import iso

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import (
        DescribeImageAttributeRequestTypeDef,
        ModifyImageAttributeRequestTypeDef,
        ResetImageAttributeRequestTypeDef,
    )

_ORGANIZATION = re.compile(r"arn:aws:organizations::[0-9]{12}:organization/o-[a-z0-9]{10,32}")
_UNIT = re.compile(r"arn:aws:organizations::[0-9]{12}:ou/o-[a-z0-9]{10,32}/ou-[0-9a-z]{4,32}-[0-9a-z]{8,32}")
_MEMBERS = ("Group", "UserId", "OrganizationArn", "OrganizationalUnitArn")
_LISTS = {
    "UserGroups": "Group",
    "UserIds": "UserId",
    "OrganizationArns": "OrganizationArn",
    "OrganizationalUnitArns": "OrganizationalUnitArn",
}
"""The call's older form: lists, each of one kind of permission."""

Permissions = Mapping[str, list[str]]
"""Values by the member of a LaunchPermission."""


class InvalidItem(ServiceError):
    """A permission for what is no account, group, organization or organizational unit."""

    code = "InvalidAMIAttributeItemValue"


@ec2.reads("DescribeImageAttribute", resources=("image:ImageId",))
def describe_image_attribute(context: Context, params: "DescribeImageAttributeRequestTypeDef") -> dict[str, Any]:
    """One attribute of an image, for its owner."""
    image = own_image(context, params["ImageId"])
    member, value = attribute(_attributes(context, image), params["Attribute"])
    return {"ImageId": image.id, member: value}


def _attributes(context: Context, image: Image) -> Mapping[str, tuple[str, Any]]:
    """By attribute name: the member of the answer, and its value. What an image does not have is an empty structure."""
    launched = {"Value": iso(image.last_launched)} if image.last_launched else {}
    return {
        "blockDeviceMapping": ("BlockDeviceMappings", draw_devices(context, image)),
        "bootMode": ("BootMode", {"Value": image.boot_mode}),
        "deregistrationProtection": ("DeregistrationProtection", {"Value": image.protection}),
        "description": ("Description", {"Value": image.description}),
        "imdsSupport": ("ImdsSupport", _value(image.imds_support)),
        "kernel": ("KernelId", {}),
        "lastLaunchedTime": ("LastLaunchedTime", launched),
        "launchPermission": ("LaunchPermissions", _draw_permissions(image)),
        "productCodes": ("ProductCodes", []),
        "ramdisk": ("RamdiskId", {}),
        "sriovNetSupport": ("SriovNetSupport", _value(image.sriov_net_support)),
        "tpmSupport": ("TpmSupport", _value(image.tpm_support)),
        "uefiData": ("UefiData", _value(image.uefi_data)),
    }


def _value(text: str | None) -> dict[str, str]:
    return {} if text is None else {"Value": text}


def _draw_permissions(image: Image) -> list[dict[str, str]]:
    everybody = [{"Group": "all"}] if image.public else []
    return [
        *everybody,
        *({"UserId": one} for one in image.launch_accounts),
        *({"OrganizationArn": one} for one in image.launch_organizations),
        *({"OrganizationalUnitArn": one} for one in image.launch_units),
    ]


@ec2.writes("ModifyImageAttribute", resources=("image:ImageId",))
def modify_image_attribute(context: Context, params: "ModifyImageAttributeRequestTypeDef") -> dict[str, Any]:
    """Changes an image's description, IMDS support or launch permissions; one of them a call."""
    image = own_image(context, params["ImageId"])
    name = _named(params)
    match name:
        case "description":
            text = params.get("Description", {}).get("Value", params.get("Value"))
            after = replace(image, description=check_description(text))
        case "imdsSupport":
            after = replace(image, imds_support=_imds_support(params))
        case "launchPermission":
            after = _shared(context, image, params)
        case "productCodes":
            raise Unsupported("Product codes are not available in this cloud.")
        case _:
            raise InvalidParameterValue(f"Value ({name}) for parameter attribute is invalid. Unknown attribute.")
    if after != image:
        context.tx.put(after)
    return {}


def _named(params: "ModifyImageAttributeRequestTypeDef") -> str:
    """The attribute that a call is about; its forms are several."""
    found: dict[str, None] = {}
    if params.get("Attribute"):
        found[params.get("Attribute", "")] = None
    if "Description" in params:
        found["description"] = None
    if "ImdsSupport" in params:
        found["imdsSupport"] = None
    if params.get("ProductCodes"):
        found["productCodes"] = None
    if params.get("LaunchPermission") or any(params.get(name) for name in _LISTS):
        found["launchPermission"] = None
    if len(found) > 1:
        raise InvalidParameterCombination("Fields for multiple attribute types specified: " + ", ".join(found))
    if not found:
        raise MissingParameter("attribute")
    return next(iter(found))


def _imds_support(params: "ModifyImageAttributeRequestTypeDef") -> str:
    value = params.get("ImdsSupport", {}).get("Value", params.get("Value"))
    if value != "v2.0":
        raise InvalidParameterValue(f"Value ({value}) for parameter imdsSupport is invalid. Expecting 'v2.0'.")
    return value


def _shared(context: Context, image: Image, params: "ModifyImageAttributeRequestTypeDef") -> Image:
    """The image with the permissions that the call gives and takes."""
    add, remove = _asked(params)
    for permissions in (add, remove):
        for member, values in permissions.items():
            for value in values:
                _check(member, value)
    if any(add.values()):
        if image.state != "available":
            raise ImageUnavailable(f"The AMI ID '{image.id}' is {image.state} and can't be shared.")
        _check_shareable(context, image, everybody="all" in add["Group"])
    everybody = (image.public or "all" in add["Group"]) and "all" not in remove["Group"]
    units = "OrganizationalUnitArn"
    return replace(
        image,
        public=everybody,
        launch_accounts=changed(image.launch_accounts, add["UserId"], remove["UserId"]),
        launch_organizations=changed(image.launch_organizations, add["OrganizationArn"], remove["OrganizationArn"]),
        launch_units=changed(image.launch_units, add[units], remove[units]),
    )


def _asked(params: "ModifyImageAttributeRequestTypeDef") -> tuple[Permissions, Permissions]:
    """What is given and what is taken, in both forms of the call."""
    permission = params.get("LaunchPermission", {})
    add, remove = _by_member(permission.get("Add", ())), _by_member(permission.get("Remove", ()))
    lists = {member: cast("list[str]", params.get(name, [])) for name, member in _LISTS.items()}
    if any(lists.values()):
        operation: str | None = params.get("OperationType")
        if operation is None:
            raise MissingParameter("operationType")
        if operation not in {"add", "remove"}:
            raise InvalidParameterValue(f"Value ({operation}) for parameter operationType is invalid.")
        into = add if operation == "add" else remove
        for member, values in lists.items():
            into[member].extend(values)
    if not any(add.values()) and not any(remove.values()):
        raise MissingParameter("launchPermission")
    return add, remove


def _by_member(permissions: Iterable[Mapping[str, Any]]) -> Permissions:
    found: dict[str, list[str]] = {member: [] for member in _MEMBERS}
    for one in permissions:
        for member in _MEMBERS:
            if one.get(member):
                found[member].append(one[member])
    return found


def _check(member: str, value: str) -> None:
    """Raises InvalidItem for what is not of the form of its member."""
    fits = {
        "Group": value == "all",
        "UserId": is_account(value),
        "OrganizationArn": _ORGANIZATION.fullmatch(value) is not None,
        "OrganizationalUnitArn": _UNIT.fullmatch(value) is not None,
    }[member]
    if not fits:
        word = member[0].lower() + member[1:]
        raise InvalidItem(f'Invalid attribute item value "{value}" for {word} item type.')


def _check_shareable(context: Context, image: Image, *, everybody: bool) -> None:
    for id_ in image.snapshot_ids:
        snapshot = context.view.get(Snapshot, id_)
        if snapshot is None or not snapshot.encrypted:
            continue
        if under_default_key(context.view, snapshot.data_key_id):
            raise OperationNotPermitted(
                "AMIs with snapshots that are encrypted with the EBS default key can't be shared"
            )
        if everybody:
            raise OperationNotPermitted("AMIs with encrypted snapshots can't be shared publicly")
    if everybody and sharing_of(context.view, context.account, context.region).images != "unblocked":
        raise OperationNotPermitted(
            "You can't publicly share this image, because block public access for AMIs is enabled for this account."
        )


@ec2.writes("ResetImageAttribute", resources=("image:ImageId",))
def reset_image_attribute(context: Context, params: "ResetImageAttributeRequestTypeDef") -> dict[str, Any]:
    """Makes an image its owner's alone again."""
    if params["Attribute"] != "launchPermission":
        raise InvalidParameterValue(f"Value ({params['Attribute']}) for parameter attribute is invalid.")
    image = own_image(context, params["ImageId"])
    context.tx.put(replace(image, public=False, launch_accounts=(), launch_organizations=(), launch_units=()))
    return {}
