"""A reconcile loop for one resource: run a pass, wait until woken or a while has gone by, run it again."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from pileus.base.clock import Clock
from pileus.drivers.errors import RetryableError, UnknownOutcomeError

log = logging.getLogger(__name__)

_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 10.0


class Loop:
    """Runs ``work`` again and again, never twice at once.

    A pass returns the seconds after which the next one is due, None for "when woken". One that raises is repeated after
    a pause that doubles up to ten seconds; being woken ends that pause, but for its first tenth of a second, so that a
    driver which fails and wakes at the same time can't spin.
    """

    def __init__(self, name: str, work: Callable[[], Awaitable[float | None]], clock: Clock) -> None:
        self._name = name
        self._work = work
        self._clock = clock
        self._woken = asyncio.Event()
        self._pass: asyncio.Task[float | None] | None = None
        self._task = asyncio.create_task(self._run(), name=name)

    def wake(self) -> None:
        """Asks for a pass that begins after now."""
        self._woken.set()

    def interrupt(self) -> None:
        """The same, and a pass that runs now is cancelled: what it does is no longer wanted."""
        self._woken.set()
        if self._pass is not None:
            self._pass.cancel()

    async def stop(self) -> None:
        """Ends the loop, in the middle of a pass if need be."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        failures, pause = 0, None
        while True:
            self._woken.clear()
            try:
                pause = await self._run_pass()
                failures = 0
            except (RetryableError, UnknownOutcomeError) as error:
                log.warning("will be tried again", extra={"loop": self._name, "reason": str(error)})
                failures += 1
            except Exception:
                log.exception("failed unexpectedly, will be tried again", extra={"loop": self._name})
                failures += 1
            if failures:
                await self._clock.sleep(_FIRST_PAUSE)
                pause = min(_FIRST_PAUSE * 2 ** min(failures - 1, 10), _LONGEST_PAUSE) - _FIRST_PAUSE
            await self._wait(pause)

    async def _run_pass(self) -> float | None:
        self._pass = asyncio.ensure_future(self._work())
        try:
            await asyncio.wait({self._pass})
            return 0.0 if self._pass.cancelled() else self._pass.result()
        finally:
            if not self._pass.done():
                self._pass.cancel()
                await asyncio.wait({self._pass})
            self._pass = None

    async def _wait(self, pause: float | None) -> None:
        if self._woken.is_set():
            return
        if pause is None:
            await self._woken.wait()
            return
        waits = {asyncio.create_task(self._woken.wait()), asyncio.create_task(self._clock.sleep(pause))}
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()


class Signal:
    """Wakes everyone who waits, whenever it is fired. A waiter must look again at what it waits for."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def fire(self) -> None:
        """Lets all current waiters go on."""
        event, self._event = self._event, asyncio.Event()
        event.set()

    async def wait(self) -> None:
        """Waits for the next ``fire``."""
        await self._event.wait()
