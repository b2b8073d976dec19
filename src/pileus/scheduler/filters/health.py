"""Nothing new goes where nobody answers."""

from pileus.records import Host
from pileus.scheduler.request import Request


def is_up(host: Host, _: Request) -> bool:
    """Whether the host's agent is connected and the operator takes instances there."""
    return host.state == "up"
