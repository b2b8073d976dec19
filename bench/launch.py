"""RunInstances, one instance a call, beside those that are there already."""

from collections.abc import Iterator, Sequence

from bench.measure import CLIENTS, Row, in_turns, latency, throughput
from bench.servers import Launcher, Ministack, Moto, Pileus, Server, running

_BURST, _ROUNDS = 10, 5
_TOGETHER = 5 * CLIENTS
ADDED = _ROUNDS * (_BURST + 1 + _TOGETHER)
"""How many instances the measurement itself adds."""


def measure(sizes: Sequence[int]) -> Iterator[Row]:
    """Rows for every size, which must grow."""
    servers: list[Server] = [Pileus(room=max(sizes) + ADDED * len(sizes)), Ministack(), Moto()]
    with running(*servers):
        launchers = {server.name: Launcher(server) for server in servers}
        there = 0
        for size in sizes:
            for launcher in launchers.values():
                launcher.launch(max(size - there, 0))
            there = max(size, there) + ADDED
            yield from _launches(servers, launchers, size)


def _launches(servers: Sequence[Server], launchers: dict[str, Launcher], size: int) -> Iterator[Row]:
    def alone(server: Server) -> float:
        return latency(server.endpoint, launchers[server.name].request(), most=_BURST, seconds=60)

    def together(server: Server) -> float:
        return throughput(server.endpoint, launchers[server.name].request(), most=_TOGETHER, seconds=60)

    what = f"RunInstances beside {size:,}"
    seconds = in_turns({server.name: lambda server=server: alone(server) for server in servers}, rounds=_ROUNDS)
    yield Row(what=what, unit="ms", medians={name: 1000 * value for name, value in seconds.items()})
    rates = in_turns({server.name: lambda server=server: together(server) for server in servers}, rounds=_ROUNDS)
    yield Row(what=f"{what}, {CLIENTS} clients", unit="calls/s", medians=rates)
