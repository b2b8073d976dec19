"""Machine images."""

from collections.abc import Mapping
from datetime import datetime
from typing import ClassVar, Literal

import msgspec

from pileus.records.instance import DEAD, Instance, State
from pileus.records.snapshot import Snapshot
from pileus.records.tagged import Tagged


def image_name_scope(account: str, region: str) -> str:
    """The scope of claims on the names of an account's images."""
    return f"image-name/{account}/{region}"


ImageState = Literal["pending", "available", "failed", "disabled", "deregistered"]


class ImageDevice(msgspec.Struct, frozen=True, kw_only=True):
    """One block device mapping of an image: a volume that its instances start with.

    ``snapshot_id`` is what the volume starts as (None: empty), ``size`` its GiB. ``encrypted`` is what the mapping says
    of an empty volume (None: nothing); one from a snapshot is encrypted when that is. A device with ``virtual_name``
    (``ephemeral0``…) is an instance store's, and has no volume. ``kms_key_id`` as the mapping names it.
    """

    device_name: str
    snapshot_id: str | None = None
    size: int = 0
    volume_type: str = "gp3"
    iops: int | None = None
    throughput: int | None = None
    delete_on_termination: bool = True
    encrypted: bool | None = None
    kms_key_id: str | None = None
    virtual_name: str | None = None


class Image(Tagged, frozen=True, kw_only=True):
    """An AMI.

    Attributes:
        snapshot_id: backs its root device, ``size`` in GiB. root: what else is mapped for the root device; None: a gp3
            volume that goes with its instance.
        block_devices: the mappings beside the root device. ``devices`` has them all.
        content: the id under which hosts keep its data, for the images that this cloud builds itself; None: its data is
            that of its snapshots.
        boot_content: the built image whose kernel it boots with, where that is not its own content. See ``boots_with``.
        user: the login of its default user.
        ssm_path: the public parameter that names it while it is the newest of its family.
        instance_id: that it is made of. rebooting: while that instance is down for it. group: of its snapshots, as in
            ``Snapshot``.
        launch_accounts, launch_organizations, launch_units: who else may launch it: account ids, and ARNs.
        deprecated: from when on it is. last_launched: to the day.
        binned, bin_until: as in ``Snapshot``.
        protection: against being deregistered; ``cooling_until`` is when a protection with cooldown that was taken away ends.
    """

    kind: ClassVar[str] = "image"
    indexes: ClassVar[tuple[str, ...]] = ("visibility", "name", "family", "snapshot_ids", "making")

    name: str
    description: str
    created: datetime
    family: str
    snapshot_id: str
    size: int
    user: str
    content: str | None = None
    boot_content: str | None = None
    root: ImageDevice | None = None
    block_devices: tuple[ImageDevice, ...] = ()
    architecture: str = "x86_64"
    root_device_name: str = "/dev/xvda"
    virtualization_type: str = "hvm"
    boot_mode: str = "legacy-bios"
    state: ImageState = "available"
    state_reason: str | None = None
    public: bool = False
    owner_alias: str | None = None
    ssm_path: str | None = None
    launch_accounts: tuple[str, ...] = ()
    launch_organizations: tuple[str, ...] = ()
    launch_units: tuple[str, ...] = ()
    min_memory: int = 128
    ena_support: bool = True
    sriov_net_support: str | None = None
    tpm_support: str | None = None
    imds_support: str | None = None
    uefi_data: str | None = None
    instance_id: str | None = None
    rebooting: bool = False
    group: str = ""
    source_image_id: str | None = None
    source_image_region: str | None = None
    deprecated: datetime | None = None
    last_launched: datetime | None = None
    protection: Literal["disabled", "enabled", "enabled-with-cooldown"] = "disabled"
    cooling_until: datetime | None = None
    binned: datetime | None = None
    bin_until: datetime | None = None

    @property
    def visibility(self) -> str:
        """``public`` or ``private``."""
        return "public" if self.public else "private"

    @property
    def making(self) -> str | None:
        """``yes`` as long as something is still to be done for it."""
        return "yes" if self.state == "pending" or self.rebooting else None

    @property
    def boots_with(self) -> str | None:
        """The content id whose manifest says how it boots; None: by the firmware, from its root volume."""
        return self.boot_content or self.content

    @property
    def root_device(self) -> ImageDevice:
        """The mapping of the root device."""
        return self.root or ImageDevice(device_name=self.root_device_name, snapshot_id=self.snapshot_id, size=self.size)

    @property
    def devices(self) -> tuple[ImageDevice, ...]:
        """All mappings, the root device's first."""
        return (self.root_device, *self.block_devices)

    @property
    def snapshot_ids(self) -> tuple[str, ...]:
        """The snapshots that it is made of."""
        return tuple(dict.fromkeys(device.snapshot_id for device in self.devices if device.snapshot_id))


class TakeSnapshots(msgspec.Struct, frozen=True, kw_only=True):
    """Its instance is down: the snapshots that were held may be taken."""


class StartAgain(msgspec.Struct, frozen=True, kw_only=True):
    """Its snapshots have their instant: the instance need not be down any more."""


class Finish(msgspec.Struct, frozen=True, kw_only=True):
    """It is ready, or will never be."""

    state: Literal["available", "failed"]
    reason: str | None = None


ImageDecision = TakeSnapshots | StartAgain | Finish | None


def decide(image: Image, instance: Instance | None, snapshots: Mapping[str, Snapshot | None]) -> ImageDecision:
    """What follows for an image that is being made, given its instance and its snapshots by id. Total and pure."""
    if image.rebooting:
        if instance is None or instance.imaging != image.id:
            return StartAgain()
        known = [one for one in snapshots.values() if one is not None]
        if not _is_down(instance):
            return None
        if any(one.held for one in known):
            return TakeSnapshots()
        waiting = any(one.state == "pending" and one.taken is None for one in known)
        return None if waiting else StartAgain()
    if image.state != "pending":
        return None
    for id_, snapshot in snapshots.items():
        if snapshot is None:
            return Finish(state="failed", reason=f"The snapshot {id_} was deleted.")
        if snapshot.state == "error":
            return Finish(state="failed", reason=f"The snapshot {id_} failed: {snapshot.state_message or ''}")
    ready = all(one is not None and one.state == "completed" for one in snapshots.values())
    return Finish(state="available") if ready else None


def _is_down(instance: Instance) -> bool:
    """Whether nothing writes to the volumes of the instance, and nothing will until it is started."""
    if instance.state in {State.STOPPED, State.TERMINATED}:
        return True
    seen = instance.observed
    return seen is not None and seen.boot == instance.boot and seen.phase in DEAD
