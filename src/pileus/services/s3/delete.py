"""DeleteObject and DeleteObjects."""

from typing import Any

from pileus.base.errors import ServiceError
from pileus.engines.objects.errors import NoSuchKey, ObjectsError
from pileus.engines.objects.model import Conditions, Delete, Deleted
from pileus.operations.context import Context
from pileus.services.s3 import attributes
from pileus.services.s3.conditions import unquoted
from pileus.services.s3.errors import malformed, not_implemented, told, translated
from pileus.services.s3.gate import Gate, enter
from pileus.services.s3.service import Params, s3

_MOST = 1000


@s3.waits("DeleteObject", resources=("object:Key",))
async def delete_object(context: Context, params: Params) -> dict[str, Any]:
    """Deletes an object or one of its versions, or covers it with a delete marker."""
    attributes.check_key(params["Key"])
    gate = await enter(context, params)
    _permit(gate, params["Key"], params.get("VersionId"))
    conditions = _conditions(params.get("IfMatch"), params.get("IfMatchLastModifiedTime"), params.get("IfMatchSize"))
    wanted = Delete(key=params["Key"], version_id=params.get("VersionId"), conditions=conditions)
    with told():
        (done,) = await gate.objects.delete(
            gate.bucket.name, [wanted], owner=gate.bucket.account, bypass=_bypass(gate, params, params["Key"])
        )
        if isinstance(done, NoSuchKey) and conditions.if_match is None:
            return {}  # what is not there has every size and every date
        if not isinstance(done, Deleted):
            raise done
    return {"DeleteMarker": done.delete_marker or None, "VersionId": done.version_id}


@s3.waits("DeleteObjects", resources=("object:Delete.Objects.Key",))
async def delete_objects(context: Context, params: Params) -> dict[str, Any]:
    """Deletes up to a thousand objects; each has an outcome of its own."""
    gate = await enter(context, params)
    document = params.get("Delete")
    named: list[Params] = document.get("Objects", []) if document else []
    if not document or not named or len(named) > _MOST or not all(one.get("Key") for one in named):
        raise malformed()
    errors: list[dict[str, Any]] = []
    wanted: list[Delete] = []
    for one in named:
        try:
            attributes.check_key(one["Key"])
            _permit(gate, one["Key"], one.get("VersionId"))
        except ServiceError as error:
            errors.append(_error(one["Key"], one.get("VersionId"), error))
            continue
        conditions = _conditions(one.get("ETag"), one.get("LastModifiedTime"), one.get("Size"))
        wanted.append(Delete(key=one["Key"], version_id=one.get("VersionId"), conditions=conditions))
    with told():
        outcomes = await gate.objects.delete(
            gate.bucket.name, wanted, owner=gate.bucket.account, bypass=_bypass(gate, params, "")
        )
    deleted: list[dict[str, Any]] = []
    for one, outcome in zip(wanted, outcomes, strict=True):
        if isinstance(outcome, NoSuchKey) and one.conditions.if_match is None:
            deleted.append({"Key": one.key})
        elif isinstance(outcome, ObjectsError):
            errors.append(_error(one.key, one.version_id, translated(outcome)))
        else:
            deleted.append(_deleted(one, outcome))
    return {"Deleted": [] if document.get("Quiet") else deleted, "Errors": errors}


def _deleted(wanted: Delete, outcome: Deleted) -> dict[str, Any]:
    if wanted.version_id is None:
        marker = outcome.version_id if outcome.delete_marker else None
        return {
            "Key": outcome.key,
            "DeleteMarker": outcome.delete_marker or None,
            "DeleteMarkerVersionId": marker,
        }
    told_ = {"Key": outcome.key, "VersionId": wanted.version_id}
    if outcome.delete_marker:
        told_ |= {"DeleteMarker": True, "DeleteMarkerVersionId": outcome.version_id}
    return told_


def _error(key: str, version_id: str | None, error: ServiceError) -> dict[str, Any]:
    return {"Key": key, "VersionId": version_id, "Code": error.code, "Message": error.message}


def _permit(gate: Gate, key: str, version_id: str | None) -> None:
    gate.require("s3:DeleteObject" if version_id is None else "s3:DeleteObjectVersion", "WRITE", key)


def _bypass(gate: Gate, params: Params, key: str) -> bool:
    if "MFA" in params:
        raise not_implemented("MFA Delete")
    return bool(params.get("BypassGovernanceRetention")) and gate.may("s3:BypassGovernanceRetention", key)


def _conditions(etag: str | None, modified: Any, size: Any) -> Conditions:
    return Conditions(
        if_match=unquoted(etag) if etag is not None else None,
        modified=modified,
        size=int(size) if size is not None else None,
    )
