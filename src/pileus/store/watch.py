"""Wakes the watches of a process when the change log has grown, by whichever process."""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Generator

from pileus.store.backend import Backend

_POLL = 1.0
"""Seconds after which the log is looked at although nobody rang."""

_logger = logging.getLogger(__name__)


class Hub:
    """One thread that waits for other processes. ``refresh`` brings the mirror up to date, away from event loops."""

    def __init__(self, backend: Backend, refresh: Callable[[], object]) -> None:
        self._backend = backend
        self._refresh = refresh
        self._lock = threading.Lock()
        self._events: dict[asyncio.AbstractEventLoop, set[asyncio.Event]] = {}
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()

    @contextlib.contextmanager
    def subscribe(self) -> Generator[asyncio.Event]:
        """An event of the running loop that is set after every growth of the log, at times also without one."""
        event, loop = asyncio.Event(), asyncio.get_running_loop()
        with self._lock:
            self._events.setdefault(loop, set()).add(event)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="store-watch", daemon=True)
                self._thread.start()
        try:
            yield event
        finally:
            with self._lock:
                self._events[loop].discard(event)
                if not self._events[loop]:
                    del self._events[loop]

    def wake(self) -> None:
        """Wakes the watches of this process. Thread-safe."""
        with self._lock:
            for loop in self._events:
                with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits there any more
                    loop.call_soon_threadsafe(self._set, loop)

    @property
    def closed(self) -> bool:
        return self._stopping.is_set()

    def close(self) -> None:
        """Ends the thread, if there is one, and wakes everybody a last time."""
        self._stopping.set()
        if self._thread is not None and self._thread.is_alive():
            self._backend.interrupt()
            self._thread.join()
        self.wake()

    def _set(self, loop: asyncio.AbstractEventLoop) -> None:
        """Runs in the loop, and so never beside a ``subscribe`` of the same loop."""
        for event in self._events.get(loop, ()):
            event.set()

    def _run(self) -> None:
        healthy = True
        while not self._stopping.is_set():
            try:
                self._backend.wait(_POLL)
                if not self._stopping.is_set():
                    self._refresh()
                healthy = True
            except Exception:
                # The database may come back; until then the watches have nothing to see. Said once.
                if healthy:
                    _logger.exception("the change log can't be read")
                healthy = False
                self._stopping.wait(_POLL)
            self.wake()
