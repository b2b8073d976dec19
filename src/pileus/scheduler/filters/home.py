"""With volumes on the host's own disks, an instance starts again where they are."""

from pileus.records import Host
from pileus.scheduler.request import Request


def has_its_volumes(host: Host, request: Request) -> bool:
    """Whether the instance's volumes are on this host, or nowhere yet."""
    return request.host_id in {None, host.id}
