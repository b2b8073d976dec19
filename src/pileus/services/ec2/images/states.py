"""Turning images off and on, deprecating them, and protecting them against being deregistered."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from pileus.operations.context import Context
from pileus.services.ec2.errors import InvalidParameterValue
from pileus.services.ec2.images.listing import ImageUnavailable, own_image
from pileus.services.ec2.service import ec2

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import (
        EnableImageDeprecationRequestTypeDef,
        EnableImageDeregistrationProtectionRequestTypeDef,
    )

_COOLDOWN = timedelta(hours=24)
_LONGEST, _LONGEST_PUBLIC = timedelta(days=3653), timedelta(days=731)
"""How far in the future a deprecation may be: ten years, for public images two."""


@ec2.writes("DisableImage", resources=("image:ImageId",))
def disable_image(context: Context, params: Mapping[str, Any]) -> dict[str, Any]:
    """Nobody can launch the image any more, and it is shared with nobody any more."""
    image = own_image(context, params["ImageId"])
    if image.state not in {"available", "failed", "disabled"}:
        raise ImageUnavailable(f"The AMI ID '{image.id}' is {image.state} and can't be disabled.")
    context.tx.put(
        replace(image, state="disabled", public=False, launch_accounts=(), launch_organizations=(), launch_units=())
    )
    return {"Return": True}


@ec2.writes("EnableImage", resources=("image:ImageId",))
def enable_image(context: Context, params: Mapping[str, Any]) -> dict[str, Any]:
    """Makes a disabled image available to its owner again."""
    image = own_image(context, params["ImageId"])
    if image.state not in {"available", "disabled"}:
        raise ImageUnavailable(f"The AMI ID '{image.id}' is {image.state} and can't be enabled.")
    if image.state == "disabled":
        context.tx.put(replace(image, state="failed" if image.state_reason else "available"))
    return {"Return": True}


@ec2.writes("EnableImageDeprecation", resources=("image:ImageId",))
def enable_image_deprecation(context: Context, params: "EnableImageDeprecationRequestTypeDef") -> dict[str, Any]:
    """Says from when on the image is deprecated, to the minute."""
    image = own_image(context, params["ImageId"])
    at = params["DeprecateAt"]
    if not isinstance(at, datetime):
        raise InvalidParameterValue(f"Value ({at}) for parameter deprecateAt is invalid. It must be a date and time.")
    at = at.astimezone(UTC)
    if at <= context.now:
        raise InvalidParameterValue("The deprecation date must be in the future (deprecateAt).")
    if at > context.now + (_LONGEST_PUBLIC if image.public else _LONGEST):
        raise InvalidParameterValue("The deprecation date is too far in the future (deprecateAt).")
    # EC2 rounds seconds to the nearest minute.
    rounded = (at + timedelta(seconds=30)).replace(second=0, microsecond=0)
    context.tx.put(replace(image, deprecated=rounded))
    return {"Return": True}


@ec2.writes("DisableImageDeprecation", resources=("image:ImageId",))
def disable_image_deprecation(context: Context, params: Mapping[str, Any]) -> dict[str, Any]:
    """The image is not, and will not be, deprecated."""
    context.tx.put(replace(own_image(context, params["ImageId"]), deprecated=None))
    return {"Return": True}


@ec2.writes("EnableImageDeregistrationProtection", resources=("image:ImageId",))
def enable_image_deregistration_protection(
    context: Context, params: "EnableImageDeregistrationProtectionRequestTypeDef"
) -> dict[str, Any]:
    """The image can't be deregistered, on demand for another day after the protection is taken away."""
    image = own_image(context, params["ImageId"])
    protection = "enabled-with-cooldown" if params.get("WithCooldown") else "enabled"
    context.tx.put(replace(image, protection=protection, cooling_until=None))
    return {"Return": "true"}


@ec2.writes("DisableImageDeregistrationProtection", resources=("image:ImageId",))
def disable_image_deregistration_protection(context: Context, params: Mapping[str, Any]) -> dict[str, Any]:
    """The image can be deregistered, at once or after its cooldown."""
    image = own_image(context, params["ImageId"])
    until = context.now + _COOLDOWN if image.protection == "enabled-with-cooldown" else image.cooling_until
    context.tx.put(replace(image, protection="disabled", cooling_until=until))
    return {"Return": "true"}
