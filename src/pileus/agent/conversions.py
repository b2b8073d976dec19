"""Converts the disk images that the spec lists, one after the other, and reports how far each is. Used by ``agent``."""

import asyncio
import logging
from collections.abc import Iterable

from pileus.agent.reports import Board
from pileus.base.clock import Clock
from pileus.drivers.errors import DriverError, PermanentError
from pileus.drivers.image.conversion_interface import Conversions, OpenKey, Step
from pileus.hostapi.observation import ConversionObservation
from pileus.hostapi.spec import ConversionSpec

log = logging.getLogger(__name__)

_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 30.0


class ConversionKeeper:
    """A task for each conversion that is listed; one that is not listed any more is broken off and forgotten.

    ``conversions`` is None on hosts that can't convert: they say so.
    """

    def __init__(self, conversions: Conversions | None, keys: OpenKey, board: Board, clock: Clock) -> None:
        self._conversions = conversions
        self._keys = keys
        self._board = board
        self._clock = clock
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._forgetting: set[asyncio.Task[None]] = set()

    def accept(self, specs: Iterable[ConversionSpec]) -> None:
        """Takes a new spec."""
        wanted = {spec.task_id: spec for spec in specs}
        for task_id in self._tasks.keys() - wanted.keys():
            ending = asyncio.create_task(self._end(task_id, self._tasks.pop(task_id)))
            self._forgetting.add(ending)
            ending.add_done_callback(self._forgetting.discard)
        for task_id, spec in wanted.items():
            if task_id not in self._tasks:
                self._tasks[task_id] = asyncio.create_task(self._run(spec), name=f"conversion {task_id}")

    async def close(self) -> None:
        """Breaks everything off; it can be repeated."""
        tasks = [*self._tasks.values(), *self._forgetting]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _end(self, task_id: str, task: asyncio.Task[None]) -> None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if self._conversions is not None:
            await self._conversions.forget(task_id)
        self._board.drop(task_id)

    async def _run(self, spec: ConversionSpec) -> None:
        failures = 0
        while True:
            try:
                self._board.put_conversion(await self._convert(spec))
            except PermanentError as error:
                log.warning("an image can't be converted", extra={"task": spec.task_id, "reason": str(error)})
                self._board.put_conversion(
                    ConversionObservation(task_id=spec.task_id, phase="failed", detail=str(error))
                )
                return
            except DriverError as error:
                log.warning("conversion will be tried again", extra={"task": spec.task_id, "reason": str(error)})
            except Exception:
                log.exception("conversion failed unexpectedly, will be tried again", extra={"task": spec.task_id})
            else:
                return
            await self._clock.sleep(min(_FIRST_PAUSE * 2 ** min(failures, 10), _LONGEST_PAUSE))
            failures += 1

    async def _convert(self, spec: ConversionSpec) -> ConversionObservation:
        if self._conversions is None:
            raise PermanentError("ServerError: this host can't convert disk images")

        def told(step: Step, percent: int) -> None:
            self._board.put_conversion(
                ConversionObservation(task_id=spec.task_id, phase="working", step=step, progress=percent)
            )

        done = await self._conversions.convert(spec, self._keys, told)
        return ConversionObservation(
            task_id=spec.task_id, phase="done", step="storing", progress=100, root=done.root, size=done.size
        )
