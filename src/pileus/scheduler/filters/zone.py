"""Zones are placed on hosts."""

from pileus.records import Host
from pileus.scheduler.request import Request


def serves_zone(host: Host, request: Request) -> bool:
    """Whether the host is in the zone; one without zones serves all."""
    return not host.zones or request.zone in host.zones
