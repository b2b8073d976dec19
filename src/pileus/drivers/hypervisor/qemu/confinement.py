"""What a guest's QEMU may not do: whoever breaks out of the guest into it finds a process that has nothing.

Its own user, no capability, no way to gain one, no program to start, no file but those it was handed. Called by
``launch`` and ``accelerator``.
"""

from collections.abc import Collection
from pathlib import Path

from pileus.drivers.errors import RetryableError

DEFAULT_UIDS = range(1_900_000_000, 1_900_065_536)
"""Above the ranges that distributions and systemd give to users, services and containers."""

EXPORT_UIDS = range(1_900_065_536, 1_900_131_072)
"""The same for processes that serve a volume to several guests."""

SANDBOX = ("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny")
"""QEMU's own system call filter."""

KVM = Path("/dev/kvm")


def kvm_refusal() -> str | None:
    """Why a confined guest can't open ``/dev/kvm``; None when it can."""
    try:
        device = KVM.stat()
    except FileNotFoundError:
        return "there is no /dev/kvm"
    by_group = device.st_mode & 0o060 == 0o060 and device.st_gid != 0
    if by_group or device.st_mode & 0o006 == 0o006:
        return None
    return "guests may not open /dev/kvm; give it to a group: chgrp kvm /dev/kvm && chmod 660 /dev/kvm"


def confined(uid: int, accelerator: str) -> tuple[str, ...]:
    """The words before QEMU's name that give up everything: ``setpriv`` and ``prlimit`` (package util-linux).

    With KVM the group that owns ``/dev/kvm`` is kept, since QEMU opens the device itself; the group root never is.
    """
    group = KVM.stat().st_gid if accelerator == "kvm" else 0
    groups = f"--groups={group}" if group else "--clear-groups"
    return (
        *("setpriv", f"--reuid={uid}", f"--regid={uid}", groups),
        *("--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"),
        *("prlimit", "--core=0", "--"),
    )


def free_uid(uids: range, used: Collection[int]) -> int:
    """The lowest uid that no guest has. Raises RetryableError when all are taken."""
    for uid in uids:
        if uid not in used:
            return uid
    raise RetryableError(f"all {len(uids)} guest user ids are taken")
