"""The store: records in SQL, read from memory, written in serial transactions, with claims, leases and a change log.

Start reading at ``interface.py`` (what callers see) and ``store.py`` (how it hangs together). Used by everything above;
opened by ``pileus.cmd``.
"""

from pileus.store.errors import (
    ClaimTaken,
    Conflict,
    LeaseLost,
    LogTrimmed,
    OutcomeUnknown,
    SchemaTooNew,
    StoreBusy,
    StoreClosed,
    StoreError,
    StoreUnavailable,
    UnknownIndex,
    UnknownKind,
)
from pileus.store.interface import Change, Lease, Transaction, View
from pileus.store.store import Store, open_store

__all__ = [
    "Change",
    "ClaimTaken",
    "Conflict",
    "Lease",
    "LeaseLost",
    "LogTrimmed",
    "OutcomeUnknown",
    "SchemaTooNew",
    "Store",
    "StoreBusy",
    "StoreClosed",
    "StoreError",
    "StoreUnavailable",
    "Transaction",
    "UnknownIndex",
    "UnknownKind",
    "View",
    "open_store",
]
