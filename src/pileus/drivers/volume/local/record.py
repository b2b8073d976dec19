"""What is on record of a volume, beside its layers: ``volume.json``. Called by ``driver``.

The record alone says what a volume consists of. A layer's own header names the one below too, but that is for people:
QEMU can write it, and so could whoever breaks out of a guest.
"""

import os
from pathlib import Path
from typing import Literal

import msgspec

from pileus.drivers.errors import PermanentError
from pileus.drivers.volume.local import qcow2
from pileus.hostapi.spec import SourceSpec

RECORD = "volume.json"
FIRST = "disk.qcow2"


class Layer(msgspec.Struct, frozen=True, kw_only=True):
    """A layer's file name. ``snapshots`` show it and all below; ``root`` is what they were last uploaded as."""

    name: str
    snapshots: tuple[str, ...] = ()
    root: str | None = None


class VolumeRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One volume.

    Attributes:
        layers: its own, top first.
        made: how many were made so far; the next one's number.
        uncovered: the snapshot for which the top was made, while that may not be in place yet.
        image: the file that it lies over. source: the snapshot that it lies over.
        served: a guest may have the source open through the server.
    """

    layers: tuple[Layer, ...]
    kind: Literal["ebs", "ephemeral"] = "ebs"
    key_id: str | None = None
    made: int = 1
    uncovered: str | None = None
    image: str | None = None
    source: SourceSpec | None = None
    served: bool = False

    @property
    def taken(self) -> tuple[str, ...]:
        """The snapshots whose instant is over."""
        known = (snapshot for layer in self.layers for snapshot in layer.snapshots)
        return tuple(snapshot for snapshot in known if snapshot != self.uncovered)

    def place(self, snapshot_id: str) -> int | None:
        """Which layer is the top of what a taken snapshot shows."""
        if snapshot_id in self.taken:
            for number, layer in enumerate(self.layers):
                if snapshot_id in layer.snapshots:
                    return number
        return None


def load(directory: Path) -> VolumeRecord:
    """Reads the record of a volume's directory. Raises PermanentError when the volume is not here or damaged."""
    try:
        return msgspec.json.decode((directory / RECORD).read_bytes(), type=VolumeRecord)
    except FileNotFoundError:
        return _of_one_without(directory)
    except (OSError, msgspec.MsgspecError) as error:
        raise PermanentError(f"the record of {directory.name} can't be read: {error}") from error


def keep(directory: Path, record: VolumeRecord) -> None:
    """Puts a record in place of another; on the disk itself when this returns. Raises OSError."""
    fresh = directory / f"{RECORD}.new"
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(msgspec.json.encode(record))
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(directory / RECORD)
    flush(directory)


def flush(path: Path) -> None:
    """Waits until the file or directory is on the disk itself."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _of_one_without(directory: Path) -> VolumeRecord:
    """Volumes that were made before there were records: one layer, over an image or not."""
    try:
        below = qcow2.read_header(directory / FIRST).backing
    except FileNotFoundError:
        raise PermanentError(f"{directory.name} is not here") from None
    except (OSError, ValueError) as error:
        raise PermanentError(f"{directory.name} can't be read: {error}") from error
    return VolumeRecord(layers=(Layer(name=FIRST),), image=None if below is None else str(below))
