"""The queue of taken snapshots that wait for their upload. Used by ``snapshots``.

First come, first served; one that fails goes to the end of the queue, so that it holds up no other.
"""

import asyncio
import logging
from collections.abc import Callable, Collection
from functools import partial

from pileus.agent.chains import Chains
from pileus.agent.loop import Signal
from pileus.agent.reports import Board
from pileus.base.clock import Clock
from pileus.drivers.errors import DriverError, PermanentError
from pileus.drivers.volume.interface import Upload, Volumes
from pileus.hostapi.observation import SnapshotObservation
from pileus.hostapi.spec import SnapshotSpec

log = logging.getLogger(__name__)

_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 30.0


class Uploads:
    """Uploads ``at_once`` snapshots at the same time, never two of one volume. ``done`` is told a volume's id."""

    def __init__(
        self,
        volumes: Volumes,
        chains: Chains,
        board: Board,
        clock: Clock,
        done: Callable[[str], None],
        at_once: int,
    ) -> None:
        self._volumes = volumes
        self._chains = chains
        self._board = board
        self._clock = clock
        self._done = done
        self._queue: dict[str, SnapshotSpec] = {}
        self._going: dict[str, tuple[SnapshotSpec, asyncio.Task[Upload]]] = {}
        self._failures: dict[str, int] = {}
        self._pauses: set[asyncio.Task[None]] = set()
        self._signal = Signal()
        self._at_once = at_once
        self._workers: list[asyncio.Task[None]] = []

    @property
    def reading(self) -> frozenset[str]:
        """The volumes whose frozen layers are being read."""
        return frozenset(spec.volume_id for spec, _ in self._going.values())

    def add(self, spec: SnapshotSpec) -> None:
        """Puts a taken snapshot at the end of the queue, unless it is in there."""
        if spec.snapshot_id not in self._queue and spec.snapshot_id not in self._going:
            self._queue[spec.snapshot_id] = spec
            while len(self._workers) < self._at_once:
                self._workers.append(asyncio.create_task(self._work(), name=f"upload {len(self._workers)}"))
            self._signal.fire()

    def keep(self, wanted: Collection[str]) -> None:
        """All other snapshots are dropped, also while they are being uploaded."""
        for snapshot_id in self._queue.keys() - wanted:
            del self._queue[snapshot_id]
        for snapshot_id in self._failures.keys() - wanted:
            del self._failures[snapshot_id]
        for snapshot_id, (_, task) in self._going.items():
            if snapshot_id not in wanted:
                task.cancel()

    async def close(self) -> None:
        """Breaks everything off; it can be repeated."""
        tasks = [*self._workers, *self._pauses]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _work(self) -> None:
        while True:
            spec = self._next()
            if spec is None:
                await self._signal.wait()
                continue
            await self._upload(spec)
            self._signal.fire()  # the next one may be of the same volume

    def _next(self) -> SnapshotSpec | None:
        for snapshot_id, spec in self._queue.items():
            if spec.volume_id not in self.reading:
                del self._queue[snapshot_id]
                return spec
        return None

    async def _upload(self, spec: SnapshotSpec) -> None:
        task = asyncio.create_task(self._read_and_send(spec))
        self._going[spec.snapshot_id] = spec, task
        try:
            await asyncio.wait({task})
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait({task})
            del self._going[spec.snapshot_id]
            self._done(spec.volume_id)
        if not task.cancelled():
            self._conclude(spec, task)

    async def _read_and_send(self, spec: SnapshotSpec) -> Upload:
        async with self._chains.hold([spec.volume_id]):
            pass  # a merge that runs is broken off; while this reads, none is begun
        return await self._volumes.upload(spec, partial(self._progress, spec.snapshot_id))

    def _conclude(self, spec: SnapshotSpec, task: asyncio.Task[Upload]) -> None:
        error = task.exception()
        about = {"snapshot": spec.snapshot_id, "reason": str(error)}
        match error:
            case None:
                done = task.result()
                self._failures.pop(spec.snapshot_id, None)
                self._put(
                    SnapshotObservation(
                        snapshot_id=spec.snapshot_id,
                        phase="uploaded",
                        progress=100,
                        root=done.root,
                        uploaded_bytes=done.uploaded_bytes,
                        full_bytes=done.full_bytes,
                    )
                )
            case PermanentError():
                log.error("snapshot can't be uploaded", extra=about)
                self._put(SnapshotObservation(snapshot_id=spec.snapshot_id, phase="failed", detail=str(error)))
            case DriverError():
                log.warning("upload will be tried again", extra=about)
                self._try_again(spec)
            case _:
                log.error("upload failed unexpectedly, will be tried again", extra=about, exc_info=error)
                self._try_again(spec)

    def _try_again(self, spec: SnapshotSpec) -> None:
        failures = self._failures[spec.snapshot_id] = self._failures.get(spec.snapshot_id, 0) + 1

        async def later() -> None:
            await self._clock.sleep(min(_FIRST_PAUSE * 2 ** min(failures - 1, 10), _LONGEST_PAUSE))
            if spec.snapshot_id in self._failures:
                self.add(spec)

        pause = asyncio.create_task(later())
        self._pauses.add(pause)
        pause.add_done_callback(self._pauses.discard)

    def _progress(self, snapshot_id: str, percent: int) -> None:
        self._put(SnapshotObservation(snapshot_id=snapshot_id, phase="taken", progress=min(percent, 99)))

    def _put(self, observation: SnapshotObservation) -> None:
        self._board.put_snapshot(observation)
