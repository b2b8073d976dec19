"""The settings of allowed images."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from msgspec.structs import replace

from pileus.operations.context import Context
from pileus.records import Sharing
from pileus.services.ec2.errors import InvalidParameterValue, LimitExceeded, Unsupported
from pileus.services.ec2.service import ec2
from pileus.services.ec2.sharing import is_account, sharing_of

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import (
        EnableAllowedImagesSettingsRequestTypeDef,
        ReplaceImageCriteriaInAllowedImagesSettingsRequestTypeDef,
    )

_MAX_CRITERIA = 10
_ALIASES = frozenset({"amazon", "aws-marketplace", "aws-backup-vault", "none"})
_NOT_YET = ("ImageWatermarks", "ScanResultCondition")


def _mine(context: Context) -> Sharing:
    return sharing_of(context.view, context.account, context.region)


@ec2.reads("GetAllowedImagesSettings")
def get_allowed_images_settings(context: Context, _params: Mapping[str, Any]) -> dict[str, Any]:
    """Whether only some images may be used, and which."""
    mine = _mine(context)
    return {"State": mine.allowed_images, "ImageCriteria": list(mine.criteria), "ManagedBy": "account"}


@ec2.writes("EnableAllowedImagesSettings")
def enable_allowed_images_settings(
    context: Context, params: "EnableAllowedImagesSettingsRequestTypeDef"
) -> dict[str, Any]:
    """From now on images that match no criterion can't be found or launched; in audit mode they are only told apart."""
    state = params["AllowedImagesSettingsState"]
    if state not in {"enabled", "audit-mode"}:
        raise InvalidParameterValue(f"Value ({state}) for parameter allowedImagesSettingsState is invalid.")
    context.tx.put(replace(_mine(context), allowed_images=state))
    return {"AllowedImagesSettingsState": state}


@ec2.writes("DisableAllowedImagesSettings")
def disable_allowed_images_settings(context: Context, _params: Mapping[str, Any]) -> dict[str, Any]:
    """All images may be used. The criteria stay."""
    context.tx.put(replace(_mine(context), allowed_images="disabled"))
    return {"AllowedImagesSettingsState": "disabled"}


@ec2.writes("ReplaceImageCriteriaInAllowedImagesSettings")
def replace_image_criteria_in_allowed_images_settings(
    context: Context, params: "ReplaceImageCriteriaInAllowedImagesSettingsRequestTypeDef"
) -> dict[str, Any]:
    """Says anew which images are allowed."""
    criteria = cast("list[dict[str, Any]]", params.get("ImageCriteria", []))
    if len(criteria) > _MAX_CRITERIA:
        raise LimitExceeded(f"At most {_MAX_CRITERIA} image criteria are allowed.", code="ImageCriteriaLimitExceeded")
    for criterion in criteria:
        _check(criterion)
    context.tx.put(replace(_mine(context), criteria=tuple(criteria)))
    return {"ReturnValue": True}


def _check(criterion: Mapping[str, Any]) -> None:
    for name in _NOT_YET:
        if criterion.get(name):
            raise Unsupported(f"The parameter {name} is not available in this cloud yet.")
    for provider in criterion.get("ImageProviders", ()):
        if provider not in _ALIASES and not is_account(provider):
            raise InvalidParameterValue(f"Value ({provider}) for parameter imageProvider is invalid.")
