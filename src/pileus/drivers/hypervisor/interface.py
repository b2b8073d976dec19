"""The hypervisor family: runs guests, and finds them again after the agent was gone. Called by ``pileus.agent``."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from pileus.hostapi.observation import Cause
from pileus.hostapi.spec import GuestSpec


class DiskLayer(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a disk's chain. Only the top layer may be writable."""

    path: Path
    format: Literal["qcow2", "raw"]
    writable: bool


class Disk(msgspec.Struct, frozen=True, kw_only=True):
    """A volume as the hypervisor attaches it. ``layers`` top first; ``serial`` at most 20 characters."""

    volume_id: str
    index: int
    serial: str
    layers: tuple[DiskLayer, ...]


class BootFiles(msgspec.Struct, frozen=True, kw_only=True):
    """How an image boots: directly into ``kernel`` (with ``initrd`` and ``cmdline``), or by firmware when it is None."""

    kernel: Path | None = None
    initrd: Path | None = None
    cmdline: str = ""


class GuestState(msgspec.Struct, frozen=True, kw_only=True):
    """What is so of one guest that was started here and not removed.

    ``running``: its process exists. ``impaired``: it exists, but the guest panicked or the monitor is silent.
    ``cause``: why it is off. ``boot`` and ``reset``: those of the spec it was last started or reset with.
    """

    instance_id: str
    boot: int
    reset: int
    running: bool
    impaired: bool = False
    cause: Cause = ""


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

    async def console_output(self, instance_id: str) -> bytes:
        """The last 64 KiB of the serial console, over all boots; b"" when there was none."""
        ...

    async def screenshot(self, instance_id: str) -> bytes:
        """The screen as PNG. Raises PermanentError when the guest is not running."""
        ...
