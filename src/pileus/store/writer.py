"""Runs transactions: one thread per process, which does all waiting work in one commit.

Works run one after the other, each on a draft over the drafts before it. Because a draft is memory, one that raises is
simply dropped. They share one commit and so one fsync. Nobody is answered before the commit, not even with an error: it
could be the consequence of an earlier work that is not durable yet.
"""

import itertools
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from pileus.base.clock import Clock
from pileus.store import log
from pileus.store.backend import Backend
from pileus.store.errors import StoreBusy, StoreClosed, StoreError, StoreUnavailable
from pileus.store.interface import Transaction
from pileus.store.mirror import Mirror, Written
from pileus.store.transaction import Draft, Writes, add

T = TypeVar("T")

_TOGETHER = 32
"""How many works share one commit at most."""

_ATTEMPTS = 3

Work = Callable[[Transaction], T]
_Job = tuple[Work[Any], "Future[Any]"]
_Answer = tuple["Future[Any]", Any, BaseException | None]


class Writer:
    """Takes work from any thread.

    ``refresh`` brings the mirror to the head of the log and returns it; ``committed`` gets what a commit wrote.
    """

    def __init__(
        self,
        backend: Backend,
        clock: Clock,
        refresh: Callable[[], Mirror],
        committed: Callable[[Sequence[Written]], None],
        keep: int,
    ) -> None:
        self._backend = backend
        self._clock = clock
        self._refresh = refresh
        self._committed = committed
        self._keep = keep
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closing = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    def start(self, work: Work[T]) -> "Future[T]":
        """Queues a piece of work; the future has its result once it is durable."""
        future: Future[T] = Future()
        if threading.current_thread() is self._thread:
            raise RuntimeError("a transaction can't wait for another one: use the transaction at hand")
        with self._closing:
            if self._closed:
                raise StoreClosed("the store is closed")
            self._jobs.put((work, future))
        return future

    def close(self) -> None:
        """Finishes what is queued."""
        with self._closing:
            if not self._closed:
                self._closed = True
                self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            jobs = [job]
            last = False
            while len(jobs) < _TOGETHER and not last and not self._jobs.empty():
                more = self._jobs.get()
                if more is None:
                    last = True
                else:
                    jobs.append(more)
            self._do([(work, future) for work, future in jobs if future.set_running_or_notify_cancel()])
            if last:
                return

    def _do(self, jobs: Sequence[_Job]) -> None:
        """Commits some jobs together and answers them."""
        try:
            answers = self._commit(jobs)
        except StoreError as error:  # the database's trouble, which all of them have; some may even be committed
            answers = [(future, None, error) for _, future in jobs]
        except BaseException as error:  # noqa: BLE001 - it is handed to the callers
            # Something of theirs can't be written. Each tries by itself, so that it hurts nobody else.
            if len(jobs) > 1:
                for job in jobs:
                    self._do([job])
                return
            answers = [(future, None, error) for _, future in jobs]
        for future, result, error in answers:
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

    def _commit(self, jobs: Sequence[_Job]) -> Sequence[_Answer]:
        """One commit, tried again when the right to write or the database could not be had."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return self._attempt(jobs)
            except (StoreBusy, StoreUnavailable):
                if attempt == _ATTEMPTS:
                    raise
        raise AssertionError("the last attempt returns or raises")

    def _attempt(self, jobs: Sequence[_Job]) -> Sequence[_Answer]:
        writes: Writes = {}
        answers: list[_Answer] = []
        written: Sequence[Written] = ()
        with self._backend.write() as connection:
            mirror = self._refresh()
            births = itertools.count(mirror.revision + 1)
            for work, future in jobs:
                draft = Draft(mirror, writes, births)
                try:
                    answers.append((future, work(draft), None))
                    for key, write in draft.writes.items():
                        add(writes, key, write)
                except BaseException as error:  # noqa: BLE001 - it belongs to the caller of this work alone
                    answers.append((future, None, error))
                finally:
                    draft.finish()
            if writes:
                head, now = mirror.revision, self._clock.now()
                written = log.write(self._backend, connection, writes, head=head, now=now, keep=self._keep)
                self._backend.ring(connection)
        if written:
            self._committed(written)
            self._backend.ring(None)
        return answers
