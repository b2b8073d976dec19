"""The hypervisor family: runs guests, and finds them again after the agent was gone. Called by ``pileus.agent``."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from pileus.hostapi.observation import Cause
from pileus.hostapi.spec import GuestSpec, NicSpec


class DiskLayer(msgspec.Struct, frozen=True, kw_only=True):
    """One layer of a disk's chain. Only the top one is written to by the guest.

    A layer that is ``writable`` or ``mergeable`` is locked (flock, exclusive) for as long as a guest's process has it
    open, whatever becomes of the agent: mark all layers of a volume's own so, and no two guests ever have one volume.
    Each file is opened by the caller of QEMU and handed over, so that its mode and directory may be root's alone.

    Attributes:
        path: the file; for ``nbd`` the unix socket of a server, which may be gone for a while and come back. The
            guest's process is handed the socket's directory and looks up the name in it whenever it connects anew. It
            runs as a user of its own, so the socket must be writable for everyone (0666) and the directory passable for
            everyone (0711); a directory above it that is root's alone (0700) keeps everybody else out. Whatever else
            lies in that directory is open to the guest's process: one directory for each volume or source, and the same
            one for as long as a guest has it.
        format: ``nbd`` is a read-only (or, alone, a writable) export named ``export``.
        writable: the guest writes here.
        mergeable: the volume's own layer: a frozen layer above may be merged into it while the guest runs, so it must
            be possible to open it for writing.
        key: the 32 bytes that open an encrypted layer (qcow2 with LUKS inside; raw: a LUKS container), None for plain
            ones. The LUKS passphrase is their 64 lower-case hexadecimal digits, see ``passphrase``.
    """

    path: Path
    format: Literal["qcow2", "raw", "nbd"]
    writable: bool
    mergeable: bool = False
    key: bytes | None = None
    export: str = ""

    def __repr__(self) -> str:
        """Without the key: this may be logged."""
        return f"DiskLayer({str(self.path)!r}, {self.format!r}, {self.export!r}, writable={self.writable})"


def passphrase(key: bytes) -> str:
    """What opens a LUKS layer under this data key: QEMU takes only text."""
    return key.hex()


class Disk(msgspec.Struct, frozen=True, kw_only=True):
    """A volume as the hypervisor attaches it. ``layers`` top first; ``serial`` at most 20 characters.

    ``volume_id`` begins with a letter, and has letters, digits, ``-`` and ``_``. ``size`` is in bytes (None: as the top
    layer says; a top layer that is smaller grows, one that is larger stays); ``iops`` (operations of any size a second)
    and ``throughput`` (bytes a second) limit the guest; None: without limit.
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
    ``volumes``: those that its process holds, also while they are being unplugged; none while it is off. ``interfaces``:
    the same of those.
    """

    instance_id: str
    boot: int
    reset: int
    running: bool
    impaired: bool = False
    cause: Cause = ""
    volumes: tuple[str, ...] = ()
    interfaces: tuple[str, ...] = ()


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

    # Disks of running guests. For a guest that is off these do nothing: ``ensure_running`` is given its disks. A volume
    # that a guest doesn't have is left alone, too, where nothing else is said. A guest of QEMU has 28 slots for disks
    # and network interfaces together (as a Nitro instance has); what is above that is refused with RetryableError.

    async def plug(self, instance_id: str, disk: Disk) -> None:
        """Adds a disk, or gives one that is there its size and limits. Done when the guest's hardware has it.

        The layers of one that is there need not be named.

        Raises:
            RetryableError: the guest is still unplugging it, or QEMU refused; nothing is half plugged.
        """
        ...

    async def unplug(self, instance_id: str, volume_id: str, *, force: bool = False) -> None:
        """Asks the guest to let a disk go; returns at once, ``observe`` shows when it is gone. Harmless to repeat.

        The driver asks again every few seconds until the guest has answered; once asked, a disk always goes.

        ``force``: the data is cut off at once, whatever the guest does: its further reads and writes fail, and when this
        returns its process has none of the volume's files any more. ``observe`` doesn't list the volume then, although
        the guest may still see a disk that is dead, and until it lets go of that can't have the volume again.
        """
        ...

    # Interfaces of running guests, by the same rules.

    async def plug_nic(self, instance_id: str, nic: NicSpec, tap: int) -> None:
        """Adds an interface on an open tap (the caller closes it). Done when the guest's hardware has it.

        Raises:
            RetryableError: the guest is still unplugging it, or QEMU refused; nothing is half plugged.
        """
        ...

    async def unplug_nic(self, instance_id: str, interface_id: str, *, force: bool = False) -> None:
        """Asks the guest to let an interface go, as ``unplug``. ``force``: its link is cut at once, whatever the guest does,
        and its process has the tap no more when this returns.
        """
        ...

    async def freeze(self, instance_id: str, tops: Mapping[str, DiskLayer]) -> None:
        """Puts a fresh top layer over each of the volumes, all at one instant; what lay on top is frozen by that.

        ``tops``: volume id → an empty qcow2 file of the same size, made for this, whose recorded backing file is the
        present top. Repeating it with layers that are on top already changes nothing.

        A frozen layer is complete in its file (it may be read with ``qemu-img -U``, beside the guest) and never changes.

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
            PermanentError: it is the top layer, or below it is nothing to merge into.
        """
        ...

    async def swap_base(self, instance_id: str, volume_id: str, base: DiskLayer) -> None:
        """Exchanges the lowest layer for another of the same content (a server for a file that is complete now).

        The guest runs on and notices nothing. A server that is exchanged must go on until this returns: requests that
        it has are finished first, and QEMU waits for them. What the layer above has recorded as its backing file is left
        as it is: let that name the complete file from the beginning.

        Raises:
            RetryableError: QEMU refused; the old base is still there. PermanentError: the volume has no base.
        """
        ...

    async def console_output(self, instance_id: str) -> bytes:
        """The last 64 KiB of the serial console, over all boots; b"" when there was none."""
        ...

    async def screenshot(self, instance_id: str) -> bytes:
        """The screen as PNG. Raises PermanentError when the guest is not running."""
        ...


class Exports(Protocol):
    """Volumes that several guests have at once: a process of its own holds each one's layers and serves it to the guests.

    All calls are idempotent, keyed by volume id, and safe to kill at any instruction. The processes outlive the agent.
    """

    async def open(self) -> None:
        """Finds what is served already."""
        ...

    async def close(self) -> None:
        """Lets go of the processes without touching them."""
        ...

    async def ensure(self, disk: Disk) -> DiskLayer:
        """Serves the volume, with this size and these limits; returns the one layer that each of its guests gets.

        Raises:
            PermanentError: a file is missing or damaged, or a key is wrong. RetryableError: anything else.
        """
        ...

    async def freeze(self, volume_id: str, top: DiskLayer) -> None:
        """As ``Hypervisor.freeze``. A volume that is not served is left alone."""
        ...

    async def merge(self, volume_id: str, layer: Path) -> None:
        """As ``Hypervisor.merge``. A volume that is not served is left alone."""
        ...

    async def swap_base(self, volume_id: str, base: DiskLayer) -> None:
        """As ``Hypervisor.swap_base``. A volume that is not served is left alone."""
        ...

    async def stop(self, volume_id: str) -> None:
        """Ends the process once everything is written back. No guest may have the volume any more."""
        ...

    async def observe(self) -> Sequence[str]:
        """The volumes that are served now."""
        ...
