"""Snapshots of block volumes."""

from datetime import datetime
from typing import ClassVar, Literal

from pileus.records.tagged import Tagged


class Snapshot(Tagged, frozen=True, kw_only=True):
    """A snapshot of ``size`` GiB.

    Attributes:
        root: root digest of its blocks in the block store (hexadecimal), None while pending.
        content: instead of blocks, the image content that it is (the images that this cloud builds itself).
        data_key_id: the ``DataKey`` that seals its blocks, None when it is not encrypted.
        host_id: where it is being taken from, while pending. group: those of one group have one instant.
        parent: root digest that it is uploaded on top of, while pending.
        taken: when its instant was, None before. completed: when it became completed.
        volume_id: ``vol-ffffffff`` for one that was copied or written block by block.
        accounts: those that may make volumes of it. public: everybody may.
    """

    kind: ClassVar[str] = "snapshot"
    indexes: ClassVar[tuple[str, ...]] = ("volume_id", "host_id", "data_key_id", "visibility")

    volume_id: str
    size: int
    started: datetime
    state: Literal["pending", "completed", "error", "recoverable", "recovering"] = "pending"
    progress: int = 0
    state_message: str | None = None
    description: str = ""
    root: str | None = None
    content: str | None = None
    data_key_id: str | None = None
    host_id: str | None = None
    group: str = ""
    parent: str | None = None
    taken: datetime | None = None
    completed: datetime | None = None
    full_bytes: int = 0
    uploaded_bytes: int = 0
    owner_alias: str | None = None
    public: bool = False
    accounts: tuple[str, ...] = ()

    @property
    def visibility(self) -> str:
        """``public`` or ``private``."""
        return "public" if self.public else "private"
