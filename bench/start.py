"""How soon a server answers after its start, and the memory that it takes while it is idle."""

import statistics
import time
from collections.abc import Callable, Iterator

from bench.measure import Aim, Row
from bench.servers import Ministack, Moto, Pileus, Server, proportional_set_size

_ROUNDS = 5
_AGAIN = "pileus, started again"
_SETTLED = 2.0
"""Seconds after the first answer at which the memory is read."""


def measure() -> Iterator[Row]:
    """Each round starts each server anew, one after the other; Pileus a second time over what it has stored."""
    kinds: tuple[Callable[[], Server], ...] = (Pileus, Ministack, Moto)
    seconds: dict[str, list[float]] = {}
    memory: dict[str, list[float]] = {}
    for _ in range(_ROUNDS):
        for kind in kinds:
            server = kind()
            try:
                seconds.setdefault(server.name, []).append(server.start())
                time.sleep(_SETTLED)
                memory.setdefault(server.name, []).append(proportional_set_size(server.control_plane))
                if isinstance(server, Pileus):
                    server.halt()
                    seconds.setdefault(_AGAIN, []).append(server.start())
            finally:
                server.stop()
    yield Row(what="start to first answer", unit="s", medians=_medians(seconds), aim=Aim("at most", 1.0))
    yield Row(what="memory of the idle control plane", unit="MB", medians=_medians(memory), aim=Aim("at most", 150.0))


def _medians(values: dict[str, list[float]]) -> dict[str, float]:
    return {name: statistics.median(found) for name, found in values.items()}
