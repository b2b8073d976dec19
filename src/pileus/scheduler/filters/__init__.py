"""Which hosts can take an instance: one rule a file, all must hold."""

from collections.abc import Callable

from pileus.records import Host
from pileus.scheduler.filters.architecture import same_architecture
from pileus.scheduler.filters.capacity import has_room
from pileus.scheduler.filters.devices import has_devices
from pileus.scheduler.filters.health import is_up
from pileus.scheduler.filters.home import has_its_volumes
from pileus.scheduler.filters.zone import serves_zone
from pileus.scheduler.request import Request

Filter = Callable[[Host, Request], bool]

FILTERS: tuple[Filter, ...] = (is_up, has_its_volumes, serves_zone, same_architecture, has_devices, has_room)
"""The cheap ones that exclude most come first."""
