"""``pileus doctor``: what this machine has and lacks for running instances, one line each, with the way to get it."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at. ``remedy`` is empty when it is well."""

    what: str
    well: bool
    detail: str
    remedy: str = ""


PROGRAMS = (
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("qemu-img", "qemu-utils"),
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("conntrack", "conntrack"),
    ("dnsmasq", "dnsmasq-base"),
    ("setpriv", "util-linux"),
    ("unshare", "util-linux"),
    ("mmdebstrap", "mmdebstrap"),
    ("mke2fs", "e2fsprogs"),
    ("sfdisk", "fdisk"),
)
"""Programs that running instances and building images need, with Debian's packages."""

_DEVICES = (("/dev/net/tun", "load the kernel module tun"),)


def examine(data_dir: Path) -> Iterator[Finding]:
    """Everything but the accelerator, which ``probe`` finds out by booting something."""
    yield _root()
    for program, package in PROGRAMS:
        path = shutil.which(program)
        yield Finding(program, path is not None, path or "not found", "" if path else f"apt-get install {package}")
    for device, remedy in _DEVICES:
        there = Path(device).exists()
        yield Finding(device, there, "there" if there else "not there", "" if there else remedy)
    yield _cgroups()
    yield _space(data_dir)


def _root() -> Finding:
    well = os.geteuid() == 0
    return Finding("privileges", well, f"uid {os.geteuid()}", "" if well else "run as root, or with --simulate")


def _cgroups() -> Finding:
    root = Path("/sys/fs/cgroup")
    version = 2 if (root / "cgroup.controllers").exists() else 1 if (root / "memory").exists() else 0
    detail = {0: "not mounted", 1: "version 1", 2: "version 2"}[version]
    return Finding(
        "cgroups", version > 0, detail, "" if version else "mount cgroups: guests run without limits otherwise"
    )


def _space(data_dir: Path) -> Finding:
    there = next(path for path in (data_dir, *data_dir.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free >> 30
    return Finding(
        "disk", free >= 10, f"{free} GiB free at {there}", "" if free >= 10 else "free some space: volumes grow"
    )


def report(findings: Iterator[Finding], say: Callable[[str], None]) -> bool:
    """Says each finding in a line; True when all is well."""
    well = True
    for finding in findings:
        well = well and finding.well
        mark = "ok  " if finding.well else "MISS"
        say(f"{mark}  {finding.what:<20} {finding.detail}" + (f"  ->  {finding.remedy}" if finding.remedy else ""))
    return well
