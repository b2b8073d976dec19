"""Limits on a v1 and on a v2 machine, played by directories; the kernel's own are used by the conformance tests."""

import os
from pathlib import Path

import pytest

from pileus.drivers.errors import RetryableError
from pileus.drivers.hypervisor.qemu.cgroup import Cgroups, Limits, find_hierarchies

LIMITS = Limits(memory=1 << 30, cpus=2.25, tasks=130, weight=2)


def line(path: Path, kind: str, options: str) -> str:
    return f"32 31 0:29 / {path} rw,relatime shared:9 - {kind} {kind} {options}\n"


def test_hierarchies_are_found_in_what_the_kernel_lists() -> None:
    text = line(Path("/c/cpu\\040x"), "cgroup", "rw,cpu,cpuacct") + line(Path("/c/unified"), "cgroup2", "rw,nsdelegate")
    text += line(Path("/proc"), "proc", "rw") + line(Path("/c/freezer"), "cgroup", "rw,freezer")
    assert find_hierarchies(text) == ({"cpu": Path("/c/cpu x")}, Path("/c/unified"))


def test_limits_on_v1(tmp_path: Path) -> None:
    text = "".join(line(tmp_path / name, "cgroup", f"rw,{name}") for name in ("memory", "cpu", "pids"))
    for name in ("memory", "cpu", "pids"):
        (tmp_path / name).mkdir()
    cgroups = Cgroups(text)
    assert cgroups.missing == ()
    cgroups.enter("i-1", 4711, LIMITS)
    assert (tmp_path / "memory/pileus/i-1/memory.limit_in_bytes").read_text() == str(1 << 30)
    assert (tmp_path / "cpu/pileus/i-1/cpu.cfs_quota_us").read_text() == "225000"
    assert (tmp_path / "cpu/pileus/i-1/cpu.shares").read_text() == "2048"
    assert (tmp_path / "cpu/pileus/cpu.shares").read_text() == str(1024 * (os.cpu_count() or 1))
    assert (tmp_path / "pids/pileus/i-1/pids.max").read_text() == "130"
    assert (tmp_path / "pids/pileus/i-1/cgroup.procs").read_text() == "4711"


def test_limits_on_v2(tmp_path: Path) -> None:
    cgroups = Cgroups(line(tmp_path, "cgroup2", "rw"))
    assert cgroups.missing == ()
    cgroups.enter("i-1", 4711, LIMITS)
    directory = tmp_path / "pileus/i-1"
    assert cgroups.directories("i-1") == (directory,)
    assert (directory / "memory.max").read_text() == str(1 << 30)
    assert (directory / "cpu.max").read_text() == "225000 100000"
    assert (directory / "cpu.weight").read_text() == "200"
    assert (tmp_path / "pileus/cpu.weight").read_text() == str(100 * (os.cpu_count() or 1))
    assert (directory / "pids.max").read_text() == "130"
    assert (directory / "cgroup.procs").read_text() == "4711"


def test_a_machine_without_cgroups_says_so_and_still_works(caplog: pytest.LogCaptureFixture) -> None:
    cgroups = Cgroups("")
    assert cgroups.missing == ("memory", "cpu", "pids")
    assert "guests are not limited" in caplog.text
    cgroups.enter("i-1", 4711, LIMITS)
    assert cgroups.directories("i-1") == ()


async def test_what_is_not_empty_is_not_removed(tmp_path: Path) -> None:
    cgroups = Cgroups(line(tmp_path, "cgroup2", "rw"))
    await cgroups.remove("i-1")  # there is none
    cgroups.enter("i-1", 4711, LIMITS)
    with pytest.raises((OSError, RetryableError)):
        await cgroups.remove("i-1")
