"""Taking turns, medians, and what a measurement gives."""

import statistics
import threading
import time
from collections.abc import Callable, Mapping
from typing import Literal

import msgspec

from bench.wire import Connection, Endpoint

OURS = "pileus"
CLIENTS = 8

Subject = Callable[[], float]
"""One measurement of one subject: seconds, or calls a second."""


class Aim(msgspec.Struct, frozen=True):
    """What is wanted of the ratio to ``peer``, or of Pileus's own value where there is no peer."""

    side: Literal["at least", "at most"]
    limit: float
    peer: str | None = None


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the result: the medians by subject, Pileus among them."""

    what: str
    unit: str
    medians: Mapping[str, float]
    aim: Aim | None = None

    def ratio(self, peer: str) -> float:
        """Pileus's median divided by the peer's."""
        return self.medians[OURS] / self.medians[peer]

    @property
    def reached(self) -> bool | None:
        """Whether the aim was reached; None where there is none."""
        if self.aim is None or (self.aim.peer and self.aim.peer not in self.medians):
            return None
        value = self.ratio(self.aim.peer) if self.aim.peer else self.medians[OURS]
        return value >= self.aim.limit if self.aim.side == "at least" else value <= self.aim.limit


def in_turns(subjects: Mapping[str, Subject], *, rounds: int = 7, budget: float = 20.0) -> dict[str, float]:
    """The median of each subject, measured A B C, A B C, … for that many rounds, or until the budget (seconds) is spent.

    A subject that spends a third of the budget at once is not measured again.
    """
    values: dict[str, list[float]] = {name: [] for name in subjects}
    slow: set[str] = set()
    begin = time.monotonic()
    for _ in range(rounds):
        for name, subject in subjects.items():
            if name in slow:
                continue
            started = time.monotonic()
            values[name].append(subject())
            if time.monotonic() - started > budget / 3:
                slow.add(name)
        if time.monotonic() - begin > budget:
            break
    return {name: statistics.median(found) for name, found in values.items()}


def latency(endpoint: Endpoint, request: bytes, *, seconds: float = 0.25, most: int = 200) -> float:
    """The median seconds of a call, of as many as fit in ``seconds``, over one kept connection."""
    connection = Connection(endpoint)
    connection.perform(request)
    taken: list[float] = []
    begin = time.perf_counter()
    while len(taken) < most and (not taken or time.perf_counter() - begin < seconds):
        started = time.perf_counter()
        connection.perform(request)
        taken.append(time.perf_counter() - started)
    connection.close()
    return statistics.median(taken)


def throughput(endpoint: Endpoint, request: bytes, *, seconds: float = 1.5, most: int | None = None) -> float:
    """Calls a second of ``CLIENTS`` clients at once, for ``seconds`` or for ``most`` calls in all."""
    left = threading.Semaphore(most) if most is not None else None
    counts = [0] * CLIENTS
    failures: list[Exception] = []
    ready = threading.Barrier(CLIENTS + 1)

    def work(index: int) -> None:
        connection = Connection(endpoint)
        ready.wait()
        try:
            while time.perf_counter() < deadline and (left is None or left.acquire(blocking=False)):
                connection.perform(request)
                counts[index] += 1
        except Exception as error:  # noqa: BLE001 - raised below, in the measuring thread
            failures.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=(index,)) for index in range(CLIENTS)]
    deadline = float("inf")
    for thread in threads:
        thread.start()
    begin = time.perf_counter()
    deadline = begin + seconds
    ready.wait()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return sum(counts) / (time.perf_counter() - begin)
