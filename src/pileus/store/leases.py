"""Leases: who may do something now, when only one process at a time should. Plain transactions over ``LeaseState``."""

from datetime import datetime, timedelta

from pileus.store.errors import LeaseLost
from pileus.store.interface import Lease, Transaction
from pileus.store.internal import LeaseState


def acquire(tx: Transaction, name: str, holder: str, expires: datetime, now: datetime) -> Lease | None:
    """Takes the lease when it is free, expired or the same holder's; a new token in each case. None: it is held."""
    state = tx.get(LeaseState, name)
    if state is None:
        state = LeaseState(id=name, account="", region="", holder=None, token=0, expires=now)
    elif state.holder not in (None, holder) and state.expires > now:
        return None
    return _grant(tx, state, holder, state.token + 1, expires)


def renew(tx: Transaction, lease: Lease, expires: datetime) -> Lease:
    """Extends a lease that nobody else has taken since, expired or not. Raises LeaseLost."""
    tx.fence(lease)
    state = tx.get(LeaseState, lease.name)
    assert state is not None
    return _grant(tx, state, lease.holder, lease.token, expires)


def release(tx: Transaction, lease: Lease) -> None:
    """Gives a lease back; one that has been lost is left alone."""
    try:
        tx.fence(lease)
    except LeaseLost:
        return
    state = tx.get(LeaseState, lease.name)
    assert state is not None
    _grant(tx, state, None, lease.token, state.expires)


def expiry(now: datetime, ttl: float) -> datetime:
    """``ttl`` seconds from now."""
    return now + timedelta(seconds=ttl)


def _grant(tx: Transaction, state: LeaseState, holder: str | None, token: int, expires: datetime) -> Lease:
    # The version is the store's; everything else of the state is replaced.
    tx.put(
        LeaseState(
            id=state.id, account="", region="", version=state.version, holder=holder, token=token, expires=expires
        )
    )
    return Lease(name=state.id, holder=holder or "", token=token, expires=expires)
