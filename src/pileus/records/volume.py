"""Block volumes."""

from datetime import datetime
from typing import ClassVar, Literal

import msgspec

from pileus.records.tagged import Tagged


class VolumeAttachment(msgspec.Struct, frozen=True, kw_only=True):
    """A volume in an instance."""

    instance_id: str
    device: str
    attached: datetime
    delete_on_termination: bool
    status: Literal["attaching", "attached", "detaching"] = "attached"


class Modification(msgspec.Struct, frozen=True, kw_only=True):
    """The latest ModifyVolume. Each pair is (before, after); ``ended`` is set with ``completed`` or ``failed``."""

    state: Literal["modifying", "optimizing", "completed", "failed"]
    size: tuple[int, int]
    volume_type: tuple[str, str]
    iops: tuple[int | None, int | None]
    throughput: tuple[int | None, int | None]
    multi_attach: tuple[bool, bool]
    started: datetime
    ended: datetime | None = None
    progress: int = 0
    message: str | None = None


class Volume(Tagged, frozen=True, kw_only=True):
    """A volume of ``size`` GiB. ``host_id`` is where its data is (None: nowhere yet, it is placed when first attached).

    Attributes:
        state: ``deleting`` lasts until the host says that the data is gone; then the record goes too.
        image_content: the image that it starts as. source_root, source_bytes, source_key_id: the same with a snapshot
            (see ``hostapi.spec.SourceSpec``).
        data_key_id: the ``DataKey`` under which it is encrypted, None: it is not.
        line_root: root digest of the last snapshot of this volume that was completed, kept even when that snapshot is
            deleted, so that the next one is uploaded on top of it.
        bytes_seen: the size that the host reports; filled: nothing of it must be fetched any more.
        failure: what the host says is wrong with it, beginning with a reason code.
    """

    kind: ClassVar[str] = "volume"
    indexes: ClassVar[tuple[str, ...]] = ("instance_id", "host_id", "data_key_id")
    touches: ClassVar[tuple[str, ...]] = ("instance_id",)

    zone: str
    size: int
    created: datetime
    volume_type: str = "gp3"
    state: Literal["creating", "available", "in-use", "deleting", "error"] = "creating"
    iops: int | None = None
    throughput: int | None = None
    multi_attach: bool = False
    auto_enable_io: bool = False
    data_key_id: str | None = None
    snapshot_id: str | None = None
    image_content: str | None = None
    source_root: str | None = None
    source_bytes: int = 0
    source_key_id: str | None = None
    line_root: str | None = None
    host_id: str | None = None
    bytes_seen: int = 0
    filled: bool = True
    failure: str | None = None
    modification: Modification | None = None
    attachments: tuple[VolumeAttachment, ...] = ()

    @property
    def encrypted(self) -> bool:
        """Whether what is written to it is encrypted."""
        return self.data_key_id is not None

    @property
    def instance_id(self) -> tuple[str, ...]:
        """The instances that it is attached to."""
        return tuple(attachment.instance_id for attachment in self.attachments)
