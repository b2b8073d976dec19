"""Enabling, disabling and deleting keys."""

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from pileus.operations.context import Context
from pileus.operations.keys import KeyStateInvalid
from pileus.records import KmsKey
from pileus.services.kms.access import key_to_change
from pileus.services.kms.service import kms

if TYPE_CHECKING:
    from types_boto3_kms.type_defs import (
        CancelKeyDeletionRequestTypeDef,
        DisableKeyRequestTypeDef,
        EnableKeyRequestTypeDef,
        ScheduleKeyDeletionRequestTypeDef,
    )

DEFAULT_WINDOW = 30
"""Days for which a key waits for its deletion (7 to 30 may be asked for; the model bounds them)."""

_LEAST_WINDOW = 7


@kms.writes("EnableKey")
def enable_key(context: Context, params: "EnableKeyRequestTypeDef") -> dict[str, Any]:
    """The key can be used (again)."""
    context.tx.put(replace(_with_material(context, params["KeyId"]), state="Enabled"))
    return {}


@kms.writes("DisableKey")
def disable_key(context: Context, params: "DisableKeyRequestTypeDef") -> dict[str, Any]:
    """The key can't be used until it is enabled."""
    context.tx.put(replace(_with_material(context, params["KeyId"]), state="Disabled"))
    return {}


def _with_material(context: Context, name: str) -> KmsKey:
    key = key_to_change(context, name)
    if key.state == "PendingImport":
        raise KeyStateInvalid(f"{key.arn} is pending import.")
    return key


@kms.writes("ScheduleKeyDeletion")
def schedule_key_deletion(context: Context, params: "ScheduleKeyDeletionRequestTypeDef") -> dict[str, Any]:
    """The key can't be used any more, and is deleted after the days that are asked for."""
    key = key_to_change(context, params["KeyId"])
    days = max(params.get("PendingWindowInDays") or DEFAULT_WINDOW, _LEAST_WINDOW)
    key = context.tx.put(
        replace(key, state="PendingDeletion", deletion=context.now + timedelta(days=days), window=days)
    )
    return {
        "KeyId": key.arn,
        "DeletionDate": key.deletion,
        "KeyState": key.state,
        "PendingWindowInDays": days,
    }


@kms.writes("CancelKeyDeletion")
def cancel_key_deletion(context: Context, params: "CancelKeyDeletionRequestTypeDef") -> dict[str, Any]:
    """The key stays, disabled. Raises KeyStateInvalid when it was not to be deleted."""
    key = key_to_change(context, params["KeyId"], pending=True)
    if key.state != "PendingDeletion":
        raise KeyStateInvalid(f"{key.arn} is not pending deletion.")
    empty = not key.materials or any(material.sealed is None for material in key.materials)
    context.tx.put(replace(key, state="PendingImport" if empty else "Disabled", deletion=None, window=None))
    return {"KeyId": key.arn}
