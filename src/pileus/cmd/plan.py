"""The supervisor's plan: which processes a cloud has, and how each is started."""

import sys

import msgspec

from pileus.base.config import Config
from pileus.cmd.layout import Layout
from pileus.cmd.privileges import bound_to_parent, unprivileged
from pileus.cmd.supervisor import LISTENER


def supervisor_command(layout: Layout, settings: Config, *, simulate: bool) -> list[str]:
    """The command that runs the cloud in the foreground. The agent alone keeps privileges, and only with real guests."""
    serve = [
        *(sys.executable, "-m", "pileus.cmd.main"),
        *("--data-dir", str(layout.root), "--port", str(settings.port), "serve"),
    ]
    mode = ["--simulate"] if simulate else []
    agent = [*serve, "agent", *mode]
    plan = {
        "root": str(layout.root),
        "listen": settings.listen,
        "port": settings.port,
        "children": {
            "controller": unprivileged([*serve, "controller", *mode], [layout.root]),
            "api": unprivileged([*serve, "api", "--listener", LISTENER], [layout.root]),
            "agent": unprivileged(agent, [layout.root]) if simulate else bound_to_parent(agent),
        },
    }
    return [sys.executable, "-m", "pileus.cmd.supervisor", msgspec.json.encode(plan).decode()]
