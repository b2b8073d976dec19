"""Which of the hosts that can should: one measure a file, higher is better; earlier ones decide before later ones."""

from collections.abc import Callable

from pileus.records import Host
from pileus.scheduler.request import Request
from pileus.scheduler.weighers.spread import free_share

Weigher = Callable[[Host, Request], float]

WEIGHERS: tuple[Weigher, ...] = (free_share,)
