"""The ``debian-12`` image: Debian with cloud-init, made by mmdebstrap, tuned so that an emulated guest starts soon.

A boot that is as Debian made it takes a minute when emulated. What makes the difference is in ``files/debian``: a small
service lets the owner in before cloud-init has started, cloud-init's stages share one interpreter, systemd-networkd
does DHCP, and nothing runs that a virtual machine has no use for.
"""

import hashlib
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from pileus.base import process
from pileus.drivers.image.build import disk
from pileus.drivers.image.build.kernel import CMDLINE, META_PACKAGE, Kernel
from pileus.drivers.image.build.packages import Archive, Package
from pileus.drivers.image.build.recipe import HERE, Facts, Workspace, install_files, package_list_id

FILES = HERE / "files/debian"
INCLUDE = (
    META_PACKAGE, "initramfs-tools", "busybox-static", "zstd", "usr-is-merged",
    "systemd-sysv", "systemd-resolved", "libnss-myhostname", "libpam-systemd", "dbus", "udev", "kmod",
    "cloud-init", "cloud-guest-utils", "openssh-server", "sudo",
    "e2fsprogs", "fdisk", "gdisk", "iproute2", "iputils-ping", "netbase", "procps",
    "bash-completion", "ca-certificates", "curl", "gpg", "less", "tzdata", "vim-tiny", "wget",
)  # fmt: skip
# How mmdebstrap is told to do it. The user and its groups are what cloud-init would make; the initrd, which is for
# booting by GRUB only, holds what virtual machines have.
SETUP = (
    f"--include={','.join(INCLUDE)}",
    "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
    '--essential-hook=mkdir -p "$1/etc/initramfs-tools/conf.d"',
    '--essential-hook=echo "MODULES=list" >"$1/etc/initramfs-tools/conf.d/cloud.conf"',
    '--essential-hook=printf "%s\\n" virtio_pci virtio_blk virtio_net virtio_scsi >"$1/etc/initramfs-tools/modules"',
    '--customize-hook=chroot "$1" useradd --create-home --uid 1000 --shell /bin/bash'
    " --groups adm,audio,cdrom,dialout,dip,floppy,plugdev,sudo,video admin",
)
OFFSET = disk.MIB

# The links /vmlinuz and /initrd.img follow the newest kernel package.
GRUB_CONFIG = f"""\
set timeout=0
linux /vmlinuz root=LABEL=cloudroot rw {CMDLINE}
initrd /initrd.img
boot
"""

ENABLED = {
    "cloud-final.service": "cloud-init.target",
    "cloud-init.target": "multi-user.target",
    "ec2-interfaces.service": "multi-user.target",
    "ec2-login.service": "sysinit.target",
    "ssh.service": "sysinit.target",
    "udev-trigger-rest.service": "multi-user.target",
    "systemd-networkd.service": "multi-user.target",
    "systemd-networkd.socket": "sockets.target",
    "systemd-networkd-wait-online.service": "network-online.target",
}
MASKED = (
    # Their work is done by cloud-final.service.
    "cloud-init-local.service", "cloud-init.service", "cloud-config.service",
    # Maintenance that starts with every boot and wants the network or the disk. apt works as ever.
    "apt-daily.timer", "apt-daily-upgrade.timer", "e2scrub_all.timer", "e2scrub_reap.service",
    # There is no time server in the cloud; the virtual machine's clock is the host's.
    "systemd-timesyncd.service",
)  # fmt: skip
# Programs that systemd runs before anything else, at every boot, and that find nothing in such a machine. cloud-init's
# would look for data sources: which one it is, is known.
MASKED_GENERATORS = (
    "cloud-init-generator", "systemd-cryptsetup-generator", "systemd-debug-generator", "systemd-gpt-auto-generator",
    "systemd-hibernate-resume-generator", "systemd-integritysetup-generator", "systemd-system-update-generator",
    "systemd-veritysetup-generator",
)  # fmt: skip


class Debian:
    """See the module."""

    facts = Facts(
        family="debian-12",
        prefix="debian-12",
        description="Debian 12 (bookworm) with cloud-init",
        user="admin",
        ssm_path="/aws/service/debian/release/12/latest/amd64",
        codename="bookworm",
        size=4096 * disk.MIB,
        cmdline=f"root=/dev/vda1 rw {CMDLINE}",
        min_memory=256,
        sources=("debian.py", "files/debian", "files/shared"),
    )

    def packages(self, archive: Archive) -> tuple[Package, ...]:
        return archive.closure(["?essential", "apt", *INCLUDE])

    def make(self, packages: Sequence[Package], archive: Archive, work: Workspace) -> None:
        root = work.scratch / "root"
        root.mkdir()
        tar = _bootstrap(packages, archive.fetch(packages), work)
        process.run_sync("tar", "-C", str(root), "--xattrs", "--xattrs-include=*", "-xf", str(tar), timeout=600)

        work.progress("configuring")
        install_files(HERE / "files/shared", root)
        install_files(FILES, root)
        _configure(root)

        work.progress("writing disk, kernel and initrd")
        kernel = Kernel(root, root / "bin/busybox")
        shutil.copy(kernel.image, work.target / "kernel")
        kernel.write_initrd(work.scratch / "initrd", work.target / "initrd")
        raw = work.scratch / "disk.raw"
        disk.partition(raw, size=self.facts.size, offset=OFFSET)
        disk.write_ext4(root, raw, size=self.facts.size - OFFSET, label="cloudroot", offset=OFFSET)
        disk.install_grub(raw, work.scratch)
        disk.write_qcow2(raw, work.target / "disk.qcow2")


def _bootstrap(packages: Sequence[Package], files: Sequence[Path], work: Workspace) -> Path:
    """The tree of installed packages as a tar file: from the cache when the same packages were there before."""
    key = hashlib.sha256("\n".join([package_list_id(packages), *SETUP]).encode()).hexdigest()
    tar = work.cache / "rootfs" / f"{key}.tar"
    if tar.exists():
        return tar
    work.progress("installing the packages (about a minute)")
    tar.parent.mkdir(parents=True, exist_ok=True)
    repository = work.scratch / "repository"
    _write_repository(packages, files, repository)
    partial = work.scratch / "rootfs.tar"
    process.run_sync(
        "mmdebstrap", "--mode=root", "--variant=apt", "--format=tar", *SETUP, "bookworm", str(partial),
        f"deb [trusted=yes] copy://{repository} ./", timeout=1800,
    )  # fmt: skip
    for older in tar.parent.iterdir():
        older.unlink()
    shutil.move(partial, tar.with_suffix(".partial"))
    tar.with_suffix(".partial").rename(tar)
    return tar


def _write_repository(packages: Sequence[Package], files: Sequence[Path], repository: Path) -> None:
    """A flat repository of exactly these packages, so that mmdebstrap installs what the content id says.

    It needs no signature: every file has been compared with the machine's own apt index.
    """
    repository.mkdir()
    stanzas: list[str] = []
    for package, file in zip(packages, files, strict=True):
        (repository / file.name).symlink_to(file.resolve())
        stanzas.append(re.sub(r"^Filename: .*$", f"Filename: ./{file.name}", package.stanza, flags=re.MULTILINE))
    (repository / "Packages").write_text("\n".join(stanzas))


def _configure(root: Path) -> None:
    units = root / "etc/systemd/system"
    for unit, target in ENABLED.items():
        wants = units / f"{target}.wants"
        wants.mkdir(exist_ok=True)
        origin = "/etc/systemd/system" if (units / unit).exists() else "/lib/systemd/system"
        (wants / unit).unlink(missing_ok=True)
        (wants / unit).symlink_to(f"{origin}/{unit}")
    (units / "sshd.service").unlink()
    (units / "sshd.service").symlink_to("/etc/systemd/system/ssh.service")
    (units / "multi-user.target.wants/ssh.service").unlink()
    for unit in MASKED:
        (units / unit).symlink_to("/dev/null")
    generators = root / "etc/systemd/system-generators"
    generators.mkdir()
    for generator in MASKED_GENERATORS:
        (generators / generator).symlink_to("/dev/null")
    # Logins are refused while /run/nologin exists, until the boot is done. Ours come earlier.
    (root / "etc/tmpfiles.d/systemd-nologin.conf").symlink_to("/dev/null")

    (root / "boot/grub").mkdir()
    (root / "boot/grub/grub.cfg").write_text(GRUB_CONFIG)
    _forget_the_build(root)
    (root / "etc/sudoers.d/80-admin").chmod(0o440)
    resolver = root / "etc/resolv.conf"
    resolver.unlink(missing_ok=True)
    resolver.symlink_to("../run/systemd/resolve/stub-resolv.conf")


def _forget_the_build(root: Path) -> None:
    """Removes what must be made anew by each instance, and traces of where the packages came from."""
    for key in (root / "etc/ssh").glob("ssh_host_*"):
        key.unlink()
    (root / "etc/machine-id").write_text("")
    (root / "etc/hostname").unlink(missing_ok=True)
    (root / "etc/apt/sources.list").unlink(missing_ok=True)
    (root / "var/lib/dbus/machine-id").unlink(missing_ok=True)
