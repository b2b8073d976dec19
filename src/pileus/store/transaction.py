"""A transaction: a snapshot with writes of its own, kept in memory until the writer commits them.

``pileus.store.writer`` makes one for each piece of work, while it alone has the right to write; so what the snapshot
shows is the truth until the commit, and no lock or version has to be checked in SQL.
"""

from collections.abc import Iterator
from typing import TypeVar, cast

import msgspec

from pileus.base.record import Record
from pileus.store.errors import ClaimTaken, Conflict, LeaseLost, StoreClosed
from pileus.store.interface import Lease
from pileus.store.internal import Claim, LeaseState, claim_id
from pileus.store.mirror import Entry, Mirror, Snapshot, touched

R = TypeVar("R", bound=Record)

_encode = msgspec.json.Encoder().encode


class Write(Entry):
    """A record that is to be written (or, when None, deleted), with its JSON.

    ``fresh``: it is new, and ``born`` only tells its place among the other new ones; the commit gives the real number.
    """

    __slots__ = ("body", "fresh", "version")

    def __init__(self, record: Record | None, born: int, *, version: int, body: str = "", fresh: bool = False) -> None:
        super().__init__(record, born)
        self.version = version
        self.body = body
        self.fresh = fresh


Writes = dict[tuple[str, str], Write]
"""What transactions change, by kind and id; new records in order of creation."""


def add(writes: Writes, key: tuple[str, str], write: Write) -> None:
    """Lets ``write`` take the place of an earlier one of the same record; one that is born again goes to the end."""
    earlier = writes.get(key)
    if earlier is not None and earlier.born != write.born:
        del writes[key]
    writes[key] = write


class Draft(Snapshot):
    """A ``Transaction``.

    ``before`` holds the writes of earlier transactions of the same commit, ``births`` numbers that only grow, above all
    that the mirror holds.
    """

    def __init__(self, mirror: Mirror, before: Writes, births: Iterator[int]) -> None:
        super().__init__(mirror)
        self._open = True
        self._births = births
        self.writes: Writes = {}
        for (kind, record_id), write in before.items():
            self._replace(mirror.tables[kind].kind, record_id, write)

    def finish(self) -> None:
        """Ends the transaction; a reference that was kept can't write any more."""
        self._open = False

    def put(self, record: R) -> R:
        found = self.get(type(record), record.id)
        self._check(record, found)
        if "\0" in record.id:
            raise ValueError(f"an id can't contain a NUL: {record.id!r}")
        version = record.version + 1
        body = _encode(msgspec.structs.replace(record, version=version)).decode()
        # Decoding it again proves that every process can read it and cuts the ties to whatever the caller still holds.
        stored = self._mirror.table(type(record)).decode(body)
        place = self._place(record)
        if place is None or place.record is None:
            write = Write(stored, next(self._births), version=version, body=body, fresh=True)
        else:
            fresh = isinstance(place, Write) and place.fresh
            write = Write(stored, place.born, version=version, body=body, fresh=fresh)
        self._write(type(record), record.id, write)
        return cast("R", stored)

    def delete(self, record: Record) -> None:
        self._check(record, self.get(type(record), record.id))
        self._write(type(record), record.id, Write(None, 0, version=record.version))

    def claim(self, scope: str, key: str, holder: str) -> None:
        owner = self.owner_of(scope, key)
        if owner is None:
            self.put(Claim(id=claim_id(scope, key), account="", region="", scope=scope, key=key, holder=holder))
        elif owner != holder:
            raise ClaimTaken(scope, key, owner)

    def release(self, scope: str, key: str) -> None:
        claim = self.get(Claim, claim_id(scope, key))
        if claim is not None:
            self.delete(claim)

    def release_all(self, holder: str, scope: str | None = None) -> None:
        narrow = {} if scope is None else {"scope": scope}
        for claim in self.list(Claim, holder=holder, **narrow):
            self.delete(claim)

    def fence(self, lease: Lease) -> None:
        state = self.get(LeaseState, lease.name)
        if state is None or state.holder is None or state.token != lease.token:
            raise LeaseLost(lease.name, lease.token)

    def _check(self, record: Record, found: Record | None) -> None:
        if not self._open:
            raise StoreClosed("the transaction is over")
        version = 0 if found is None else found.version
        if version != record.version:
            raise Conflict(record.kind, record.id, record.version, version)

    def _place(self, record: Record) -> Entry | None:
        replaced = self._replaced.get(record.kind, {}).get(record.id)
        return replaced or self._mirror.table(type(record)).entries.get(record.id)

    def _write(self, kind: type[Record], record_id: str, write: Write) -> None:
        add(self.writes, (kind.kind, record_id), write)
        self._replace(kind, record_id, write)

    def _replace(self, kind: type[Record], record_id: str, write: Write) -> None:
        for each in (record_id, *touched(self.get(kind, record_id)), *touched(write.record)):
            self._stamps[each] = 0
        self._replaced.setdefault(kind.kind, {})[record_id] = write
