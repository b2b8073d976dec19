"""Forgetting tracked connections that contradict a VPC's present addresses.

The kernel translates and accepts a tracked connection by its entry, whatever the rules say by now. That is wanted when
rules change, and wrong when an address has another owner: its old connections would go on to the old one.
"""

import re
from collections.abc import Collection, Iterable, Mapping

from pileus.drivers.network.linux.namespace import Namespace

Flow = tuple[str, str, str, str]
"""Source and destination of a connection's first packet, then of the answers to it."""

_PAIR = re.compile(rb"src=(\S+) dst=(\S+)")


async def flows(namespace: Namespace) -> frozenset[Flow]:
    """The distinct flows that the namespace tracks."""
    lines = (await namespace.run("conntrack", "--dump", "--family", "ipv4")).splitlines()
    pairs = (tuple(value.decode() for pair in _PAIR.findall(line) for value in pair) for line in lines)
    return frozenset((flow[0], flow[1], flow[2], flow[3]) for flow in pairs if len(flow) == 4)


async def forget(namespace: Namespace, filters: Collection[str]) -> None:
    """Deletes the entries that match any of the filters (options of ``conntrack --delete``)."""
    if filters:
        script = "".join(f"--delete {options}\n" for options in sorted(filters))
        await namespace.run("conntrack", "--load-file", "-", stdin=script.encode())


def stale(tracked: Iterable[Flow], inward: Mapping[str, str], released: Collection[str]) -> set[str]:
    """The filters for those flows that go on by an ownership that ended. Few: a deletion walks the kernel's whole table.

    Args:
        inward: the present translation, public → private address.
        released: private addresses whose interface is gone, or another one now.
    """
    filters: set[str] = set()
    for source, destination, answerer, answered in tracked:
        if answerer != destination and inward.get(destination) != answerer:
            filters.add(f"--orig-dst {destination} --reply-src {answerer}")
        if answered != source and inward.get(answered) != source:
            filters.add(f"--orig-src {source} --reply-dst {answered}")
        if source in released:
            filters.add(f"--orig-src {source}")
        if answerer in released:
            filters.add(f"--reply-src {answerer}")
    return filters
