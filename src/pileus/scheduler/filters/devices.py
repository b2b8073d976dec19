"""Types whose point is hardware that no host offers yet find no room, as on EC2 when it has none left."""

from pileus.records import Host
from pileus.scheduler.request import Request


def has_devices(_: Host, request: Request) -> bool:
    """Whether the host has the GPUs, or is a whole machine to give."""
    return request.gpus == 0 and not request.bare_metal
