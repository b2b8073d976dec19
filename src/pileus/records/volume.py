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


class Volume(Tagged, frozen=True, kw_only=True):
    """A volume of ``size`` GiB. ``host_id`` is where its data is (None: nowhere yet).

    ``state`` ``deleting`` lasts until the host says that the data is gone; then the record goes too.
    """

    kind: ClassVar[str] = "volume"
    indexes: ClassVar[tuple[str, ...]] = ("instance_id", "host_id")
    touches: ClassVar[tuple[str, ...]] = ("instance_id",)

    zone: str
    size: int
    created: datetime
    volume_type: str = "gp3"
    state: Literal["creating", "available", "in-use", "deleting"] = "creating"
    iops: int | None = None
    throughput: int | None = None
    encrypted: bool = False
    snapshot_id: str | None = None
    image_content: str | None = None
    host_id: str | None = None
    attachments: tuple[VolumeAttachment, ...] = ()

    @property
    def instance_id(self) -> tuple[str, ...]:
        """The instances that it is attached to."""
        return tuple(attachment.instance_id for attachment in self.attachments)
