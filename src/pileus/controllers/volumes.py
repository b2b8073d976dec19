"""Volumes converge: what hosts report and what the API wants are put together by ``records.volume.settled``."""

import logging
from collections.abc import Sequence
from datetime import datetime

from msgspec.structs import replace

from pileus.hostapi.observation import VolumeObservation
from pileus.records import Instance, Volume
from pileus.records.instance import store_owner
from pileus.records.volume import settled
from pileus.store import Transaction, View

log = logging.getLogger(__name__)


def observe(tx: Transaction, host_id: str, seen: VolumeObservation, now: datetime) -> None:
    """Notes what a host reports of one of its volumes. A deleted one's record goes when its data is gone."""
    if owner := store_owner(seen.volume_id):
        _observe_store(tx, host_id, owner, seen)
        return
    volume = tx.get(Volume, seen.volume_id)
    if volume is None or volume.host_id != host_id:
        return
    if seen.phase == "gone":
        if volume.state == "deleting":
            tx.delete(volume)
        return
    if seen.phase == "failed":
        if volume.failure is None:
            log.error("volume can't be had", extra={"volume": volume.id, "detail": seen.detail})
        after = replace(volume, failure=seen.detail or "Server.InternalError", failed=volume.failed or now)
    else:
        # One without a size tells nothing of it, as agents did that did not look.
        bytes_seen = max(seen.size, volume.bytes_seen)
        after = replace(volume, bytes_seen=bytes_seen, filled=seen.filled, failure=None, failed=None)
    if after != volume:
        tx.put(after)


def _observe_store(tx: Transaction, host_id: str, instance_id: str, seen: VolumeObservation) -> None:
    """A disk of an instance store that was to be wiped, and is."""
    instance = tx.get(Instance, instance_id)
    if instance is None or instance.host_id != host_id or seen.phase != "gone" or seen.volume_id not in instance.wiping:
        return
    tx.put(replace(instance, wiping=tuple(one for one in instance.wiping if one != seen.volume_id)))


def unsettled(view: View, volume_id: str, now: datetime) -> bool:
    """Whether something follows for a volume from what is on record."""
    volume = view.get(Volume, volume_id)
    if volume is None:
        return False
    return _is_nowhere(volume) or settled(volume, _instances(view, volume), now) != volume


def settle(tx: Transaction, volume_id: str, now: datetime) -> None:
    """Carries out what follows for a volume until it rests."""
    while True:
        volume = tx.get(Volume, volume_id)
        if volume is None:
            return
        if _is_nowhere(volume):
            tx.delete(volume)
            return
        after = settled(volume, _instances(tx, volume), now)
        if after == volume:
            return
        tx.put(after)
        _unmap(tx, volume, after)


def unsettled_of(view: View, instance_id: str, now: datetime) -> Sequence[str]:
    """The volumes of an instance for which something follows."""
    return [one.id for one in view.list(Volume, instance_id=instance_id) if unsettled(view, one.id, now)]


def settle_of(tx: Transaction, instance_id: str, now: datetime) -> None:
    """Settles the volumes of an instance."""
    for volume_id in unsettled_of(tx, instance_id, now):
        settle(tx, volume_id, now)


def _is_nowhere(volume: Volume) -> bool:
    """Whether it is to be deleted and no host has data of it."""
    return volume.state == "deleting" and volume.host_id is None


def _instances(view: View, volume: Volume) -> dict[str, Instance]:
    found = (view.get(Instance, instance_id) for instance_id in volume.instance_id)
    return {instance.id: instance for instance in found if instance is not None}


def _unmap(tx: Transaction, before: Volume, after: Volume) -> None:
    """Instances that have let the volume go no longer map it."""
    for instance_id in set(before.instance_id) - set(after.instance_id):
        instance = tx.get(Instance, instance_id)
        if instance is not None:
            devices = tuple(device for device in instance.block_devices if device.volume_id != before.id)
            tx.put(replace(instance, block_devices=devices))
