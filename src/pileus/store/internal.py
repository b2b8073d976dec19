"""The store's own records. Being records, they share the uniqueness, order and durability of all others.

They are not reported to watches.
"""

from datetime import datetime
from typing import ClassVar

from pileus.base.record import Record


class Claim(Record, frozen=True, kw_only=True):
    """``holder`` owns ``key`` in ``scope``; the id holds both, so there can be only one."""

    kind: ClassVar[str] = "store.claim"
    indexes: ClassVar[tuple[str, ...]] = ("scope", "holder")

    scope: str
    key: str
    holder: str


class LeaseState(Record, frozen=True, kw_only=True):
    """The current lease of a name. It stays after release, because ``token`` may never go back."""

    kind: ClassVar[str] = "store.lease"

    holder: str | None
    token: int
    expires: datetime


INTERNAL = (Claim, LeaseState)
INTERNAL_KINDS = frozenset(kind.kind for kind in INTERNAL)


def claim_id(scope: str, key: str) -> str:
    """The id of a claim's record."""
    if "\t" in scope:
        raise ValueError(f"a claim's scope can't contain a tab: {scope!r}")
    return f"{scope}\t{key}"
