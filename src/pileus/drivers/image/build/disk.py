"""File systems and disks out of directories, without mounting anything. Called by the recipes."""

from pathlib import Path

from pileus.base import process

SECTOR = 512
GRUB = Path("/usr/lib/grub/i386-pc")
MIB = 1024 * 1024


def write_ext4(root: Path, disk: Path, *, size: int, label: str, offset: int = 0) -> None:
    """Writes the tree under ``root`` as an ext4 file system of ``size`` bytes into ``disk`` at ``offset`` bytes.

    Owners, modes and extended attributes are those of the tree. The file is sparse where the file system is empty.
    """
    if not disk.exists():
        disk.touch()
    # A sparse file is zero already; told otherwise, every guest would write zeroes over the inode tables at first boot.
    extended = f"offset={offset},discard,lazy_itable_init=0,lazy_journal_init=0"
    process.run_sync(
        "mke2fs", "-q", "-F", "-t", "ext4", "-L", label, "-m", "1", "-E", extended, "-d", str(root), str(disk),
        f"{size // 1024}k", timeout=600,
    )  # fmt: skip


def write_qcow2(raw: Path, target: Path) -> None:
    """The disk as qcow2, holding only what is in use. Not compressed: reads by an emulated guest are dear enough."""
    process.run_sync("qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(target), timeout=600)


def partition(disk: Path, *, size: int, offset: int) -> None:
    """Makes a sparse disk of ``size`` bytes with one bootable partition from ``offset`` bytes to its end."""
    with disk.open("wb") as file:
        file.truncate(size)
    table = f"label: dos\nstart={offset // SECTOR}, type=83, bootable\n"
    process.run_sync("sfdisk", "--quiet", str(disk), stdin=table.encode())


def install_grub(disk: Path, scratch: Path) -> None:
    """Puts GRUB for BIOS machines into the boot sector and the gap before the first partition.

    It reads ``/boot/grub/grub.cfg`` of the first partition. Raises ValueError when the gap is too small.
    """
    core = scratch / "core.img"
    process.run_sync(
        "grub-mkimage", "--format=i386-pc", f"--directory={GRUB}", "--prefix=(hd0,msdos1)/boot/grub",
        f"--output={core}", "biosdisk", "part_msdos", "ext2", "linux", "normal",
    )  # fmt: skip
    boot_sector = (GRUB / "boot.img").read_bytes()
    image = core.read_bytes()
    with disk.open("r+b") as file:
        if len(image) > MIB - SECTOR:
            raise ValueError(f"GRUB's core of {len(image)} bytes does not fit before the first partition")
        file.write(boot_sector[:440])  # the partition table follows
        file.seek(SECTOR)
        file.write(image)
