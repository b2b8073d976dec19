"""The object store as all calls of a process share it: opened when it is first asked for, closed with the process."""

from collections.abc import Callable

from pileus.engines.objects.interface import Objects


class LazyObjects:
    """Call it for the object store. Given to ``Environment.objects``; for one event loop."""

    def __init__(self, open_store: Callable[[], Objects]) -> None:
        self._open = open_store
        self._opened: Objects | None = None

    def __call__(self) -> Objects:
        if self._opened is None:
            self._opened = self._open()
        return self._opened

    async def close(self) -> None:
        """Closes it, where it was opened."""
        if self._opened is not None:
            await self._opened.close()
            self._opened = None
