"""Spread: a host's failure should hit few instances, and its processors be shared by few."""

from pileus.records import Host
from pileus.scheduler.request import Request


def free_share(host: Host, _: Request) -> float:
    """How much of the scarcer of processors and memory would be left, from 0 to 1."""
    return min(1 - host.used_vcpus / max(host.vcpus, 1), 1 - host.used_memory / max(host.memory, 1))
