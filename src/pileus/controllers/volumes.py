"""Volumes converge: a deleted one's record goes when its host says that the data is gone."""

import logging

from pileus.hostapi.observation import VolumeObservation
from pileus.records import Volume
from pileus.store import Transaction

log = logging.getLogger(__name__)


def observe(tx: Transaction, host_id: str, seen: VolumeObservation) -> None:
    """Notes what a host reports of one of its volumes."""
    volume = tx.get(Volume, seen.volume_id)
    if volume is None or volume.host_id != host_id:
        return
    if seen.phase == "gone" and volume.state == "deleting":
        tx.delete(volume)
    elif seen.phase == "failed":
        log.error("volume can't be made", extra={"volume": volume.id, "detail": seen.detail})
