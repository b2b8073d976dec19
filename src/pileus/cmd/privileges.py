"""The control plane runs without privileges: its own uid, no capabilities, none to be had back.

Its code may lie where that uid can't look (a clone below ``/root``, which is closed on Debian). Then it gets a mount
namespace in which the closed directory is an empty one, with nothing in it but what the process needs.
"""

import os
import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import pileus

CONTROL_UID = 690000
"""The control plane's uid and gid: outside of what distributions and container engines hand out."""


def unprivileged(argv: Sequence[str], writable: Iterable[Path]) -> list[str]:
    """The command that runs ``argv`` as the control plane's user. ``writable`` are paths that it must reach.

    For anybody but root there are no privileges to drop.
    """
    if os.geteuid() != 0:
        return bound_to_parent(argv)
    uid = str(CONTROL_UID)
    dropped = [
        "setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all",
        "--no-new-privs", "--pdeathsig=KILL", *argv,
    ]  # fmt: skip
    needed = [Path(sys.prefix), Path(sys.base_prefix), Path(pileus.__file__).parent, *writable]
    closed = {hidden for path in needed if (hidden := _closed_ancestor(path)) is not None}
    if not closed:
        return dropped
    return ["unshare", "--mount", "--propagation=private", "sh", "-ec", _opening(closed, needed), "sh", *dropped]


def bound_to_parent(argv: Sequence[str]) -> list[str]:
    """The command that runs ``argv`` and ends when its parent dies, however that dies: at once, for the next supervisor's
    processes must not meet it.
    """
    return ["setpriv", "--pdeathsig=KILL", *argv]


def _closed_ancestor(path: Path) -> Path | None:
    """The topmost directory above ``path`` (or itself) that others may not pass through."""
    for directory in (*reversed(path.parents), path):
        if not directory.stat().st_mode & 0o001 and directory.stat().st_uid != CONTROL_UID:
            return directory
    return None


def _opening(closed: set[Path], needed: Sequence[Path]) -> str:
    """A shell script that replaces closed directories by empty ones that hold the needed paths, then runs its arguments.

    Every needed path is held open by a bind mount on a staging directory while its old place is covered. That is a
    directory which every system has: one of our own would stay behind when we are killed here.
    """
    stage = next(
        place for place in ("/mnt", "/media", "/srv") if not any(path.is_relative_to(place) for path in needed)
    )
    lines = [f"mount -t tmpfs -o mode=755 none {stage}"]
    inside = [path for path in dict.fromkeys(needed) if any(path.is_relative_to(hidden) for hidden in closed)]
    for number, path in enumerate(inside):
        lines += [f"mkdir {stage}/{number}", f"mount --rbind {shlex.quote(str(path))} {stage}/{number}"]
    lines += [f"mount -t tmpfs -o mode=755 none {shlex.quote(str(hidden))}" for hidden in sorted(closed)]
    for number, path in enumerate(inside):
        place = shlex.quote(str(path))
        lines += [f"mkdir -p {place}", f"mount --rbind {stage}/{number} {place}"]
    return "\n".join([*lines, f"umount -l {stage}", 'exec "$@"'])
