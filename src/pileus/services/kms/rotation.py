"""Rotation of keys: fresh material under the same id, while what the old one encrypted still opens."""

import secrets
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from pileus.operations.context import Context
from pileus.operations.keys import DATA_KEY, check_state, new_material
from pileus.records import KmsKey
from pileus.records.kms_key import KeyMaterial
from pileus.services.kms.access import answer_page, key_to_change, key_to_see
from pileus.services.kms.errors import LimitExceededException, UnsupportedOperationException
from pileus.services.kms.service import kms

if TYPE_CHECKING:
    from types_boto3_kms.type_defs import (
        DisableKeyRotationRequestTypeDef,
        EnableKeyRotationRequestTypeDef,
        GetKeyRotationStatusRequestTypeDef,
        RotateKeyOnDemandRequestTypeDef,
    )

DEFAULT_PERIOD = 365
"""Days between rotations (90 to 2560 may be asked for; the model bounds them)."""

_ON_DEMAND = 25


@kms.writes("EnableKeyRotation")
def enable_key_rotation(context: Context, params: "EnableKeyRotationRequestTypeDef") -> dict[str, Any]:
    """From now on the key is rotated every so many days."""
    key = _rotatable(context, params["KeyId"])
    days = params.get("RotationPeriodInDays") or key.rotation_period or DEFAULT_PERIOD
    context.tx.put(replace(key, rotation_period=days, rotation_due=context.now + timedelta(days=days)))
    return {}


@kms.writes("DisableKeyRotation")
def disable_key_rotation(context: Context, params: "DisableKeyRotationRequestTypeDef") -> dict[str, Any]:
    """The key keeps its material."""
    key = _rotatable(context, params["KeyId"])
    context.tx.put(replace(key, rotation_period=None, rotation_due=None))
    return {}


@kms.writes("RotateKeyOnDemand")
def rotate_key_on_demand(context: Context, params: "RotateKeyOnDemandRequestTypeDef") -> dict[str, Any]:
    """Rotates the key now; when it is due by itself does not change. Raises LimitExceededException."""
    key = _rotatable(context, params["KeyId"])
    if sum(material.rotation == "ON_DEMAND" for material in key.materials) >= _ON_DEMAND:
        raise LimitExceededException(f"A key can be rotated {_ON_DEMAND} times on demand.")
    fresh = new_material(context.env.sealer, key.id, secrets.token_bytes(DATA_KEY), context.now)
    context.tx.put(replace(key, materials=(*key.materials, replace(fresh, rotation="ON_DEMAND"))))
    return {"KeyId": key.arn}


@kms.reads("GetKeyRotationStatus")
def get_key_rotation_status(context: Context, params: "GetKeyRotationStatusRequestTypeDef") -> dict[str, Any]:
    """Whether the key is rotated by itself, and when next."""
    key = key_to_see(context, params["KeyId"])
    enabled = key.rotation_period is not None
    told: dict[str, Any] = {"KeyId": key.arn, "KeyRotationEnabled": enabled}
    if enabled:
        told |= {"RotationPeriodInDays": key.rotation_period}
        if key.state == "Enabled":
            told |= {"NextRotationDate": key.rotation_due}
    return told


@kms.reads("ListKeyRotations")
def list_key_rotations(context: Context, params: Mapping[str, Any]) -> dict[str, Any]:
    """The rotations that were, and with IncludeKeyMaterial ALL_KEY_MATERIAL also the first material."""
    key = key_to_see(context, params["KeyId"])
    everything = params.get("IncludeKeyMaterial") == "ALL_KEY_MATERIAL"
    numbered = [
        (f"{number:08}", material)
        for number, material in enumerate(key.materials)
        if everything or material.rotation is not None
    ]

    def draw(item: tuple[str, KeyMaterial]) -> dict[str, Any]:
        material = item[1]
        drawn: dict[str, Any] = {
            "KeyId": key.arn,
            "KeyMaterialId": material.id,
            "KeyMaterialState": "CURRENT" if material is key.materials[-1] else "NON_CURRENT",
        }
        if material.rotation is not None:
            drawn |= {"RotationDate": material.made, "RotationType": material.rotation}
        return drawn

    return answer_page(context, params, "Rotations", numbered, lambda item: item[0], draw, most=1000, default=100)


def _rotatable(context: Context, name: str) -> KmsKey:
    key = key_to_change(context, name)
    check_state(key)
    if not key.symmetric or key.origin != "AWS_KMS":
        raise UnsupportedOperationException(f"{key.arn} can't be rotated.")
    return key
