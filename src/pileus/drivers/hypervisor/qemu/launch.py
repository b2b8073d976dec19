"""From a spec to a running QEMU process: everything it needs is opened here and inherited by it. Called by ``guest``."""

import contextlib
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from pileus.base.clock import Clock
from pileus.drivers.errors import PermanentError, RetryableError
from pileus.drivers.hypervisor.interface import BootFiles, Disk
from pileus.drivers.hypervisor.qemu import command, confinement
from pileus.drivers.hypervisor.qemu.cgroup import Cgroups, Limits
from pileus.drivers.hypervisor.qemu.home import Home
from pileus.drivers.hypervisor.qemu.layers import open_disk
from pileus.drivers.hypervisor.qemu.process import GuestProcess
from pileus.hostapi.spec import GuestSpec

# On top of the guest's memory: QEMU itself, its translated code, the page tables; measured 190 MiB under TCG, and a
# guest that runs into the limit is killed by the kernel.
_OVERHEAD = (256 + command.TRANSLATION_CACHE) << 20
_OVERHEAD_CPUS = 0.25  # for what QEMU does beside running the guest's processors
_OVERHEAD_TASKS = 128  # QEMU's block layer alone uses up to 64 threads


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """What all guests of a driver share. ``binary`` is QEMU; times are in seconds."""

    accelerator: str
    binary: str
    cgroups: Cgroups
    clock: Clock
    host_boot: str
    reset_limit: float
    monitor_limit: float
    start_limit: float


def launch(
    machine: Machine,
    home: Home,
    uid: int,
    guest: GuestSpec,
    boot_files: BootFiles,
    disks: Sequence[Disk],
    taps: Mapping[str, int],
) -> GuestProcess:
    """Starts the guest's QEMU, confined, with its processors stopped. What was opened for it is closed here again.

    Raises:
        PermanentError: a file is missing, or a kernel is not for everyone to read.
        RetryableError: anything else; nothing was started.
    """
    with contextlib.ExitStack() as opened:

        def keep(descriptor: int) -> int:
            opened.callback(os.close, descriptor)
            return descriptor

        try:
            lock = keep(home.take_lock())
            listener = opened.enter_context(home.listen())
            descriptors = command.Descriptors(
                monitor=listener.fileno(),
                kernel=None if boot_files.kernel is None else keep(_open_public(boot_files.kernel)),
                initrd=None if boot_files.initrd is None else keep(_open_public(boot_files.initrd)),
                disks=tuple(open_disk(disk, opened, keys=True) for disk in disks),
                taps=tuple(taps[nic.interface_id] for nic in command.in_order(guest.nics)),
            )
            argv = (
                *confinement.confined(uid, machine.accelerator),
                machine.binary,
                *confinement.SANDBOX,
                *command.command_line(
                    accelerator=machine.accelerator,
                    guest=guest,
                    cmdline=" ".join(part for part in (boot_files.cmdline, guest.cmdline) if part),
                    disks=disks,
                    descriptors=descriptors,
                ),
            )
            return GuestProcess.start(argv, (lock, *descriptors.all()))
        except BlockingIOError as error:
            raise RetryableError(f"{guest.instance_id}: another process has it or its disk: {error}") from error
        except FileNotFoundError as error:
            raise PermanentError(f"{guest.instance_id} can't start: {error}") from error
        except OSError as error:
            raise RetryableError(f"{guest.instance_id} can't start: {error}") from error


def limits_of(guest: GuestSpec) -> Limits:
    """What the guest's QEMU may use of the host: what was asked for, and QEMU's own need."""
    return Limits(
        memory=(guest.memory << 20) + _OVERHEAD,
        cpus=guest.vcpus + _OVERHEAD_CPUS,
        tasks=guest.vcpus + _OVERHEAD_TASKS,
        weight=guest.vcpus,
    )


def _open_public(path: Path) -> int:
    """Opens a kernel or initrd. QEMU opens it anew through ``/dev/fd``, as its own user, who must be allowed to."""
    descriptor = os.open(path, os.O_RDONLY)
    if not os.fstat(descriptor).st_mode & stat.S_IROTH:
        os.close(descriptor)
        raise PermanentError(f"{path} must be readable by everyone")
    return descriptor
