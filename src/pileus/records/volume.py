"""Block volumes, and what follows for them from what hosts report.

A volume is fenced by its attachment: the record holds at most one (16 where it is shared), it is there before any host is
told, and it goes only when the guest was seen without the volume after its host knew that it should leave. That is a lease
whose holder is the instance and whose token is ``fence``: the host's answers carry the ``wiring`` that they are about, and an
older one says nothing. So no second guest is ever listed for a volume that a first one may still write to, whatever is late,
lost or repeated; a host that does not answer keeps its volumes ``detaching``, and time alone frees none.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import ClassVar, Literal

import msgspec
from msgspec.structs import replace

from pileus.records.instance import Instance, State
from pileus.records.tagged import Tagged

GIB = 1 << 30
MIB = 1 << 20
TIB_IN_GIB = 1024

BUSY_AFTER = timedelta(seconds=60)
"""How long a guest may take to let a volume go before the attachment is told to be ``busy``."""


class VolumeAttachment(msgspec.Struct, frozen=True, kw_only=True):
    """A volume in an instance.

    ``asked`` is when it was to leave, ``force`` whether it leaves against the guest's will. ``fence`` is the instance's
    ``wiring`` at the last change of what is wanted: see the module.
    """

    instance_id: str
    device: str
    attached: datetime
    delete_on_termination: bool
    status: Literal["attaching", "attached", "detaching", "busy"] = "attached"
    asked: datetime | None = None
    force: bool = False
    fence: int = 0

    @property
    def leaving(self) -> bool:
        """Whether the guest is to be without it."""
        return self.status in {"detaching", "busy"}


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
        failure: what the host says is wrong with it, beginning with a reason code. failed: since when.
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
    failed: datetime | None = None
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

    def attachment_to(self, instance_id: str) -> VolumeAttachment | None:
        """Its attachment to an instance, if it has one."""
        return next((one for one in self.attachments if one.instance_id == instance_id), None)

    def with_attachment(self, attachment: VolumeAttachment) -> "Volume":
        """The volume with this attachment in the place of the one to the same instance, or added."""
        if self.attachment_to(attachment.instance_id) is None:
            return replace(self, attachments=(*self.attachments, attachment), state="in-use")
        attachments = (attachment if one.instance_id == attachment.instance_id else one for one in self.attachments)
        return replace(self, attachments=tuple(attachments))


def held(instance: Instance, volume_id: str, fence: int) -> bool | None:
    """Whether an instance's guest has a volume; None while nobody can know.

    ``fence`` is the least ``wiring`` that an observation must be about to count.
    """
    if instance.state in {State.STOPPED, State.TERMINATED}:
        return False
    seen = instance.observed
    if seen is None or seen.boot != instance.boot or seen.wiring < fence:
        return None
    return volume_id in seen.volumes


def settled(volume: Volume, instances: Mapping[str, Instance], now: datetime) -> Volume:
    """The volume one step nearer to rest, given what was reported of its instances; the same one when it rests.

    ``instances`` has those that it is attached to, as far as they exist.
    """
    attachments = tuple(
        after
        for one in volume.attachments
        if (after := _settled_attachment(volume, one, instances.get(one.instance_id), now)) is not None
    )
    if attachments != volume.attachments:
        return replace(volume, attachments=attachments, state="in-use" if attachments else "available")
    if volume.state == "creating":
        return replace(volume, state="in-use" if attachments else "available")
    return _with_modification(volume, instances, now)


def _settled_attachment(
    volume: Volume, one: VolumeAttachment, instance: Instance | None, now: datetime
) -> VolumeAttachment | None:
    if instance is None or instance.state is State.TERMINATED:
        return None
    has_it = held(instance, volume.id, one.fence)
    if one.leaving:
        if has_it is False:
            return None
        stuck = one.status == "detaching" and one.asked is not None and now - one.asked >= BUSY_AFTER
        return replace(one, status="busy") if stuck and has_it else one
    if one.status == "attaching":
        if has_it or instance.state is State.STOPPED:
            return replace(one, status="attached")
        if volume.failure is not None and has_it is False and instance.state is State.RUNNING:
            # The guest runs on without it: an attachment that can't be is taken back, as on EC2.
            return replace(one, status="detaching", asked=now)
    return one


def _with_modification(volume: Volume, instances: Mapping[str, Instance], now: datetime) -> Volume:
    """``modifying`` until the host says that the size is there, ``optimizing`` until its guests have the new limits."""
    change = volume.modification
    if change is None or change.state not in {"modifying", "optimizing"}:
        return volume
    if change.state == "modifying":
        if volume.host_id is not None and volume.bytes_seen < volume.size * GIB:
            return volume
        return replace(volume, modification=replace(change, state="optimizing"))
    told = (held(instances[one.instance_id], volume.id, one.fence) for one in volume.attachments)
    if any(answer is None for answer in told):
        return volume
    return replace(volume, modification=replace(change, state="completed", progress=100, ended=now))


GP2_IOPS_PER_GIB, GP2_LEAST_IOPS, GP2_MOST_IOPS, GP2_BURST_IOPS = 3, 100, 16_000, 3000


def gp2_baseline(size: int) -> int:
    """The IOPS that a gp2 volume of so many GiB always has."""
    return min(max(GP2_IOPS_PER_GIB * size, GP2_LEAST_IOPS), GP2_MOST_IOPS)


def limits(volume: Volume) -> tuple[int | None, int | None]:
    """Operations and bytes a second that a volume gives, from its type, size and settings.

    Bursts are simplified: a type with burst credits has its burst rate for ever. Source:
    https://docs.aws.amazon.com/ebs/latest/userguide/ebs-volume-types.html.
    """
    match volume.volume_type:
        case "gp2":
            rate = 128 if volume.size <= 170 else 250
            return max(gp2_baseline(volume.size), GP2_BURST_IOPS), rate * MIB
        case "gp3":
            return volume.iops, (volume.throughput or 125) * MIB
        case "io1":
            iops = volume.iops or 100
            return iops, max(min(iops // 4, 500), min(iops // 64, 1000), 1) * MIB
        case "io2":
            iops = volume.iops or 100
            return iops, max(min(iops // 4, 4000), 1) * MIB
        case "st1":
            return 500, max(min(250 * volume.size // TIB_IN_GIB, 500), 1) * MIB
        case "sc1":
            return 250, max(min(80 * volume.size // TIB_IN_GIB, 250), 1) * MIB
        case "standard":
            return 200, 90 * MIB
        case _:
            return None, None
