"""Kernel modules and the small initrd which all images share. Called by the recipes.

Debian's cloud kernel has ext4 and NVMe built in, but all of virtio in modules. An initrd of busybox and those modules
does all that must happen before the root file system is there; a distribution's own is ten times its size and costs
an emulated guest seconds.
"""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from pileus.base import process

FILES = Path(__file__).parent / "files"
META_PACKAGE = "linux-image-cloud-amd64"

# What every guest needs to find its disk and its network.
BOOT_MODULES = ("virtio_pci", "virtio_blk", "virtio_net")

# Both consoles show the boot, /dev/console is the serial one; interfaces keep the names eth0, eth1, …; the time stamp
# counter is not measured against other clocks, and the kernel's ciphers not against test vectors: both take an
# emulated guest half a second. Nor is the timer tried out: on a busy host an emulated one misses ticks, and the kernel
# panics ("IO-APIC + timer doesn't work"). Under KVM it knows that by itself. After a panic, which may come before the host
# can see it, it boots again.
CMDLINE = "console=tty0 console=ttyS0,115200 net.ifnames=0 tsc=reliable no_timer_check cryptomgr.notests panic=5"


def image_package(meta_depends: str) -> str:
    """The package with the kernel itself, from the ``Depends`` of the meta package."""
    found = re.search(r"linux-image-[0-9][\w.+-]*", meta_depends)
    if not found:
        raise ValueError(f"{META_PACKAGE} depends on no kernel: {meta_depends}")
    return found.group(0)


class Kernel:
    """The one kernel in an unpacked tree. ``busybox`` is the program that works on it, and goes into the initrd."""

    def __init__(self, tree: Path, busybox: Path) -> None:
        self._tree = tree
        self._busybox = busybox
        (modules,) = (tree / "lib/modules").iterdir()
        self.release = modules.name
        self.image = tree / f"boot/vmlinuz-{self.release}"

    def modules(self, names: Sequence[str]) -> list[Path]:
        """The modules' files, relative to the tree, each after those it depends on."""
        directory = Path("lib/modules", self.release)
        index = self._tree / directory / "modules.dep"
        if not index.exists():
            process.run_sync(str(self._busybox), "depmod", "-b", str(self._tree), self.release)
        needs: dict[str, list[str]] = {}
        for line in index.read_text().splitlines():
            file, _, dependencies = line.partition(":")
            needs[file] = dependencies.split()
        by_name = {Path(file).stem.replace("-", "_"): file for file in needs}
        ordered: dict[Path, None] = {}
        for name in names:
            file = by_name[name]
            # modules.dep names first what must be loaded last.
            ordered.update((directory / wanted, None) for wanted in [*reversed(needs[file]), file])
        return list(ordered)

    def install_modules(self, names: Sequence[str], root: Path) -> None:
        """Copies modules and what they depend on into a guest's tree, where ``modprobe`` finds them."""
        for module in self.modules(names):
            target = root / module
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(self._tree / module, target)
        process.run_sync(str(self._busybox), "depmod", "-b", str(root), self.release)

    def write_initrd(self, scratch: Path, target: Path) -> None:
        """Writes the initrd: ``files/initrd/init``, busybox and the boot modules, numbered in the order of loading.

        It is not compressed: unpacking costs an emulated guest more than reading.
        """
        for directory in ("bin", "dev", "modules", "proc", "root", "sys"):
            (scratch / directory).mkdir(parents=True)
        shutil.copy(FILES / "initrd/init", scratch / "init")
        (scratch / "init").chmod(0o755)
        shutil.copy(self._busybox, scratch / "bin/busybox")
        (scratch / "bin/sh").symlink_to("busybox")
        for number, module in enumerate(self.modules(BOOT_MODULES)):
            shutil.copy(self._tree / module, scratch / f"modules/{number:02}-{module.name}")
        names = "".join(f"{path.relative_to(scratch)}\n" for path in sorted(scratch.rglob("*")))
        archive = process.run_sync(
            str(self._busybox), "cpio", "-o", "-H", "newc", "-R", "0:0", stdin=names.encode(), cwd=scratch
        )
        target.write_bytes(archive)
