"""The ``tiny`` image: a kernel, busybox, dropbear and sudo. Boots in seconds even when emulated; for tests and rescue.

Its file system lies on the disk without partitions. What happens at boot is in ``files/tiny/usr/lib/tiny``.
"""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from pileus.base import process
from pileus.drivers.image.build import disk
from pileus.drivers.image.build.kernel import CMDLINE, META_PACKAGE, Kernel, image_package
from pileus.drivers.image.build.packages import Archive, Package
from pileus.drivers.image.build.recipe import HERE, Facts, Workspace, install_files

# No dependencies are followed: these packages have, together, every file that is copied below.
PACKAGES = (
    "busybox-static", "dropbear-bin", "openssh-sftp-server", "sudo", "e2fsprogs",
    "libc6", "libaudit1", "libcap-ng0", "libcom-err2", "libcrypt1", "libext2fs2", "libgmp10", "libpam0g",
    "libpam-modules", "libpcre2-8-0", "libselinux1", "libtomcrypt1", "libtommath1", "zlib1g",
)  # fmt: skip

# From the packages' trees to the guest's, which has all under /usr. The libraries they need follow by themselves.
PROGRAMS = {
    "bin/busybox": "usr/bin/busybox",
    "sbin/resize2fs": "usr/sbin/resize2fs",
    "usr/bin/dropbearkey": "usr/bin/dropbearkey",
    "usr/bin/sudo": "usr/bin/sudo",
    "usr/lib/openssh/sftp-server": "usr/lib/sftp-server",  # where dropbear looks for it
    "usr/libexec/sudo/sudoers.so": "usr/libexec/sudo/sudoers.so",
    "usr/sbin/dropbear": "usr/sbin/dropbear",
    "lib/x86_64-linux-gnu/security/pam_deny.so": "usr/lib/x86_64-linux-gnu/security/pam_deny.so",
    "lib/x86_64-linux-gnu/security/pam_permit.so": "usr/lib/x86_64-linux-gnu/security/pam_permit.so",
}
LOADER = "lib64/ld-linux-x86-64.so.2"
LIBRARY_PATH = ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu", "usr/libexec/sudo")

# Beyond those of the initrd: the power button, panics that the host sees, entropy, other file systems for rescue.
MODULES = ("button", "evdev", "pvpanic_mmio", "pvpanic_pci", "virtio_rng", "isofs", "vfat", "nls_ascii", "xfs")

MODES = {
    "etc/shadow": 0o600,
    "etc/sudoers": 0o440,
    "root": 0o700,
    "tmp": 0o1777,
    "usr/bin/sudo": 0o4755,
}


class Tiny:
    """See the module."""

    facts = Facts(
        family="tiny",
        prefix="pileus-tiny",
        description="Pileus tiny: busybox, dropbear and a metadata client; boots in seconds",
        user="ec2-user",
        ssm_path="/aws/service/pileus/tiny/latest/amd64",
        codename="bookworm",
        size=1024 * disk.MIB,
        cmdline=f"root=/dev/vda {CMDLINE}",
        min_memory=96,
        sources=("tiny.py", "files/tiny", "files/shared"),
    )

    def packages(self, archive: Archive) -> tuple[Package, ...]:
        (meta,) = archive.candidates([META_PACKAGE])
        return archive.candidates([image_package(meta.depends), *PACKAGES])

    def make(self, packages: Sequence[Package], archive: Archive, work: Workspace) -> None:
        work.progress("unpacking")
        tree = work.scratch / "packages"
        for file in archive.fetch(packages):
            process.run_sync("dpkg-deb", "--extract", str(file), str(tree))
        kernel = Kernel(tree, tree / "bin/busybox")

        work.progress("assembling the userland")
        root = work.scratch / "root"
        _make_layout(root)
        _copy_programs(tree, root)
        kernel.install_modules(MODULES, root)
        _link_applets(root)
        install_files(HERE / "files/shared", root)
        install_files(HERE / "files/tiny", root)
        _set_modes(root)

        work.progress("writing disk, kernel and initrd")
        raw = work.scratch / "disk.raw"
        disk.write_ext4(root, raw, size=self.facts.size, label="tiny")
        disk.write_qcow2(raw, work.target / "disk.qcow2")
        shutil.copy(kernel.image, work.target / "kernel")
        kernel.write_initrd(work.scratch / "initrd", work.target / "initrd")


def _make_layout(root: Path) -> None:
    for directory in (
        "dev", "home/ec2-user", "mnt", "proc", "root", "run", "sys", "tmp", "usr/bin", "usr/sbin", "usr/lib", "usr/lib64",
        "usr/libexec", "etc/dropbear", "var/lib/tiny", "var/log",
    ):  # fmt: skip
        (root / directory).mkdir(parents=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")
    (root / "var/run").symlink_to("/run")
    (root / "etc/resolv.conf").symlink_to("/run/resolv.conf")


def _copy_programs(tree: Path, root: Path) -> None:
    needed: dict[Path, None] = {}
    for source, target in PROGRAMS.items():
        (root / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(tree / source, root / target)
        if source != "bin/busybox":  # it is static: processes start faster so
            needed.update(dict.fromkeys(_libraries(tree, tree / source)))
    libraries = root / "usr/lib/x86_64-linux-gnu"
    for library in needed:
        shutil.copy(library, libraries / library.name)
    shutil.copy(tree / LOADER, root / "usr/lib64")


def _libraries(tree: Path, program: Path) -> list[Path]:
    """The shared libraries that a program needs, as the loader in the tree finds them there."""
    path = ":".join(str(tree / directory) for directory in LIBRARY_PATH)
    listing = process.run_sync(str(tree / LOADER), "--library-path", path, "--list", str(program)).decode()
    found = [Path(name) for name in re.findall(r" => (/\S+)", listing)]
    if strangers := [str(library) for library in found if not library.is_relative_to(tree)]:
        raise ValueError(f"{program.name} needs {', '.join(strangers)}, which no package of the recipe has")
    return found


def _link_applets(root: Path) -> None:
    """Links for all of busybox's programs, where no real program has the name."""
    for name in process.run_sync(str(root / "usr/bin/busybox"), "--list-full").decode().split():
        link = root / "usr" / name.removeprefix("usr/")
        if "/" in name and not link.is_symlink() and not link.exists():
            # Relative: while the image is built, an absolute link leads to the host's own busybox.
            link.symlink_to(Path("busybox") if link.parent.name == "bin" else Path("../bin/busybox"))


def _set_modes(root: Path) -> None:
    for name, mode in MODES.items():
        (root / name).chmod(mode)
    home = root / "home/ec2-user"
    shutil.chown(home, 1000, 1000)
    home.chmod(0o755)
