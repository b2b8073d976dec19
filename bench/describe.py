"""DescribeInstances: all of them, and one by its id, while the number of instances grows."""

from collections.abc import Iterator, Sequence

from bench.measure import CLIENTS, Aim, Row, in_turns, latency, throughput
from bench.servers import Launcher, Ministack, Moto, Pileus, Server, running

_ALONE = "pileus with one instance"
_TOO_SLOW = 2.0
"""Seconds of one call above which a server's throughput is not measured: eight clients would wait for minutes."""


def measure(sizes: Sequence[int]) -> Iterator[Row]:
    """Rows for every size, which must grow."""
    servers: list[Server] = [Pileus(room=max(sizes)), Ministack(), Moto()]
    alone = Pileus()
    with running(*servers, alone):
        launchers = {server.name: Launcher(server) for server in servers}
        ids = {server.name: "" for server in servers}
        only = Launcher(alone).launch(1)[0]
        there = 0
        for size in sizes:
            for server in servers:
                ids[server.name] = launchers[server.name].launch(size - there)[-1]
            there = size
            yield from _all(servers, size)
            yield _by_id(servers, ids, alone, only, size)


def _all(servers: Sequence[Server], size: int) -> Iterator[Row]:
    what = f"DescribeInstances, all of {size:,}"
    seconds = in_turns({server.name: lambda server=server: _describe(server) for server in servers})
    yield Row(what=what, unit="ms", medians={name: 1000 * value for name, value in seconds.items()})
    quick = [server for server in servers if seconds[server.name] < _TOO_SLOW]
    rates = in_turns(
        {
            server.name: lambda server=server: throughput(server.endpoint, server.endpoint.request("DescribeInstances"))
            for server in quick
        },
        rounds=5,
    )
    aim = Aim("at least", 2, "ministack") if size == 1000 else None
    yield Row(what=f"{what}, {CLIENTS} clients", unit="calls/s", medians=rates, aim=aim)


def _describe(server: Server, instance_id: str | None = None) -> float:
    parameters = {"InstanceId.1": instance_id} if instance_id else {}
    return latency(server.endpoint, server.endpoint.request("DescribeInstances", parameters))


def _by_id(servers: Sequence[Server], ids: dict[str, str], alone: Server, only: str, size: int) -> Row:
    """Beside it, in the same turns, a Pileus that has no other instance."""
    subjects = {server.name: lambda server=server: _describe(server, ids[server.name]) for server in servers}
    seconds = in_turns({**subjects, _ALONE: lambda: _describe(alone, only)}, rounds=15)
    aim = Aim("at most", 1.1, _ALONE) if size == 5000 else None
    medians = {name: 1000 * value for name, value in seconds.items()}
    return Row(what=f"DescribeInstances, one of {size:,} by id", unit="ms", medians=medians, aim=aim)
