"""What callers of the store see: views, transactions, changes and leases. Implemented by the rest of the package."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol, TypeVar

import msgspec

from pileus.base.record import Record

R = TypeVar("R", bound=Record)


class Change(msgspec.Struct, frozen=True):
    """One entry of the change log: the record ``id`` of ``kind`` was written, or ``deleted``.

    ``seq`` counts commits' entries from 1 without gaps, in the order in which they were committed.
    """

    seq: int
    kind: str
    id: str
    deleted: bool


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """The right to do ``name``, held by ``holder`` until ``expires`` (UTC).

    ``token`` is larger than that of every earlier holder; see ``Transaction.fence``.
    """

    name: str
    holder: str
    token: int
    expires: datetime


class View(Protocol):
    """A consistent read of the whole store at one ``revision``.

    It is answered from memory, may be kept across awaits and handed to other threads, and never changes. Dropping it
    frees what the store remembers for it, so hold it no longer than needed.
    """

    @property
    def revision(self) -> int:
        """The ``seq`` of the last change that this view shows."""
        ...

    def get(self, kind: type[R], record_id: str) -> R | None:
        """The record of that id, or None. Raises UnknownKind."""
        ...

    def list(
        self, kind: type[R], *, account: str | None = None, region: str | None = None, **index: str
    ) -> Sequence[R]:
        """The records of a kind in order of creation, narrowed by all that is given.

        ``index`` names are those that the record type declares. Raises UnknownKind, UnknownIndex.
        """
        ...

    def stamp(self, record_id: str) -> int:
        """A number that grows whenever the record, or one that ``touches`` it, changes: the key of a cache.

        It is the ``seq`` of that change, or of the moment this process loaded the record. Numbers of different
        processes can't be compared. 0 means that nothing may be cached: there is no such record, or the open
        transaction has changed it.
        """
        ...

    def stamps(self, record_ids: Sequence[str]) -> Sequence[int]:
        """The stamps of several records."""
        ...

    def owner_of(self, scope: str, key: str) -> str | None:
        """The holder of a claim, or None."""
        ...

    def claims(self, scope: str) -> Mapping[str, str]:
        """All claims of a scope: key to holder."""
        ...


class Transaction(View, Protocol):
    """Reads and writes that happen at once and in a strict order with all other transactions, of any process.

    It sees its own writes. Nothing is written when the function that uses it raises.
    """

    def put(self, record: R) -> R:
        """Writes a record and returns it as it will be read, with its new version.

        Version 0 inserts; any other version replaces exactly that version. Raises Conflict, UnknownKind, and
        ``msgspec.ValidationError`` when a field is not of its declared type.
        """
        ...

    def delete(self, record: Record) -> None:
        """Removes exactly that version of the record. Raises Conflict, UnknownKind."""
        ...

    def claim(self, scope: str, key: str, holder: str) -> None:
        """Makes ``holder`` the one owner of ``key`` in ``scope``; again by the same holder changes nothing.

        Raises ClaimTaken.
        """
        ...

    def release(self, scope: str, key: str) -> None:
        """Ends a claim; one that nobody holds is left as it is."""
        ...

    def release_all(self, holder: str, scope: str | None = None) -> None:
        """Ends all claims of a holder, or those in one scope."""
        ...

    def fence(self, lease: Lease) -> None:
        """Lets the transaction happen only while ``lease`` is the current one of its name. Raises LeaseLost."""
        ...
