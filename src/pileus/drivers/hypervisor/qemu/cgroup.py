"""Limits on memory, processor time and tasks of a guest's QEMU: cgroup v1, v2, or v1 with a v2 beside it.

A guest's cgroup is ``pileus/<instance id>`` below each hierarchy's root, outside of the agent's own, so that whoever
restarts the agent's service doesn't end the guests. Called by ``guest``.
Source: Linux, Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst.
"""

import asyncio
import errno
import logging
import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from pileus.drivers.errors import RetryableError

_logger = logging.getLogger(__name__)

_CONTROLLERS = ("memory", "cpu", "pids")
_PERIOD = 100_000  # microseconds, the kernel's default
_EMPTYING_TRIES = 50  # of 20 ms: a cgroup stays busy for a moment after its last task ended


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """``memory`` in bytes, ``cpus`` as a number of processors, ``tasks`` are threads.

    ``weight`` is the guest's part of a busy host, in processors: guests share as they were promised.
    """

    memory: int
    cpus: float
    tasks: int
    weight: int


class Cgroups:
    """The cgroups of all guests.

    Args:
        mountinfo: the text of ``/proc/self/mountinfo``; read when not given.

    Attributes:
        missing: controllers that can't be used on this machine; their limits don't hold.
    """

    def __init__(self, mountinfo: str | None = None) -> None:
        text = Path("/proc/self/mountinfo").read_text() if mountinfo is None else mountinfo
        v1, self._unified = find_hierarchies(text)
        self._v1: dict[str, Path] = {}
        self._v2: frozenset[str] = frozenset()
        missing: list[str] = []
        for controller in _CONTROLLERS:
            if controller in v1 and _can_make(v1[controller] / "pileus"):
                self._v1[controller] = v1[controller]
            elif self._unified is not None and _delegate(self._unified, controller):
                self._v2 |= {controller}
            else:
                missing.append(controller)
        self.missing = tuple(missing)
        if missing:
            _logger.warning("cgroups can't be used: guests are not limited", extra={"controllers": missing})

    def directories(self, instance_id: str) -> tuple[Path, ...]:
        """The guest's cgroup in each hierarchy in use."""
        unified = (self._unified,) if self._unified is not None and self._v2 else ()
        return tuple(root / "pileus" / instance_id for root in (*self._v1.values(), *unified))

    def enter(self, instance_id: str, pid: int, limits: Limits) -> None:
        """Makes the guest's cgroup, sets its limits and moves the process there. Raises RetryableError."""
        try:
            for directory in self.directories(instance_id):
                directory.mkdir(parents=True, exist_ok=True)
            self._weigh_all()
            for controller, root in self._v1.items():
                _write(root / "pileus" / instance_id, _v1_settings(controller, limits))
            if self._unified is not None and self._v2:
                settings = _v2_settings(limits)
                for controller in self._v2:
                    _write(self._unified / "pileus" / instance_id, settings[controller])
            for directory in self.directories(instance_id):
                (directory / "cgroup.procs").write_text(str(pid))
        except OSError as error:
            raise RetryableError(f"{instance_id} can't be limited: {error}") from error

    async def remove(self, instance_id: str) -> None:
        """Removes the guest's cgroup; its process has ended. Raises RetryableError when something is still in it."""
        for directory in self.directories(instance_id):
            for _ in range(_EMPTYING_TRIES):
                if _remove_empty(directory):
                    break
                await asyncio.sleep(0.02)
            else:
                raise RetryableError(f"{directory} is still in use")

    def _weigh_all(self) -> None:
        """All guests together weigh as much as the host has processors, or they would share the part of one program."""
        processors = os.cpu_count() or 1
        if "cpu" in self._v1:
            _write(self._v1["cpu"] / "pileus", {"cpu.shares": _v1_shares(processors)})
        elif self._unified is not None and "cpu" in self._v2:
            _write(self._unified / "pileus", {"cpu.weight": _v2_weight(processors)})


def find_hierarchies(mountinfo: str) -> tuple[dict[str, Path], Path | None]:
    """Where each v1 controller is mounted, and where v2 is (None: nowhere). Source: proc(5), mountinfo."""
    v1: dict[str, Path] = {}
    unified: Path | None = None
    for line in mountinfo.splitlines():
        mount, _, kind = line.partition(" - ")
        fields, (kind, _source, options) = mount.split(), kind.split(" ", 2)
        path = Path(fields[4].encode().decode("unicode_escape"))
        if kind == "cgroup2":
            unified = path
        elif kind == "cgroup":
            v1.update((option, path) for option in options.split(",") if option in _CONTROLLERS)
    return v1, unified


def _can_make(directory: Path) -> bool:
    try:
        directory.mkdir(exist_ok=True)
    except OSError:
        return False
    return True


def _delegate(unified: Path, controller: str) -> bool:
    """Whether the v2 hierarchy lets ``pileus/*`` use a controller, after asking it to."""
    parent = unified / "pileus"
    try:
        (unified / "cgroup.subtree_control").write_text(f"+{controller}")
        parent.mkdir(exist_ok=True)
        (parent / "cgroup.subtree_control").write_text(f"+{controller}")
    except OSError:
        return False
    return True


def _v1_settings(controller: str, limits: Limits) -> Mapping[str, int]:
    match controller:
        case "memory":
            return {"memory.limit_in_bytes": limits.memory}
        case "cpu":
            quota = int(limits.cpus * _PERIOD)
            return {"cpu.cfs_period_us": _PERIOD, "cpu.cfs_quota_us": quota, "cpu.shares": _v1_shares(limits.weight)}
        case _:
            return {"pids.max": limits.tasks}


def _v2_settings(limits: Limits) -> Mapping[str, Mapping[str, int | str]]:
    return {
        "memory": {"memory.max": limits.memory},
        "cpu": {"cpu.max": f"{int(limits.cpus * _PERIOD)} {_PERIOD}", "cpu.weight": _v2_weight(limits.weight)},
        "pids": {"pids.max": limits.tasks},
    }


def _v1_shares(processors: int) -> int:
    return min(1024 * processors, 262_144)  # the kernel's default for one program is 1024


def _v2_weight(processors: int) -> int:
    return min(100 * processors, 10_000)  # the kernel's default for one program is 100


def _write(directory: Path, settings: Mapping[str, int | str]) -> None:
    for name, value in settings.items():
        (directory / name).write_text(str(value))


def _remove_empty(directory: Path) -> bool:
    try:
        directory.rmdir()
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return False
    return True
