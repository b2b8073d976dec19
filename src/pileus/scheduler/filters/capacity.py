"""Never promise more than there is."""

from pileus.records import Host
from pileus.scheduler.request import Request


def has_room(host: Host, request: Request) -> bool:
    """Whether processors, memory and disk are left for it."""
    return (
        host.used_vcpus + request.vcpus <= host.vcpus
        and host.used_memory + request.memory <= host.memory
        and (host.disk is None or request.disk == 0 or host.used_disk + request.disk <= host.disk)
    )
