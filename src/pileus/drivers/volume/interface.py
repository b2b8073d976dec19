"""The volume family: block volumes of guests, their snapshots and restores. Called by ``pileus.agent``.

A volume is a chain of layers: a top one that the guest writes to, frozen ones below it, and a base that is nobody's own
(an image's disk, a snapshot's blocks). A snapshot is taken by covering the top with a fresh layer: what was the top is
frozen from then on. Its blocks are uploaded, and then the frozen layer is merged into the one below.

Whoever calls keeps apart, for one volume, what would meet: ``layers`` until the guest has opened them, ``cover`` until
``covered``, and merging. Nothing is merged while ``upload`` reads the volume.
"""

from collections.abc import Awaitable, Callable, Collection, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from pileus.drivers.hypervisor.interface import DiskLayer
from pileus.hostapi.spec import SnapshotSpec, VolumeSpec

OpenKey = Callable[[str], Awaitable[bytes]]
"""Data key id → its 32 bytes. Raises PermanentError (refused; begins with an EC2 reason code) or RetryableError."""


class VolumeState(msgspec.Struct, frozen=True, kw_only=True):
    """A volume that exists here, whole.

    ``size`` in bytes, as a guest sees it now. ``filled``: nothing of it must be fetched from the block store any more.
    ``detail``: what is wrong with it, "" when nothing is. ``base_ready``: its base is complete now, but a guest that was
    started earlier may still read it from the server: ``swap_base`` is due. ``snapshots``: those whose instant is over,
    and that are not forgotten.
    """

    volume_id: str
    size: int
    filled: bool = True
    detail: str = ""
    base_ready: bool = False
    snapshots: tuple[str, ...] = ()


class Upload(msgspec.Struct, frozen=True, kw_only=True):
    """What an upload came to: ``root`` in hexadecimal, bytes sent, and bytes of all blocks of the snapshot."""

    root: str
    uploaded_bytes: int
    full_bytes: int


class Volumes(Protocol):
    """All calls are idempotent, keyed by volume id, and safe to cancel or kill at any instruction."""

    async def open(self, keys: OpenKey, on_change: Callable[[str], None]) -> None:
        """Takes up what an earlier process left. ``on_change(volume_id)`` says: observe again."""
        ...

    async def close(self) -> None:
        """Stops what works in the background; volumes stay as they are, and guests that read from here wait."""
        ...

    async def ensure(self, volume: VolumeSpec) -> None:
        """Makes the volume, or grows it to ``size`` if no guest has it open. Its data is never touched once it exists.

        Raises:
            PermanentError: the image is not on this host, the size is below the image's or below what the volume has.
            RetryableError: it must grow and a guest has it open (``Hypervisor.plug`` with the size grows it then).
        """
        ...

    async def layers(self, volume_id: str) -> tuple[DiskLayer, ...]:
        """The layers of the volume, top first, for the hypervisor.

        Raises:
            PermanentError: it is not here, damaged, or its key is refused. RetryableError: the key can't be had now.
        """
        ...

    async def remove(self, volume_id: str) -> None:
        """Removes the data for ever, frozen layers too. Raises RetryableError while a guest has it open."""
        ...

    async def observe(self) -> Sequence[VolumeState]:
        """All volumes that exist here, whole."""
        ...

    # Snapshots

    async def cover(self, volume_id: str, snapshot_id: str) -> DiskLayer | None:
        """Makes an empty layer over the top and records it as the top: what was the top is what the snapshot shows.

        Returns the layer, for ``Hypervisor.freeze`` where a guest runs with the volume; then ``covered`` must be called.
        None: the snapshot's instant is over already.

        Raises:
            PermanentError: the volume is not here, is ephemeral, or its key is refused. RetryableError: the top made
            for an earlier snapshot is not ``covered`` yet (see ``uncovered``), or the key can't be had now.
        """
        ...

    async def covered(self, volume_id: str) -> None:
        """The layer that ``cover`` made is in place: in the guest that runs with the volume, or no guest has it open."""
        ...

    async def uncovered(self, volume_id: str) -> tuple[str, DiskLayer] | None:
        """The snapshot and the layer of a ``cover`` that was never said to be ``covered``; None when there is none."""
        ...

    async def upload(self, snapshot: SnapshotSpec, on_progress: Callable[[int], None]) -> Upload:
        """Sends the blocks of a taken snapshot to the block store and records the root. ``on_progress`` gets percents.

        What lies there already is not sent again: a repeated upload is cheap. From then until ``forget`` the blocks are
        protected from collection by a session of this process: after a restart it must be repeated.

        Raises:
            PermanentError: no such snapshot here, or its key is refused. RetryableError: the store or the key can't be
            had now.
        """
        ...

    async def forget(self, volume_id: str, snapshot_id: str) -> None:
        """The snapshot is on record, or nobody wants it any more: neither its frozen layer nor its session is needed."""
        ...

    async def next_merge(self, volume_id: str, keep: Collection[str] = ()) -> Path | None:
        """The frozen layer that is to be merged into the one below next; None when there is nothing to do.

        ``keep``: roots on top of which snapshots will still be uploaded: the layers that show them stay.
        """
        ...

    async def merge(self, volume_id: str, layer: Path) -> None:
        """Merges a frozen layer of a volume that no guest has open, and removes it. Raises RetryableError."""
        ...

    async def merged(self, volume_id: str, layer: Path) -> None:
        """The hypervisor has merged the layer: it is removed from record and disk."""
        ...

    # Restores

    async def base(self, volume_id: str) -> DiskLayer | None:
        """The complete base of a volume whose state says ``base_ready``, for ``Hypervisor.swap_base``; else None."""
        ...

    async def base_swapped(self, volume_id: str) -> None:
        """No process reads the volume's base from the server any more."""
        ...
