"""Snapshots as their owner, those that they are shared with and everybody see them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from pileus.operations.context import Context
from pileus.operations.filters import absent, constant
from pileus.operations.listing import Listing
from pileus.operations.paging import Page
from pileus.operations.tags import tag_set
from pileus.records import Snapshot
from pileus.services.ec2.encryption import kms_key_of
from pileus.services.ec2.errors import IncorrectState, MalformedId, NotAuthorized
from pileus.services.ec2.resources import SNAPSHOT, find_visible
from pileus.services.ec2.service import ec2
from pileus.services.ec2.sharing import is_account, sharing_of
from pileus.services.ec2.times import iso

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import DescribeSnapshotsRequestTypeDef

_ALIASES = frozenset({"amazon", "aws-backup-vault", "aws-marketplace"})
_BLOCKED = "block-all-sharing"


def _visible(context: Context, snapshot: Snapshot) -> bool:
    if snapshot.binned is not None:
        return False
    if snapshot.account == context.account or context.account in snapshot.accounts:
        return True
    return snapshot.public and sharing_of(context.view, snapshot.account, snapshot.region).snapshots != _BLOCKED


def _as_seen(context: Context, snapshot: Snapshot) -> Snapshot:
    """A snapshot as the caller sees it: tags are their owner's alone."""
    return snapshot if snapshot.account == context.account or not snapshot.tags else replace(snapshot, tags={})


def _find(context: Context, ids: Sequence[str]) -> list[Snapshot]:
    found = find_visible(SNAPSHOT, context, ids, lambda snapshot: _visible(context, snapshot))
    return [_as_seen(context, snapshot) for snapshot in found]


def visible_snapshot(context: Context, snapshot_id: str) -> Snapshot:
    """A snapshot that the caller may make volumes of. Raises InvalidSnapshotID.Malformed, InvalidSnapshot.NotFound."""
    return _find(context, [snapshot_id])[0]


def usable_snapshot(context: Context, snapshot_id: str) -> Snapshot:
    """The same, completed. Raises IncorrectState, too."""
    snapshot = visible_snapshot(context, snapshot_id)
    if snapshot.state != "completed":
        raise IncorrectState(f"Snapshot is in invalid state - {snapshot.state}")
    return snapshot


def own_snapshot(context: Context, snapshot_id: str) -> Snapshot:
    """A snapshot of the caller's. Raises NotAuthorized for one that is another's and shared."""
    snapshot = visible_snapshot(context, snapshot_id)
    if snapshot.account != context.account:
        raise NotAuthorized(f"Not authorized for snapshot:{snapshot.id}")
    return snapshot


def _rows(context: Context) -> Iterable[Snapshot]:
    view, region, account = context.view, context.region, context.account
    found = {
        snapshot.id: snapshot
        for narrowed in (
            view.list(Snapshot, account=account, region=region),
            view.list(Snapshot, region=region, visibility="public"),
            view.list(Snapshot, region=region, accounts=account),
        )
        for snapshot in narrowed
        if _visible(context, snapshot)
    }
    for snapshot in found.values():
        yield _as_seen(context, snapshot)


def progress_of(snapshot: Snapshot) -> str:
    """How much of it is stored, in percent."""
    return "100%" if snapshot.state == "completed" else f"{snapshot.progress}%"


def draw_snapshot(context: Context, snapshot: Snapshot) -> dict[str, Any]:
    """A snapshot in the shape of DescribeSnapshots."""
    minutes = (snapshot.completed - snapshot.started).total_seconds() / 60 if snapshot.completed else None
    return {
        "SnapshotId": snapshot.id,
        "VolumeId": snapshot.volume_id,
        "VolumeSize": snapshot.size,
        "State": snapshot.state,
        "StateMessage": snapshot.state_message,
        "StartTime": snapshot.started,
        "CompletionTime": snapshot.completed,
        "CompletionDurationMinutes": None if minutes is None or not snapshot.transfer_type else int(minutes),
        "FullSnapshotSizeInBytes": snapshot.full_bytes if snapshot.completed else None,
        "Progress": progress_of(snapshot),
        "OwnerId": snapshot.account,
        "OwnerAlias": snapshot.owner_alias,
        "Description": snapshot.description,
        "Encrypted": snapshot.encrypted,
        "KmsKeyId": kms_key_of(context, snapshot.data_key_id),
        "DataEncryptionKeyId": snapshot.data_key_id,
        "StorageTier": "standard",
        "TransferType": snapshot.transfer_type,
        "Tags": tag_set(snapshot.tags),
    }


SNAPSHOTS = Listing(
    kind=Snapshot,
    member="Snapshots",
    draw=draw_snapshot,
    ids="SnapshotIds",
    find=_find,
    rows=_rows,
    page=Page(least=5, most=1000),
    exclusive=True,
    filters={
        "description": lambda _, snapshot: snapshot.description,
        "encrypted": lambda _, snapshot: snapshot.encrypted,
        "owner-alias": lambda _, snapshot: snapshot.owner_alias,
        "owner-id": lambda _, snapshot: snapshot.account,
        "progress": lambda _, snapshot: progress_of(snapshot),
        "restore-expiry-time": absent,
        "snapshot-id": lambda _, snapshot: snapshot.id,
        "start-time": lambda _, snapshot: iso(snapshot.started),
        "status": lambda _, snapshot: snapshot.state,
        "storage-tier": constant("standard"),
        "transfer-type": lambda _, snapshot: snapshot.transfer_type,
        "volume-id": lambda _, snapshot: snapshot.volume_id,
        "volume-size": lambda _, snapshot: snapshot.size,
    },
)


def _check_accounts(named: Iterable[str], words: Iterable[str]) -> None:
    for one in named:
        if one not in words and not is_account(one):
            raise MalformedId(f'Invalid user id: "{one}"', code="InvalidUserID.Malformed")


def _owned_by(context: Context, snapshot: Snapshot, owners: Iterable[str]) -> bool:
    for owner in owners:
        if owner in _ALIASES:
            if snapshot.owner_alias == owner:
                return True
        elif snapshot.account == (context.account if owner == "self" else owner):
            return True
    return False


def _restorable_by(context: Context, snapshot: Snapshot, users: Iterable[str]) -> bool:
    """Whether it is shared with one of ``all`` (everybody), ``self`` and account numbers, or is that account's own."""
    for user in users:
        if user == "all":
            if snapshot.public:
                return True
        else:
            account = context.account if user == "self" else user
            if account in snapshot.accounts or account == snapshot.account:
                return True
    return False


@ec2.reads("DescribeSnapshots")
def describe_snapshots(context: Context, params: "DescribeSnapshotsRequestTypeDef") -> Mapping[str, Any]:
    """The snapshots that the caller may make volumes of."""
    owners, users = params.get("OwnerIds"), params.get("RestorableByUserIds")
    _check_accounts(owners or (), {"self", *_ALIASES})
    _check_accounts(users or (), {"self", "all"})
    return SNAPSHOTS.answer(
        context,
        params,
        lambda snapshot: (
            (not owners or _owned_by(context, snapshot, owners))
            and (not users or _restorable_by(context, snapshot, users))
        ),
    )
