"""Keeps the spec of every connected host current: computes it anew when something that it depends on changes, and pushes
it when it differs. Called by ``pileus.controllers.loop``.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from pileus.base.config import Config
from pileus.controllers.host_spec import host_spec
from pileus.controllers.reading import Reading
from pileus.hostapi.link import HostSession
from pileus.records import KINDS
from pileus.store import Change, View

if TYPE_CHECKING:
    from pileus.hostapi.spec import HostSpec

_KINDS = {kind.kind: kind for kind in KINDS}


class _Page:
    """One host: its session, what was pushed last, and the ids that this depended on."""

    def __init__(self, session: HostSession) -> None:
        self.session = session
        self.pushed: HostSpec | None = None
        self.depends: frozenset[str] = frozenset()


class SpecBook:
    """The specs of the hosts that are connected to this process."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._pages: dict[str, _Page] = {}

    async def open(self, session: HostSession, view: View) -> None:
        """A host connected: it gets its spec, whatever it had."""
        page = self._pages[session.host_id] = _Page(session)
        await self._refresh(page, view)

    def close(self, session: HostSession) -> None:
        """A host's connection ended."""
        page = self._pages.get(session.host_id)
        if page is not None and page.session is session:
            del self._pages[session.host_id]

    async def follow(self, changes: Sequence[Change], view: View) -> None:
        """Records changed: every host whose spec may differ is computed anew."""
        touched: set[str] = set()
        for change in changes:
            touched.add(change.id)
            touched.update(_related(change, view))
        for host_id, page in list(self._pages.items()):
            if host_id in touched or not touched.isdisjoint(page.depends):
                await self._refresh(page, view)

    async def _refresh(self, page: _Page, view: View) -> None:
        reading = Reading(view)
        spec = host_spec(reading, page.session.host_id, self._config, view.revision)
        page.depends = frozenset(reading.seen)
        if page.pushed is None or replace(page.pushed, revision=spec.revision) != spec:
            page.pushed = spec
            await page.session.send_spec(spec)


def _related(change: Change, view: View) -> Sequence[str]:
    """The ids under whose indexes a record is found: a new record reaches a spec through one of them."""
    kind = _KINDS.get(change.kind)
    record = view.get(kind, change.id) if kind and not change.deleted else None
    if record is None:
        return ()
    related: list[str] = []
    for name in type(record).indexes:
        value = getattr(record, name)
        if isinstance(value, str):
            related.append(value)
        elif value:
            related.extend(value)
    return related
