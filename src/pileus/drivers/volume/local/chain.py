"""What becomes of a volume's chain of layers: functions from record to record, and its locks. Called by ``driver``."""

import contextlib
import fcntl
import os
from collections.abc import Collection, Generator, Sequence
from pathlib import Path

from msgspec.structs import replace

from pileus.drivers.errors import RetryableError
from pileus.drivers.volume.local.record import Layer, VolumeRecord

LONGEST = 8
"""A chain that is longer is merged even where a later upload has to read more for it."""


def number(known: VolumeRecord, name: str) -> int | None:
    """Which layer has this file name, from the top; None: none."""
    return next((number for number, layer in enumerate(known.layers) if layer.name == name), None)


def with_root(known: VolumeRecord, snapshot_id: str, root: str) -> VolumeRecord:
    """The snapshot was uploaded as this root."""
    return replace(
        known,
        layers=tuple(replace(layer, root=root) if snapshot_id in layer.snapshots else layer for layer in known.layers),
    )


def without(known: VolumeRecord, snapshot_id: str) -> VolumeRecord:
    """Nobody asks for the snapshot any more. Where the top was made for it, that is still not known to be in place."""
    return replace(
        known,
        layers=tuple(
            replace(layer, snapshots=tuple(each for each in layer.snapshots if each != snapshot_id))
            for layer in known.layers
        ),
    )


def next_merge(known: VolumeRecord, keep: Collection[str]) -> Layer | None:
    """The lowest layer that may be merged into the one below it; None: there is none.

    The state that the lower one shows is lost by that: nobody may still upload it, or upload on top of it. The newest
    state with a root stays, for the next snapshot to be uploaded on top of.
    """
    if known.uncovered is not None:
        return None
    for place in range(len(known.layers) - 2, 0, -1):
        upper, lower = known.layers[place], known.layers[place + 1]
        if upper.snapshots or lower.snapshots or lower.root in keep:
            continue
        newer = any(layer.root is not None for layer in known.layers[1 : place + 1])
        if lower.root is None or newer or len(known.layers) > LONGEST:
            return upper
    return None


def merged(known: VolumeRecord, place: int) -> VolumeRecord:
    """The layer at ``place`` was merged into the one below, which now shows what it showed."""
    upper, lower = known.layers[place], known.layers[place + 1]
    result = replace(lower, snapshots=(*lower.snapshots, *upper.snapshots), root=upper.root)
    return replace(known, layers=(*known.layers[:place], result, *known.layers[place + 2 :]))


def above(known: VolumeRecord, place: int, root: str) -> int | None:
    """How many layers from ``place`` on lie above the newest state below that was uploaded as ``root``; None: no such."""
    for lower in range(place + 1, len(known.layers)):
        if known.layers[lower].root == root:
            return lower - place
    return None


@contextlib.contextmanager
def locked(paths: Sequence[Path]) -> Generator[dict[Path, int]]:
    """Holds exclusive locks on the files. Raises RetryableError when someone else has one of them."""
    descriptors: dict[Path, int] = {}
    try:
        for path in paths:
            try:
                descriptors[path] = os.open(path, os.O_RDWR)
                fcntl.flock(descriptors[path], fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise RetryableError(f"{path} is in use") from error
            except FileNotFoundError:
                continue  # a damaged volume can still be removed
        yield descriptors
    finally:
        for descriptor in descriptors.values():
            os.close(descriptor)
