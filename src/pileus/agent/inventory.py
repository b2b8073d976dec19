"""What the host has to give."""

import os
import shutil
from pathlib import Path

import msgspec

_MEMINFO = Path("/proc/meminfo")


class Capacity(msgspec.Struct, frozen=True, kw_only=True):
    """``memory`` in MiB, ``disk`` in GiB, both in all, whatever is used of them now."""

    vcpus: int
    memory: int
    disk: int


def measure_capacity(volumes: Path) -> Capacity:
    """The capacity of this machine; ``volumes`` is a directory on the file system that holds the volumes."""
    total = next(line for line in _MEMINFO.read_text().splitlines() if line.startswith("MemTotal:"))
    return Capacity(
        vcpus=os.cpu_count() or 1,
        memory=int(total.split()[1]) // 1024,
        disk=shutil.disk_usage(volumes).total >> 30,
    )
