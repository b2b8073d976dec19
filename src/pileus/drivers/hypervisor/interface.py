"""The hypervisor family: runs guests, and finds them again after the agent was gone. Called by ``pileus.agent``."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from pileus.hostapi.observation import Cause
from pileus.hostapi.spec import GuestSpec


class DiskLayer(msgspec.Struct, frozen=True, kw_only=True):
    """One layer of a disk's chain. Only the top one is written to by the guest.

    Attributes:
        path: the file; for ``nbd`` the unix socket of a server, which may be gone for a while and come back.
        format: ``nbd`` is a read-only (or, alone, a writable) export named ``export``.
        writable: the guest writes here.
        mergeable: the volume's own layer: a frozen layer above may be merged into it while the guest runs, so it must
            be possible to open it for writing.
        key: the 32 bytes that open an encrypted qcow2 layer (LUKS), None for plain ones.
    """

    path: Path
    format: Literal["qcow2", "raw", "nbd"]
    writable: bool
    mergeable: bool = False
    key: bytes | None = None
    export: str = ""


class Disk(msgspec.Struct, frozen=True, kw_only=True):
    """A volume as the hypervisor attaches it. ``layers`` top first; ``serial`` at most 20 characters.

    ``size`` is in bytes (None: as the top layer says); ``iops`` and ``throughput`` (bytes a second) limit the guest.
    """

    volume_id: str
    index: int
    serial: str
    layers: tuple[DiskLayer, ...]
    size: int | None = None
    iops: int | None = None
    throughput: int | None = None


class BootFiles(msgspec.Struct, frozen=True, kw_only=True):
    """How an image boots: directly into ``kernel`` (with ``initrd`` and ``cmdline``), or by firmware when it is None."""

    kernel: Path | None = None
    initrd: Path | None = None
    cmdline: str = ""


class GuestState(msgspec.Struct, frozen=True, kw_only=True):
    """What is so of one guest that was started here and not removed.

    ``running``: its process exists. ``impaired``: it exists, but the guest panicked or the monitor is silent.
    ``cause``: why it is off. ``boot`` and ``reset``: those of the spec it was last started or reset with.
    ``volumes``: those that its process holds, also while they are being unplugged; none while it is off.
    """

    instance_id: str
    boot: int
    reset: int
    running: bool
    impaired: bool = False
    cause: Cause = ""
    volumes: tuple[str, ...] = ()


class Hypervisor(Protocol):
    """All calls are idempotent, keyed by instance id, and safe to cancel or kill at any instruction.

    A guest-initiated reboot is honoured inside the driver (the guest comes up again in the same boot).
    A guest-initiated shutdown turns the guest off with cause ``guest-shutdown``; what follows is decided above.
    Raises the errors of ``pileus.drivers.errors``.
    """

    accelerator: str

    async def open(self, on_change: Callable[[str], None]) -> None:
        """Finds the guests that run already and starts to watch them; ``on_change(instance_id)`` says: observe again."""
        ...

    async def close(self) -> None:
        """Lets go of the guests without touching them: they run on."""
        ...

    async def ensure_running(
        self, guest: GuestSpec, boot_files: BootFiles, disks: Sequence[Disk], taps: Mapping[str, int]
    ) -> None:
        """Starts the guest unless it runs at this boot. ``taps``: interface id → open tap fd (the caller closes it)."""
        ...

    async def reset(self, instance_id: str, reset: int) -> None:
        """RebootInstances: asks the guest to reboot; after four minutes without an answer resets it hard, as EC2 does.

        Returns at once; ``observe`` shows the number when it is done. A guest that is off stays off.
        """
        ...

    async def press_power_button(self, instance_id: str) -> None:
        """ACPI power button. Returns at once; ``observe`` tells when the guest is off (cause ``asked``)."""
        ...

    async def cut_power(self, instance_id: str) -> None:
        """Ends the process and waits until it is gone. The guest keeps its console and its state (cause ``asked``)."""
        ...

    async def remove(self, instance_id: str) -> None:
        """Cuts the power and removes everything kept for the guest: directory, cgroup, uid."""
        ...

    async def observe(self) -> Sequence[GuestState]:
        """Every guest known here, running or off."""
        ...

    # Disks of running guests. For a guest that is off these do nothing: ``ensure_running`` is given its disks.

    async def plug(self, instance_id: str, disk: Disk) -> None:
        """Adds a disk, or gives one that is there its size and limits. Done when the guest's hardware has it.

        Raises:
            RetryableError: the guest is still unplugging it, or QEMU refused; nothing is half plugged.
        """
        ...

    async def unplug(self, instance_id: str, volume_id: str, *, force: bool = False) -> None:
        """Asks the guest to let a disk go; returns at once, ``observe`` shows when it is gone. Harmless to repeat.

        ``force``: the data is cut off at once, whatever the guest does: its further reads and writes fail.
        """
        ...

    async def freeze(self, instance_id: str, tops: Mapping[str, DiskLayer]) -> None:
        """Puts a fresh top layer over each of the volumes, all at one instant; what lay on top is frozen by that.

        ``tops``: volume id → an empty qcow2 file of the same size, made for this, whose recorded backing file is the
        present top. Repeating it with layers that are on top already changes nothing.

        Raises:
            RetryableError: none of them was frozen. PermanentError: a volume is not in this guest.
        """
        ...

    async def merge(self, instance_id: str, volume_id: str, layer: Path) -> None:
        """Merges a frozen layer of a running guest into the one below, and waits until it is out of the chain.

        The layer above then has the one below recorded as its backing file. The file itself is left to the caller. A
        layer that is not in the chain (any more) changes nothing. Safe to kill: the chain is whole at every moment.

        Raises:
            RetryableError: the guest went off meanwhile, or QEMU refused; merging it again finishes it.
        """
        ...

    async def swap_base(self, instance_id: str, volume_id: str, base: DiskLayer) -> None:
        """Exchanges the lowest layer for another of the same content (a server for a file that is complete now)."""
        ...

    async def console_output(self, instance_id: str) -> bytes:
        """The last 64 KiB of the serial console, over all boots; b"" when there was none."""
        ...

    async def screenshot(self, instance_id: str) -> bytes:
        """The screen as PNG. Raises PermanentError when the guest is not running."""
        ...
