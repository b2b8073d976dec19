"""File systems and disks out of directories, without mounting anything. Called by the recipes."""

from pathlib import Path

from pileus.base import process

SECTOR = 512
MIB = 1024 * 1024


def write_ext4(root: Path, disk: Path, *, size: int, label: str, offset: int = 0) -> None:
    """Writes the tree under ``root`` as an ext4 file system of ``size`` bytes into ``disk`` at ``offset`` bytes.

    Owners, modes and extended attributes are those of the tree. The file is sparse where the file system is empty.
    """
    if not disk.exists():
        disk.touch()
    extended = f"offset={offset},discard,lazy_itable_init=1,lazy_journal_init=1"
    process.run_sync(
        "mke2fs", "-q", "-F", "-t", "ext4", "-L", label, "-m", "1", "-E", extended, "-d", str(root), str(disk),
        f"{size // 1024}k", timeout=600,
    )  # fmt: skip


def write_qcow2(raw: Path, target: Path) -> None:
    """The disk as qcow2, holding only what is in use. Not compressed: reads by an emulated guest are dear enough."""
    process.run_sync("qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(target), timeout=600)
