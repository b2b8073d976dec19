"""A view that remembers which records were read, so that only what depends on a change is computed again."""

from collections.abc import Sequence
from typing import TypeVar

from pileus.base.record import Record
from pileus.store import View

R = TypeVar("R", bound=Record)


class Reading:
    """Reads through a view. ``seen`` are the ids of all records that were asked for or found."""

    def __init__(self, view: View) -> None:
        self._view = view
        self.seen: set[str] = set()

    def get(self, kind: type[R], record_id: str) -> R | None:
        """As ``View.get``."""
        self.seen.add(record_id)
        return self._view.get(kind, record_id)

    def list(self, kind: type[R], **index: str) -> Sequence[R]:
        """As ``View.list`` by index. Ids that the index was asked for count as read: a new record under them matters."""
        found = self._view.list(kind, **index)
        self.seen.update(index.values())
        self.seen.update(record.id for record in found)
        return found
