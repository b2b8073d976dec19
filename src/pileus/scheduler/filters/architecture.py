"""Guests run on processors of their own kind."""

from pileus.records import Host
from pileus.scheduler.request import Request


def same_architecture(host: Host, request: Request) -> bool:
    """Whether the host's architecture is the image's."""
    return host.architecture == request.architecture
