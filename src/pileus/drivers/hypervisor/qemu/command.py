"""The QEMU command line of a guest, as a function of what it is given. Called by ``launch``; touches nothing.

QEMU opens no file of ours by name: disks, taps, kernel and the monitor's socket are inherited descriptors, so that its
unprivileged user needs no right to any path.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from pileus.drivers.hypervisor.interface import Disk, DiskLayer
from pileus.hostapi.spec import GuestSpec, NicSpec

CONSOLE_DEVICE = "console"
CONSOLE_LIMIT = 64 * 1024

TRANSLATION_CACHE = 128
"""MiB of translated code that TCG keeps. QEMU's default takes 650 MiB for a guest of 512; this takes 400, no slower."""

_ACCELERATORS = {
    "kvm": ("-accel", "kvm", "-cpu", "host"),
    "tcg": ("-accel", f"tcg,thread=multi,tb-size={TRANSLATION_CACHE}", "-cpu", "max"),
}

# What the guest's firmware tables say, as on EC2. cloud-init and systemd recognise the platform by it.
_VENDOR = "Amazon EC2"


class Descriptors(msgspec.Struct, frozen=True, kw_only=True):
    """Open files that QEMU inherits, under the numbers that it sees.

    ``monitor`` is a listening unix socket; ``disks`` has one number for each layer of each disk; ``taps`` one for each
    interface of the guest, in its order.
    """

    monitor: int
    kernel: int | None = None
    initrd: int | None = None
    disks: tuple[tuple[int, ...], ...] = ()
    taps: tuple[int, ...] = ()

    def all(self) -> tuple[int, ...]:
        """Every descriptor here."""
        single = (self.monitor, self.kernel, self.initrd)
        layers = (number for disk in self.disks for number in disk)
        return (*(number for number in single if number is not None), *layers, *self.taps)


def machine(accelerator: str) -> list[str]:
    """The bare machine, without a device. The accelerator's probe boots exactly this.

    Guests can't suspend: nothing would wake them.
    """
    return [
        *("-nodefaults", "-no-user-config", "-display", "none"),
        *("-machine", "pc,usb=off,vmport=off,dump-guest-core=off"),
        *_ACCELERATORS[accelerator],
        *("-global", "PIIX4_PM.disable_s3=1", "-global", "PIIX4_PM.disable_s4=1"),
    ]


def command_line(
    *, accelerator: str, guest: GuestSpec, cmdline: str, disks: Sequence[Disk], descriptors: Descriptors
) -> list[str]:
    """QEMU's arguments (without the program). ``cmdline`` is the kernel's; unused when firmware boots the disk.

    The guest is created stopped (``-S``): it runs once it is on record. It is kept, paused, after a shutdown or a panic,
    so that the reason can still be asked for when nobody listened at that moment.
    """
    return [
        *machine(accelerator),
        *("-S", "-name", f"guest={guest.instance_id}"),
        *("-smp", f"{guest.vcpus},sockets=1,cores={guest.vcpus},threads=1", "-m", f"size={guest.memory}M"),
        *("-action", "reboot=reset,shutdown=pause,panic=pause", "-rtc", "base=utc", "-boot", "strict=on"),
        *_firmware_tables(guest),
        *(
            "-chardev",
            f"socket,id=monitor,fd={descriptors.monitor},server=on,wait=off",
            "-mon",
            "chardev=monitor,mode=control",
        ),
        *("-chardev", f"ringbuf,id={CONSOLE_DEVICE},size={CONSOLE_LIMIT}", "-serial", f"chardev:{CONSOLE_DEVICE}"),
        *_device("VGA", id="screen", vgamem_mb=4),
        *("-device", "pvpanic"),
        *("-object", "rng-builtin,id=random", *_device("virtio-rng-pci", id="rng", rng="random")),
        *_kernel(descriptors, cmdline),
        *(word for nic, fd in zip(guest.nics, descriptors.taps, strict=True) for word in _nic(nic, fd)),
        *(word for disk, fds in zip(disks, descriptors.disks, strict=True) for word in _disk(disk, fds)),
    ]


def _firmware_tables(guest: GuestSpec) -> list[str]:
    system = f"manufacturer={_VENDOR},product={guest.metadata.instance_type},serial={guest.uuid},uuid={guest.uuid}"
    return [
        *("-smbios", f"type=0,vendor={_VENDOR}"),
        *("-smbios", f"type=1,{system}"),
        *("-smbios", f"type=2,manufacturer={_VENDOR},asset={guest.instance_id}"),
        *("-smbios", f"type=3,manufacturer={_VENDOR},asset={_VENDOR}"),
    ]


def _kernel(descriptors: Descriptors, cmdline: str) -> list[str]:
    if descriptors.kernel is None:
        return []
    words = ["-kernel", f"/dev/fd/{descriptors.kernel}", "-append", cmdline]
    if descriptors.initrd is not None:
        words += ["-initrd", f"/dev/fd/{descriptors.initrd}"]
    return words


def _nic(nic: NicSpec, fd: int) -> list[str]:
    name = f"nic{nic.index}"
    # Without an option ROM: nobody boots from the network, and it costs the firmware time.
    device = _device("virtio-net-pci", id=name, netdev=f"{name}-tap", mac=nic.mac, romfile="")
    return ["-netdev", f"tap,id={name}-tap,fd={fd}", *device]


def _disk(disk: Disk, fds: Sequence[int]) -> list[str]:
    """The layers as block nodes, bottom first, and the device over them. Node names are ``disk<index>-<layer>``."""
    name = f"disk{disk.index}"
    words: list[str] = []
    for depth, (layer, fd) in reversed(list(enumerate(zip(disk.layers, fds, strict=True)))):
        below = f"{name}-{depth + 1}" if depth + 1 < len(disk.layers) else None
        words += _layer(f"{name}-{depth}", layer, fd, below)
    boot: dict[str, Any] = {"bootindex": 1} if disk.index == 0 else {}
    return [*words, *_device("virtio-blk-pci", id=name, drive=f"{name}-0", serial=disk.serial, **boot)]


def _layer(node: str, layer: DiskLayer, fd: int, below: str | None) -> list[str]:
    # QEMU's own locks are off because it would hold those of a layer frozen by a snapshot for ever: we lock the
    # descriptor that it inherits instead (see ``launch``).
    common: dict[str, Any] = {"read-only": not layer.writable, "discard": "unmap"}
    file = {"driver": "file", "node-name": f"{node}-file", "filename": f"/dev/fdset/{fd}", "locking": "off", **common}
    data = {"driver": layer.format, "node-name": node, "file": f"{node}-file", **common}
    if layer.format == "qcow2":
        data["backing"] = below
    return ["-add-fd", f"fd={fd},set={fd}", "-blockdev", _json(file), "-blockdev", _json(data)]


def _device(driver: str, **properties: Any) -> list[str]:
    return ["-device", _json({"driver": driver, **properties})]


def _json(value: dict[str, Any]) -> str:
    return msgspec.json.encode(value).decode()
