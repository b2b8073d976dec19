"""The QEMU command line of a guest, as a function of what it is given. Called by ``launch``; touches nothing.

QEMU opens no file of ours by name: disks, taps, kernel and the monitor's socket are inherited descriptors, so that its
unprivileged user needs no right to any path.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from pileus.drivers.hypervisor.interface import Disk
from pileus.drivers.hypervisor.qemu import nics, nodes
from pileus.drivers.hypervisor.qemu.layers import OpenLayer
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

    ``monitor`` is a listening unix socket; ``disks`` has the open layers of each disk; ``taps`` one number for each
    interface of the guest, ``in_order``.
    """

    monitor: int
    kernel: int | None = None
    initrd: int | None = None
    disks: tuple[tuple[OpenLayer, ...], ...] = ()
    taps: tuple[int, ...] = ()

    def all(self) -> tuple[int, ...]:
        """Every descriptor here."""
        single = (self.monitor, self.kernel, self.initrd)
        layers = (number for disk in self.disks for layer in disk for number in layer.descriptors())
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
        *(word for nic, fd in zip(in_order(guest.nics), descriptors.taps, strict=True) for word in _nic(nic, fd)),
        *(word for disk, layers in zip(disks, descriptors.disks, strict=True) for word in _disk(disk, layers)),
    ]


def in_order(nics_: Sequence[NicSpec]) -> Sequence[NicSpec]:
    """The interfaces by device index: guests number them as they find them on the bus."""
    return sorted(nics_, key=lambda nic: nic.index)


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
    return ["-netdev", f"tap,id={nics.backend(nic.interface_id)},fd={fd}", "-device", _json(nics.device(nic))]


def _disk(disk: Disk, layers: Sequence[OpenLayer]) -> list[str]:
    """The layers as block nodes, bottom first, and the device over them: see ``nodes``."""
    words: list[str] = []
    below: str | None = None
    for layer in reversed(layers):
        words += _layer(layer, below)
        below = layer.node
    assert below is not None
    boot = {"bootindex": 1} if disk.index == 0 else {}
    return [
        *words,
        *("-object", _json(nodes.group(disk))),
        *("-blockdev", _json(nodes.throttle(disk.volume_id, below))),
        *("-device", _json({**nodes.device(disk), **boot})),
    ]


def _layer(opened: OpenLayer, below: str | None) -> list[str]:
    node, layer = opened.node, opened.layer
    if opened.directory is not None:
        return ["-blockdev", _json(nodes.server(node, layer, opened.directory))]
    words: list[str] = []
    for descriptor in (opened.reader, opened.writer):
        if descriptor is not None:
            opaque = nodes.label(node, layer.path).replace(",", ",,")
            words += ["-add-fd", f"fd={descriptor},set={opened.reader},opaque={opaque}"]
    if opened.key is not None:
        key = {"qom-type": "secret", "id": nodes.secret(node), "file": f"/dev/fd/{opened.key}"}
        words += ["-object", _json(key)]
    assert opened.reader is not None
    file = nodes.file(node, opened.reader, writable=opened.writer is not None)
    encrypted = layer.key is not None
    data = nodes.contents(node, layer.format, below, encrypted=encrypted, read_only=not layer.writable)
    return [*words, "-blockdev", _json(file), "-blockdev", _json(data)]


def _device(driver: str, **properties: Any) -> list[str]:
    return ["-device", _json({"driver": driver, **properties})]


def _json(value: Mapping[str, Any]) -> str:
    return msgspec.json.encode(value).decode()
