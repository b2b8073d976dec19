"""All records in memory, decoded once, with their indexes; and snapshots of it, which are the store's views.

A mirror only moves forward, by ``apply``. Before it replaces a record it saves the old one in every snapshot that is
still in use, so a snapshot costs nothing to take and stays what it was. ``pileus.store.transaction`` uses the same idea
the other way round: its writes are replacements that nobody else sees yet.
"""

import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any, cast

import msgspec

from pileus.base.record import Record
from pileus.store.errors import UnknownIndex, UnknownKind
from pileus.store.interface import Change, R
from pileus.store.internal import INTERNAL, Claim, claim_id

TAIL = 10_000
"""How many of the last changes are kept in memory for watches."""


class Entry:
    """A record at its place in the order of creation. ``record`` is None in a replacement that hides one."""

    __slots__ = ("born", "record")

    def __init__(self, record: Record | None, born: int) -> None:
        self.record = record
        self.born = born


_born: Callable[[Entry], int] = attrgetter("born")
_ABSENT = Entry(None, 0)
_NOTHING: Mapping[str, Entry] = {}


def _values(record: Record, name: str) -> Sequence[str]:
    """Under what a record is found in its index ``name``."""
    value: str | Sequence[str] | None = getattr(record, name)
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else value


class Table:
    """The records of one kind."""

    __slots__ = ("_decoder", "_indexes", "_scopes", "entries", "kind")

    def __init__(self, kind: type[Record]) -> None:
        self.kind = kind
        self.entries: dict[str, Entry] = {}
        self._scopes: dict[tuple[str, str], dict[str, Entry]] = {}
        self._indexes: dict[tuple[str, str], dict[str, Entry]] = {}
        self._decoder = msgspec.json.Decoder(kind)

    def decode(self, body: str) -> Record:
        return self._decoder.decode(body)

    def replace(self, record_id: str, new: Record | None, born: int) -> None:
        """Puts ``new`` in the place of what is there; None removes it."""
        entry = self.entries.get(record_id)
        old = None if entry is None else entry.record
        if entry is None or entry.born != born or new is None:
            self._unindex(record_id, old)
            if new is None:
                self.entries.pop(record_id, None)
                return
            self.entries[record_id] = entry = Entry(new, born)
            self._index(record_id, new, entry)
            return
        entry.record = new
        if old is None or self._places(old) != self._places(new):
            self._unindex(record_id, old)
            self._index(record_id, new, entry)

    def select(self, account: str | None, region: str | None, index: Mapping[str, str]) -> Sequence[Entry]:
        """The entries that match all that is given, in order of creation. Raises UnknownIndex."""
        self._check(index)
        buckets = [self._indexes.get(place, _NOTHING) for place in index.items()]
        if account is not None and region is not None:
            buckets.append(self._scopes.get((account, region), _NOTHING))
        else:
            buckets.append(self.entries)
        buckets.sort(key=len)
        keys: Iterable[str] = buckets[0]
        for bucket in buckets[1:]:
            keys = [key for key in keys if key in bucket]
        found = [self.entries[key] for key in keys]
        if account is None or region is None:
            found = [entry for entry in found if _in_scope(entry, account, region)]
        return sorted(found, key=_born)

    def matches(self, entry: Entry, account: str | None, region: str | None, index: Mapping[str, str]) -> bool:
        """Whether a replaced record, which the indexes don't know, belongs to a selection."""
        record = entry.record
        if record is None or not _in_scope(entry, account, region):
            return False
        return all(value in _values(record, name) for name, value in index.items())

    def _check(self, index: Mapping[str, str]) -> None:
        for name in index:
            if name not in self.kind.indexes:
                raise UnknownIndex(f"{self.kind.kind} has no index {name}")

    def _places(self, record: Record) -> tuple[tuple[str, str], ...]:
        """The buckets of a record; the first is its scope, the others are index values."""
        kind = self.kind
        return (record.account, record.region), *((name, v) for name in kind.indexes for v in _values(record, name))

    def _index(self, record_id: str, record: Record, entry: Entry) -> None:
        scope, *values = self._places(record)
        self._scopes.setdefault(scope, {})[record_id] = entry
        for place in values:
            self._indexes.setdefault(place, {})[record_id] = entry

    def _unindex(self, record_id: str, record: Record | None) -> None:
        if record is None:
            return
        scope, *values = self._places(record)
        _discard(self._scopes, scope, record_id)
        for place in values:
            _discard(self._indexes, place, record_id)


def _in_scope(entry: Entry, account: str | None, region: str | None) -> bool:
    record = entry.record
    assert record is not None
    return (account is None or record.account == account) and (region is None or record.region == region)


def _discard(buckets: dict[tuple[str, str], dict[str, Entry]], place: tuple[str, str], record_id: str) -> None:
    bucket = buckets.get(place)
    if bucket is not None:
        bucket.pop(record_id, None)
        if not bucket:
            del buckets[place]


class Written(msgspec.Struct, frozen=True):
    """One committed change with what it left: ``record`` is None when it was deleted or is of no known kind."""

    change: Change
    record: Record | None
    born: int


class Mirror:
    """The records of the registered kinds as they were at ``revision``. All methods may be called from any thread."""

    def __init__(self, kinds: Iterable[type[Record]]) -> None:
        self.lock = threading.Lock()
        self.tables = {kind.kind: Table(kind) for kind in (*kinds, *INTERNAL)}
        self.stamps: dict[str, int] = {}
        self.revision = 0
        self._tail: deque[Change] = deque(maxlen=TAIL)
        self._current: Snapshot | None = None
        self._live: weakref.WeakSet[Snapshot] = weakref.WeakSet()

    def load(self, kind: str, record_id: str, body: str, born: int) -> None:
        """Fills a fresh mirror. Kinds that are not registered are left out."""
        table = self.tables.get(kind)
        if table is not None:
            table.replace(record_id, table.decode(body), born)
            self.stamps[record_id] = self.revision

    def decode(self, kind: str, body: str | None) -> Record | None:
        """The record of a document; None when there is no document or its kind is not registered."""
        table = self.tables.get(kind)
        return None if table is None or body is None else table.decode(body)

    def table(self, kind: type[Record]) -> Table:
        """Raises UnknownKind."""
        table = self.tables.get(kind.kind)
        if table is None or table.kind is not kind:
            raise UnknownKind(f"{kind.__name__} ({kind.kind}) was not given to open_store")
        return table

    def snapshot(self) -> "Snapshot":
        """A view of the present; the same one until something changes."""
        with self.lock:
            if self._current is None:
                self._current = Snapshot(self)
                self._live.add(self._current)
            return self._current

    def apply(self, written: Sequence[Written]) -> None:
        """Moves forward over committed changes, the first of which is ``revision + 1``."""
        with self.lock:
            self._current = None
            snapshots = list(self._live)
            for each in written:
                self._apply(each, snapshots)
            self.revision = written[-1].change.seq

    def _apply(self, written: Written, snapshots: Sequence["Snapshot"]) -> None:
        change = written.change
        self._tail.append(change)
        table = self.tables.get(change.kind)
        if table is None:
            return
        entry = table.entries.get(change.id)
        old = None if entry is None else entry.record
        stale = {change.id, *touched(old), *touched(written.record)}
        for snapshot in snapshots:
            snapshot.remember(change.kind, change.id, entry, stale)
        table.replace(change.id, written.record, written.born)
        for record_id in stale & self.stamps.keys():
            self.stamps[record_id] = change.seq
        if written.record is None:
            self.stamps.pop(change.id, None)
        else:
            self.stamps[change.id] = change.seq

    def changes_since(self, since: int) -> Sequence[Change] | None:
        """The changes after ``since``, oldest first; None when memory does not reach that far back."""
        with self.lock:
            if since > self.revision or since < self.revision - len(self._tail):
                return None
            wanted = self.revision - since
            return [self._tail[i] for i in range(len(self._tail) - wanted, len(self._tail))] if wanted else ()


def touched(record: Record | None) -> Iterable[str]:
    """The ids of the records that must be rendered anew when this one changes."""
    if record is None:
        return ()
    return [value for name in record.touches for value in _values(record, name)]


class Snapshot:
    """A ``View``: the mirror, except where it has been replaced."""

    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror
        self._replaced: dict[str, dict[str, Entry]] = {}
        self._stamps: dict[str, int] = {}
        self.revision = mirror.revision

    def remember(self, kind: str, record_id: str, entry: Entry | None, stale: Iterable[str]) -> None:
        """Saves what the mirror is about to replace; the first time counts. Called under the mirror's lock."""
        saved = _ABSENT if entry is None else Entry(entry.record, entry.born)
        self._replaced.setdefault(kind, {}).setdefault(record_id, saved)
        for each in stale:
            self._stamps.setdefault(each, self._mirror.stamps.get(each, 0))

    def get(self, kind: type[R], record_id: str) -> R | None:
        table = self._mirror.table(kind)
        with self._mirror.lock:
            entry = self._replaced.get(kind.kind, _NOTHING).get(record_id) or table.entries.get(record_id)
            return None if entry is None else cast("R | None", entry.record)

    def list(
        self, kind: type[R], *, account: str | None = None, region: str | None = None, **index: str
    ) -> Sequence[R]:
        table = self._mirror.table(kind)
        with self._mirror.lock:
            found = table.select(account, region, index)
            replaced = self._replaced.get(kind.kind)
            if replaced:
                kept = [entry for entry in found if cast("Record", entry.record).id not in replaced]
                kept += [entry for entry in replaced.values() if table.matches(entry, account, region, index)]
                found = sorted(kept, key=_born)
            return cast("Sequence[Any]", [entry.record for entry in found])

    def stamp(self, record_id: str) -> int:
        with self._mirror.lock:
            saved = self._stamps.get(record_id)
            return self._mirror.stamps.get(record_id, 0) if saved is None else saved

    def stamps(self, record_ids: Sequence[str]) -> Sequence[int]:
        with self._mirror.lock:
            present, saved = self._mirror.stamps, self._stamps
            if not saved:
                return [present.get(each, 0) for each in record_ids]
            return [saved[each] if each in saved else present.get(each, 0) for each in record_ids]

    def owner_of(self, scope: str, key: str) -> str | None:
        claim = self.get(Claim, claim_id(scope, key))
        return None if claim is None else claim.holder

    def claims(self, scope: str) -> Mapping[str, str]:
        return {claim.key: claim.holder for claim in self.list(Claim, scope=scope)}
