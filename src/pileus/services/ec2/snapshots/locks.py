"""Locks, which keep snapshots from being deleted until they end.

See https://docs.aws.amazon.com/ebs/latest/userguide/snapshot-lock-concepts.html.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from msgspec.structs import replace

from pileus.operations.context import Context
from pileus.operations.listing import Listing
from pileus.records import Snapshot
from pileus.records.snapshot import SnapshotLock
from pileus.services.ec2.errors import (
    InvalidParameterCombination,
    InvalidParameterValue,
    MissingParameter,
    OperationNotPermitted,
)
from pileus.services.ec2.resources import SNAPSHOT, find_visible
from pileus.services.ec2.service import ec2
from pileus.services.ec2.snapshots.listing import own_snapshot

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import (
        DescribeLockedSnapshotsRequestTypeDef,
        LockSnapshotRequestTypeDef,
        UnlockSnapshotRequestTypeDef,
    )

LockState = Literal["compliance", "governance", "compliance-cooloff", "expired"]

_MAX_DAYS = 36500
_MAX_COOL_OFF = 72


def _start(snapshot: Snapshot, lock: SnapshotLock) -> datetime | None:
    """When a lock's time begins: with the lock, or with the snapshot's completion if that is later; None before."""
    return max(lock.created, snapshot.completed) if snapshot.completed else None


def _end(snapshot: Snapshot, lock: SnapshotLock) -> datetime | None:
    """When a lock ends; None while that depends on when the snapshot is completed."""
    if lock.until is not None:
        return lock.until
    start = _start(snapshot, lock)
    return None if start is None or lock.days is None else start + timedelta(days=lock.days)


def lock_state(snapshot: Snapshot, lock: SnapshotLock, now: datetime) -> LockState:
    """What a snapshot's lock is at a moment."""
    end = _end(snapshot, lock)
    if end is not None and end <= now:
        return "expired"
    if lock.mode == "governance":
        return "governance"
    return "compliance-cooloff" if lock.cool_until is not None and now < lock.cool_until else "compliance"


def _draw_lock(context: Context, snapshot: Snapshot) -> dict[str, Any]:
    lock = snapshot.lock
    assert lock is not None, f"{snapshot.id} is not locked"
    start, end = _start(snapshot, lock), _end(snapshot, lock)
    days = lock.days
    if days is None and end is not None:
        days = max(1, -(-int((end - (start or lock.created)).total_seconds()) // 86400))
    return {
        "SnapshotId": snapshot.id,
        "LockState": lock_state(snapshot, lock, context.now),
        "LockDuration": days,
        "CoolOffPeriod": lock.cool_off,
        "CoolOffPeriodExpiresOn": lock.cool_until,
        "LockCreatedOn": lock.created,
        "LockDurationStartTime": start,
        "LockExpiresOn": end,
    }


@ec2.writes("LockSnapshot", resources=("snapshot:SnapshotId",))
def lock_snapshot(context: Context, params: "LockSnapshotRequestTypeDef") -> dict[str, Any]:
    """Locks a snapshot, or changes its lock: anything in governance mode and while it cools off, later only a longer time."""
    snapshot = own_snapshot(context, params["SnapshotId"])
    lock = _asked(context, params)
    before = snapshot.lock
    if before is not None and lock_state(snapshot, before, context.now) == "compliance":
        lock = replace(lock, created=before.created)
        _check_longer(snapshot, before, lock, params)
    return _draw_lock(context, context.tx.put(replace(snapshot, lock=lock)))


def _asked(context: Context, params: "LockSnapshotRequestTypeDef") -> SnapshotLock:
    mode = params["LockMode"]
    days, until, cool_off = params.get("LockDuration"), params.get("ExpirationDate"), params.get("CoolOffPeriod")
    if mode not in {"compliance", "governance"}:
        raise InvalidParameterValue(f"Value ({mode}) for parameter lockMode is invalid.")
    if days is not None and until is not None:
        raise InvalidParameterCombination("The parameter lockDuration cannot be used with the parameter expirationDate")
    if days is None and until is None:
        raise MissingParameter("lockDuration or expirationDate")
    if days is not None and not 1 <= days <= _MAX_DAYS:
        raise InvalidParameterValue(
            f"Value ({days}) for parameter lockDuration is invalid. It must be between 1 and {_MAX_DAYS} days."
        )
    if isinstance(until, datetime) and until < context.now + timedelta(days=1):
        raise InvalidParameterValue("The parameter expirationDate must be at least one day in the future.")
    if cool_off is not None and mode == "governance":
        raise InvalidParameterCombination("The parameter coolOffPeriod cannot be used with the governance mode")
    if cool_off is not None and not 1 <= cool_off <= _MAX_COOL_OFF:
        raise InvalidParameterValue(
            f"Value ({cool_off}) for parameter coolOffPeriod is invalid. It must be between 1 and {_MAX_COOL_OFF} hours."
        )
    return SnapshotLock(
        mode=mode,
        created=context.now,
        days=days,
        until=until if isinstance(until, datetime) else None,
        cool_off=cool_off,
        cool_until=context.now + timedelta(hours=cool_off) if cool_off else None,
    )


def _check_longer(
    snapshot: Snapshot, before: SnapshotLock, after: SnapshotLock, params: "LockSnapshotRequestTypeDef"
) -> None:
    if params.get("CoolOffPeriod") is not None:
        raise InvalidParameterCombination("The cooling-off period of the lock has expired: it can't be given anew.")
    if after.mode != "compliance":
        raise OperationNotPermitted("A lock in compliance mode can't be changed to governance mode any more.")
    then, now = _end(snapshot, before), _end(snapshot, after)
    if then is not None and now is not None and now < then:
        raise OperationNotPermitted("A lock in compliance mode can only be extended.")


@ec2.writes("UnlockSnapshot", resources=("snapshot:SnapshotId",))
def unlock_snapshot(context: Context, params: "UnlockSnapshotRequestTypeDef") -> dict[str, Any]:
    """Takes a lock away that is in governance mode or cools off."""
    snapshot = own_snapshot(context, params["SnapshotId"])
    if snapshot.lock is None:
        raise InvalidParameterValue(f"The snapshot {snapshot.id} is not locked.")
    if lock_state(snapshot, snapshot.lock, context.now) == "compliance":
        raise OperationNotPermitted(f"The snapshot {snapshot.id} is locked in compliance mode and can't be unlocked.")
    context.tx.put(replace(snapshot, lock=None))
    return {"SnapshotId": snapshot.id}


def _find(context: Context, ids: Sequence[str]) -> list[Snapshot]:
    found = find_visible(SNAPSHOT, context, ids, lambda one: one.account == context.account)
    return [snapshot for snapshot in found if snapshot.lock is not None]


def _rows(context: Context) -> list[Snapshot]:
    mine = context.view.list(Snapshot, account=context.account, region=context.region)
    return [snapshot for snapshot in mine if snapshot.lock is not None]


_LOCKED = Listing(
    kind=Snapshot,
    member="Snapshots",
    draw=lambda context, snapshot: {"OwnerId": snapshot.account, **_draw_lock(context, snapshot)},
    ids="SnapshotIds",
    find=_find,
    rows=_rows,
    cached=False,
    filters={"lock-state": lambda context, one: lock_state(one, one.lock, context.now) if one.lock else None},
)


@ec2.reads("DescribeLockedSnapshots", resources=("snapshot:SnapshotIds",))
def describe_locked_snapshots(context: Context, params: "DescribeLockedSnapshotsRequestTypeDef") -> dict[str, Any]:
    """The caller's snapshots that are, or were, locked."""
    return _LOCKED.answer(context, params)
