"""A view that remembers which records were read, so that only what depends on a change is computed again."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from pileus.base.record import Record
from pileus.store import View

R = TypeVar("R", bound=Record)
T = TypeVar("T")


class Parts:
    """What was computed from records, by name, until one of those records changes. Parts may be made of other parts."""

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}
        self._sources: dict[str, set[str]] = {}
        self._users: dict[str, set[str]] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def get(self, view: View, name: str, compute: Callable[["Reading"], T]) -> T:
        """The part of that name, computed if it is not there."""
        if name not in self._values:
            reading = Reading(view, self)
            self._values[name] = compute(reading)
            self._sources[name] = reading.seen
            for source in reading.seen:
                self._users.setdefault(source, set()).add(name)
        return self._values[name]

    def forget(self, changed: Iterable[str]) -> None:
        """Drops the parts that were computed from these ids and places, and the parts that were made of those."""
        waiting = list(changed)
        while waiting:
            for name in self._users.pop(waiting.pop(), ()):
                waiting.append(name)
                self._drop(name)

    def clear(self) -> None:
        """Drops all."""
        self._values.clear()
        self._sources.clear()
        self._users.clear()

    def _drop(self, name: str) -> None:
        del self._values[name]
        for source in self._sources.pop(name):
            users = self._users.get(source)
            if users is not None:
                users.discard(name)
                if not users:
                    del self._users[source]


def place(kind: type[Record], index: str, value: str) -> str:
    """Stands for all records that are, or will be, found under an index: a new one matters to who has looked there."""
    return f"{kind.kind}/{index}={value}"


class Reading:
    """Reads through a view. ``seen`` are the ids of the records that were asked for or found, the places that were looked
    at, and the names of parts.
    """

    def __init__(self, view: View, parts: Parts | None = None) -> None:
        self._view = view
        self._parts = Parts() if parts is None else parts
        self.seen: set[str] = set()

    def get(self, kind: type[R], record_id: str) -> R | None:
        """As ``View.get``."""
        self.seen.add(record_id)
        return self._view.get(kind, record_id)

    def list(self, kind: type[R], **index: str) -> Sequence[R]:
        """As ``View.list`` by index."""
        found = self._view.list(kind, **index)
        self.seen.update(place(kind, name, value) for name, value in index.items())
        self.seen.update(record.id for record in found)
        return found

    def part(self, name: str, compute: Callable[["Reading"], T]) -> T:
        """What ``compute`` gives, kept under a name (which can't be an id) while it stays the same."""
        self.seen.add(name)
        return self._parts.get(self._view, name, compute)
