"""Keeps the spec of every connected host current: computes it anew when something that it depends on changes, and pushes
it when it differs. Called by ``pileus.controllers.loop``.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from pileus.base.config import Config
from pileus.controllers.host_spec import host_spec
from pileus.controllers.reading import Parts, place
from pileus.hostapi.link import HostSession
from pileus.records import KINDS
from pileus.store import Change, LogTrimmed, Store, View

if TYPE_CHECKING:
    from pileus.hostapi.spec import HostSpec

_KINDS = {kind.kind: kind for kind in KINDS}


class _Page:
    """One host: its session, and what was pushed last."""

    def __init__(self, session: HostSession) -> None:
        self.session = session
        self.pushed: HostSpec | None = None


class SpecBook:
    """The specs of the hosts that are connected to this process."""

    def __init__(self, store: Store, config: Config) -> None:
        self._store = store
        self._config = config
        self._pages: dict[str, _Page] = {}
        self._parts = Parts()
        self._revision = 0

    async def open(self, session: HostSession) -> None:
        """A host connected: it gets its spec, whatever it had."""
        page = self._pages[session.host_id] = _Page(session)
        await self._refresh(page, self._catch_up())

    def close(self, session: HostSession) -> None:
        """A host's connection ended."""
        page = self._pages.get(session.host_id)
        if page is not None and page.session is session:
            del self._pages[session.host_id]

    def pushed(self, host_id: str) -> "HostSpec | None":
        """What a connected host was told last."""
        page = self._pages.get(host_id)
        return page.pushed if page else None

    async def follow(self) -> None:
        """Records changed: every host whose spec may differ is computed anew."""
        view = self._catch_up()
        for host_id, page in list(self._pages.items()):
            if _name(host_id) not in self._parts:
                await self._refresh(page, view)

    def _catch_up(self) -> View:
        """Forgets what changed until now. What is kept and the view that is returned fit together."""
        try:
            changes, view = self._store.changes_since(self._revision)
        except LogTrimmed:
            self._parts.clear()
            view = self._store.view()
        else:
            touched: set[str] = set()
            for change in changes:
                touched.add(change.id)
                touched.update(_places(change, view))
            self._parts.forget(touched)
        self._revision = view.revision
        return view

    async def _refresh(self, page: _Page, view: View) -> None:
        host_id = page.session.host_id
        spec = self._parts.get(view, _name(host_id), lambda reading: host_spec(reading, host_id, self._config, 0))
        if page.pushed != spec:
            page.pushed = spec
            await page.session.send_spec(replace(spec, revision=view.revision))


def _name(host_id: str) -> str:
    """The part that is a host's whole spec."""
    return f"spec/{host_id}"


def _places(change: Change, view: View) -> Iterable[str]:
    """Where a record is found: a new one reaches a spec through one of these places."""
    kind = _KINDS.get(change.kind)
    record = view.get(kind, change.id) if kind and not change.deleted else None
    if kind is None or record is None:
        return
    for name in kind.indexes:
        value: str | Sequence[str] | None = getattr(record, name)
        for each in (value,) if isinstance(value, str) else value or ():
            yield place(kind, name, each)
