"""What hosts must make of volumes, computed from the records: the volumes of a host, the disks of a guest.

Called by ``pileus.controllers.host_spec``.
"""

from collections.abc import Iterable

from pileus.controllers.reading import Reading
from pileus.hostapi.spec import DiskSpec, SourceSpec, VolumeSpec
from pileus.records import Instance, Snapshot, Volume
from pileus.records.instance import BlockDevice, State, StoreDisk, store_serial
from pileus.records.volume import GIB, MIB, limits
from pileus.scheduler.request import type_of

_HAS_STORE = frozenset({State.PENDING, State.RUNNING, State.STOPPING, State.SHUTTING_DOWN})


def host_volumes(view: Reading, host_id: str) -> tuple[VolumeSpec, ...]:
    """The volumes that a host keeps or removes, and the disks of its guests' instance stores."""
    volumes = (_volume(view, volume) for volume in view.list(Volume, host_id=host_id))
    stores = (spec for instance in view.list(Instance, host_id=host_id) for spec in _store(instance))
    return (*volumes, *stores)


def _volume(view: Reading, volume: Volume) -> VolumeSpec:
    source = None
    if volume.source_root is not None:
        source = SourceSpec(root=volume.source_root, size=volume.source_bytes, key_id=volume.source_key_id)
    return VolumeSpec(
        volume_id=volume.id,
        size=volume.size * GIB,
        image=volume.image_content,
        source=source,
        key_id=volume.data_key_id,
        shared=volume.multi_attach,
        state="gone" if volume.state == "deleting" and not _is_being_read(view, volume) else "present",
    )


def _is_being_read(view: Reading, volume: Volume) -> bool:
    """Whether a snapshot of it is on its way: what is deleted stays until that has all."""
    snapshots = view.list(Snapshot, volume_id=volume.id)
    return any(one.state == "pending" and one.host_id == volume.host_id for one in snapshots)


def _store(instance: Instance) -> Iterable[VolumeSpec]:
    if instance.state in _HAS_STORE:
        for volume_id, disk in instance.store_volumes:
            yield VolumeSpec(volume_id=volume_id, size=disk.size, kind="ephemeral")
    for volume_id in instance.wiping:
        yield VolumeSpec(volume_id=volume_id, size=0, kind="ephemeral", state="gone")


def guest_disks(view: Reading, instance: Instance) -> tuple[DiskSpec, ...]:
    """The disks that a guest is to have, the one that boots first. What leaves it is not listed any more."""
    mapped = sorted(instance.block_devices, key=lambda device: device.index)
    volumes = (_disk(view, instance, device) for device in mapped)
    stores = (_store_disk(volume_id, disk) for volume_id, disk in instance.store_volumes)
    return (*(disk for disk in volumes if disk is not None), *stores)


def torn_out(view: Reading, instance: Instance) -> tuple[str, ...]:
    """The volumes that leave a guest against its will."""
    found = (view.get(Volume, device.volume_id) for device in instance.block_devices)
    return tuple(
        volume.id
        for volume in found
        if volume is not None
        and (attachment := volume.attachment_to(instance.id)) is not None
        and attachment.leaving
        and attachment.force
    )


def _disk(view: Reading, instance: Instance, device: BlockDevice) -> DiskSpec | None:
    volume = view.get(Volume, device.volume_id)
    attachment = volume.attachment_to(instance.id) if volume else None
    if volume is None or attachment is None or attachment.leaving:
        return None
    iops, throughput = _limits(instance, volume)
    return DiskSpec(
        volume_id=volume.id,
        index=device.index,
        device_name=device.device_name,
        serial=volume.id.replace("-", ""),
        iops=iops,
        throughput=throughput,
    )


def _limits(instance: Instance, volume: Volume) -> tuple[int | None, int | None]:
    """What the volume gives, and no more than the instance type gets through to all its volumes."""
    iops, throughput = limits(volume)
    machine = type_of(instance).ebs.limits
    if machine is None:
        return iops, throughput
    most = int(machine.maximum_throughput_mb_per_second * MIB)
    return min(iops or machine.maximum_iops, machine.maximum_iops), min(throughput or most, most)


def _store_disk(volume_id: str, disk: StoreDisk) -> DiskSpec:
    return DiskSpec(
        volume_id=volume_id,
        index=disk.index,
        device_name=disk.device_name or disk.virtual_name,
        serial=store_serial(volume_id),
    )
