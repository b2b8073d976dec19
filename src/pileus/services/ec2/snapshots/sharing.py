"""Who may make volumes of a snapshot: Describe-, Modify- and ResetSnapshotAttribute."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from pileus.operations.context import Context
from pileus.records import Snapshot
from pileus.services.ec2.attributes import attribute
from pileus.services.ec2.errors import InvalidParameterValue, MalformedId, MissingParameter, OperationNotPermitted
from pileus.services.ec2.service import ec2
from pileus.services.ec2.sharing import changed, is_account, sharing_of, under_default_key
from pileus.services.ec2.snapshots.listing import own_snapshot

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import (
        DescribeSnapshotAttributeRequestTypeDef,
        ModifySnapshotAttributeRequestTypeDef,
        ResetSnapshotAttributeRequestTypeDef,
    )

_PERMISSION = "createVolumePermission"


@ec2.reads("DescribeSnapshotAttribute", resources=("snapshot:SnapshotId",))
def describe_snapshot_attribute(context: Context, params: "DescribeSnapshotAttributeRequestTypeDef") -> dict[str, Any]:
    """One attribute of a snapshot, for its owner."""
    snapshot = own_snapshot(context, params["SnapshotId"])
    everybody = [{"Group": "all"}] if snapshot.public else []
    known: Mapping[str, tuple[str, Any]] = {
        _PERMISSION: ("CreateVolumePermissions", [*everybody, *({"UserId": one} for one in snapshot.accounts)]),
        "productCodes": ("ProductCodes", []),
    }
    member, value = attribute(known, params["Attribute"])
    return {"SnapshotId": snapshot.id, member: value}


@ec2.writes("ModifySnapshotAttribute", resources=("snapshot:SnapshotId",))
def modify_snapshot_attribute(context: Context, params: "ModifySnapshotAttributeRequestTypeDef") -> dict[str, Any]:
    """Shares a snapshot with accounts or with everybody, or ends that."""
    if params.get("Attribute", _PERMISSION) != _PERMISSION:
        raise InvalidParameterValue(f"Value ({params.get('Attribute')}) for parameter attribute is invalid.")
    snapshot = own_snapshot(context, params["SnapshotId"])
    add, remove = _asked(params)
    for user in (*add, *remove):
        if user != "all" and not is_account(user):
            raise MalformedId(f'Invalid user id: "{user}"', code="InvalidUserID.Malformed")
    if add:
        _check_shareable(context, snapshot, add)
    everybody = (snapshot.public or "all" in add) and "all" not in remove
    accounts = changed(snapshot.accounts, (one for one in add if one != "all"), remove)
    if (everybody, accounts) != (snapshot.public, snapshot.accounts):
        context.tx.put(replace(snapshot, public=everybody, accounts=accounts))
    return {}


def _asked(params: "ModifySnapshotAttributeRequestTypeDef") -> tuple[list[str], list[str]]:
    """Whom the snapshot becomes shared with and whom no more: accounts, and ``all``. Both forms of the call are known."""
    permission = params.get("CreateVolumePermission", {})
    add, remove = _users(permission.get("Add", ())), _users(permission.get("Remove", ()))
    named = [*params.get("UserIds", ()), *_groups(params.get("GroupNames", ()))]
    if named:
        operation: str | None = params.get("OperationType")
        if operation is None:
            raise MissingParameter("operationType")
        if operation not in {"add", "remove"}:
            raise InvalidParameterValue(f"Value ({operation}) for parameter operationType is invalid.")
        (add if operation == "add" else remove).extend(named)
    if not add and not remove:
        raise MissingParameter(_PERMISSION)
    return add, remove


def _users(permissions: Iterable[Mapping[str, Any]]) -> list[str]:
    found: list[str] = []
    for one in permissions:
        if one.get("Group"):
            found += _groups([one["Group"]])
        if one.get("UserId"):
            found.append(one["UserId"])
    return found


def _groups(names: Iterable[str]) -> list[str]:
    for name in names:
        if name != "all":
            raise InvalidParameterValue(f"Value ({name}) for parameter group is invalid. Expecting 'all'.")
    return list(names)


def _check_shareable(context: Context, snapshot: Snapshot, users: Iterable[str]) -> None:
    if under_default_key(context.view, snapshot.data_key_id):
        raise OperationNotPermitted("Encrypted snapshots with EBS default key cannot be shared")
    if "all" not in users:
        return
    if snapshot.encrypted:
        raise OperationNotPermitted("Encrypted snapshots cannot be shared publicly")
    if sharing_of(context.view, context.account, context.region).snapshots != "unblocked":
        raise OperationNotPermitted(
            "Public sharing of snapshots is blocked in this Region by block public access for snapshots."
        )


@ec2.writes("ResetSnapshotAttribute", resources=("snapshot:SnapshotId",))
def reset_snapshot_attribute(context: Context, params: "ResetSnapshotAttributeRequestTypeDef") -> dict[str, Any]:
    """Makes a snapshot its owner's alone again."""
    if params["Attribute"] != _PERMISSION:
        raise InvalidParameterValue(f"Value ({params['Attribute']}) for parameter attribute is invalid.")
    snapshot = own_snapshot(context, params["SnapshotId"])
    if snapshot.public or snapshot.accounts:
        context.tx.put(replace(snapshot, public=False, accounts=()))
    return {}
