"""What can go wrong in the store. Callers of ``pileus.store`` catch these; no SQL error leaves the package unnamed."""


class StoreError(Exception):
    """The base of all of them."""


class Conflict(StoreError):
    """A record was put or deleted over another version than the current one. ``found`` is 0 where there is none."""

    def __init__(self, kind: str, record_id: str, expected: int, found: int) -> None:
        super().__init__(f"{kind} {record_id}: expected version {expected}, found {found}")
        self.kind = kind
        self.record_id = record_id
        self.expected = expected
        self.found = found


class ClaimTaken(StoreError):
    """``key`` in ``scope`` already belongs to ``holder``."""

    def __init__(self, scope: str, key: str, holder: str) -> None:
        super().__init__(f"{key} in {scope} is held by {holder}")
        self.scope = scope
        self.key = key
        self.holder = holder


class LeaseLost(StoreError):
    """The lease has been released or given to another holder since; its token is no longer the current one."""

    def __init__(self, name: str, token: int) -> None:
        super().__init__(f"lease {name}: token {token} is no longer current")
        self.name = name
        self.token = token


class LogTrimmed(StoreError):
    """The change log no longer (or, after a restore, not yet) reaches ``since``: start over from a view."""

    def __init__(self, since: int) -> None:
        super().__init__(f"the change log does not reach back to {since}")
        self.since = since


class StoreBusy(StoreError):
    """The right to write could not be had within the bounded attempts. Nothing was written."""


class StoreUnavailable(StoreError):
    """The database can't be reached, or can't read or write just now. Nothing was written."""


class OutcomeUnknown(StoreError):
    """The database went away while it committed: the transaction may or may not have happened. Read again."""


class SchemaTooNew(StoreError):
    """The database was written by a newer version of Pileus."""


class UnknownKind(StoreError):
    """A record type that was not named to ``open_store``."""


class UnknownIndex(StoreError):
    """A list was narrowed by an index that the record type does not declare."""


class StoreClosed(StoreError):
    """The store, or the transaction, is over."""
