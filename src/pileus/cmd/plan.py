"""The supervisor's plan: which processes a cloud has, and how each is started."""

import sys
from pathlib import Path

import click
import msgspec

from pileus.base.config import Config
from pileus.catalogue import zones
from pileus.cmd.elsewhere import check_objects
from pileus.cmd.errors import CloudError
from pileus.cmd.layout import Layout
from pileus.cmd.privileges import bound_to_parent, unprivileged
from pileus.cmd.supervisor import LISTENER


def supervisor_command(layout: Layout, settings: Config, *, simulate: bool) -> list[str]:
    """The command that runs the cloud in the foreground. The agent alone keeps privileges, and only with real guests.

    Raises:
        CloudError: a region or zone that AWS does not have; another S3 for objects that can't be used.
        OSError: a certificate, its key, or a file with a secret can't be read.
    """
    _check(settings)
    warning = check_objects(layout, settings)
    if warning is not None:
        click.echo(warning, err=True)
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
            "storage": unprivileged([*serve, "storage"], [layout.root]),
            "api": unprivileged([*serve, "api", "--listener", LISTENER], [layout.root]),
            "agent": unprivileged(agent, [layout.root]) if simulate else bound_to_parent(agent),
        },
    }
    return [sys.executable, "-m", "pileus.cmd.supervisor", msgspec.json.encode(plan).decode()]


def _check(settings: Config) -> None:
    """Looks at what would let a process of the cloud end again and again, where it is not seen."""
    for region in settings.regions:
        known = [zone.name for zone in zones(region.name) if zone.type == "availability-zone"]
        for letter in region.zones:
            if f"{region.name}{letter}" not in known:
                raise CloudError(
                    f"AWS has no zone {region.name}{letter}. It has: {', '.join(known) or 'no such region'}."
                )
        for type_, names in (("local-zone", region.local_zones), ("wavelength-zone", region.wavelength_zones)):
            known = [zone.name for zone in zones(region.name) if zone.type == type_]
            for name in names:
                if name not in known:
                    raise CloudError(f"{region.name} has no {type_} {name}. It has: {', '.join(known) or 'none'}.")
    for path in (settings.certificate, settings.key):
        if path is not None:
            Path(path).read_bytes()
