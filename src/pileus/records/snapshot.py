"""Snapshots of block volumes."""

from datetime import datetime
from typing import ClassVar, Literal

import msgspec

from pileus.records.tagged import Tagged

NO_VOLUME = "vol-ffffffff"
"""The volume of a snapshot that was not taken of one."""


class SnapshotLock(msgspec.Struct, frozen=True, kw_only=True):
    """Keeps a snapshot from being deleted. See https://docs.aws.amazon.com/ebs/latest/userguide/ebs-snapshot-lock.html.

    Attributes:
        days: for how long, from ``created`` or, if that is later, the snapshot's completion on. until: instead, an end that
            was named.
        cool_off: hours in which a lock in compliance mode can be taken back, until ``cool_until``.
    """

    mode: Literal["compliance", "governance"]
    created: datetime
    days: int | None = None
    until: datetime | None = None
    cool_off: int | None = None
    cool_until: datetime | None = None


class BlockWriting(msgspec.Struct, frozen=True, kw_only=True):
    """How a pending snapshot is written block by block (EBS direct APIs). The blocks are in the store's draft of its id.

    Attributes:
        timeout: minutes without a block written after which it is given up. checksum: of all blocks (base64), if given.
        closed: when CompleteSnapshot was called; the storage process makes the snapshot from then on. changed: how many
            blocks that call said there are.
        refused: why the last CompleteSnapshot was turned down; ``closed`` is None again then.
    """

    timeout: int
    closed: datetime | None = None
    changed: int = 0
    checksum: str | None = None
    refused: str | None = None


class Snapshot(Tagged, frozen=True, kw_only=True):
    """A snapshot of ``size`` GiB.

    Attributes:
        root: root digest of its blocks in the block store (hexadecimal), None while pending. A completed one with
            neither root nor content is that of an empty volume: it has no blocks.
        content: instead of blocks, the image content that it is (the images that this cloud builds itself).
        boot_content: the built image whose kernel a guest with this root volume boots with; None: it has its own.
        data_key_id: the ``DataKey`` that seals its blocks, None when it is not encrypted.
        host_id: where it is being taken from, while pending. group: those of one group have one instant.
        held: it must not be taken yet, since its instance is still being shut down for it.
        parent: root digest that it is uploaded on top of, while pending.
        reseal: while pending, it gets the blocks of ``parent``, which are sealed under ``source_key_id`` (None: not
            sealed), sealed anew under ``data_key_id``, and ``size``, which may be more than that of ``parent``. The storage
            process does that, and writes root and state.
        writing: while pending, how it is written block by block; what is not written is as in ``parent``, whose key is
            ``source_key_id``.
        line: of one written block by block, the volume or first snapshot whose line it continues.
        taken: when its instant was, None before. completed: when it became completed.
        volume_id: ``vol-ffffffff`` for one that was copied or written block by block.
        accounts: those that may make volumes of it. public: everybody may.
        transfer_type: of one that was copied.
        binned: when it was deleted into the recycle bin, where it is kept until ``bin_until``.
    """

    kind: ClassVar[str] = "snapshot"
    indexes: ClassVar[tuple[str, ...]] = ("volume_id", "host_id", "data_key_id", "visibility", "group", "accounts")

    volume_id: str
    size: int
    started: datetime
    state: Literal["pending", "completed", "error", "recoverable", "recovering"] = "pending"
    progress: int = 0
    state_message: str | None = None
    description: str = ""
    root: str | None = None
    content: str | None = None
    boot_content: str | None = None
    data_key_id: str | None = None
    host_id: str | None = None
    group: str = ""
    held: bool = False
    parent: str | None = None
    reseal: bool = False
    source_key_id: str | None = None
    writing: BlockWriting | None = None
    line: str = ""
    taken: datetime | None = None
    completed: datetime | None = None
    full_bytes: int = 0
    uploaded_bytes: int = 0
    owner_alias: str | None = None
    public: bool = False
    accounts: tuple[str, ...] = ()
    transfer_type: str | None = None
    lock: SnapshotLock | None = None
    binned: datetime | None = None
    bin_until: datetime | None = None

    @property
    def visibility(self) -> str:
        """``public`` or ``private``."""
        return "public" if self.public else "private"

    @property
    def encrypted(self) -> bool:
        """Whether volumes made of it are encrypted."""
        return self.data_key_id is not None
