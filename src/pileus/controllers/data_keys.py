"""Data keys for hosts: each may have those that its own spec names, while their KMS keys are enabled.

Called by ``pileus.controllers.hosts`` (requests) and ``pileus.controllers.loop`` (sweeps). A key is never logged.
"""

import logging
from collections.abc import Iterator
from datetime import datetime, timedelta

from pileus.base.sealing import SealBroken, Sealer
from pileus.hostapi.observation import KeyAnswer, KeyRequest
from pileus.hostapi.spec import HostSpec
from pileus.operations.keys import InvalidCiphertext, KeyNotFound, KmsError, open_data_key
from pileus.records import DataKey, DiskTask, Snapshot, Volume
from pileus.store import Transaction, View

log = logging.getLogger(__name__)

_UNUSED_FOR = timedelta(minutes=10)
"""How old a data key must be to be collected: one is made in the transaction that first refers to it."""


def answer(view: View, sealer: Sealer, host_id: str, spec: HostSpec | None, request: KeyRequest) -> KeyAnswer:
    """The key that a host asks for, or EC2's reason why not."""
    if spec is None or request.key_id not in set(named(spec)):
        log.warning("host asks for a data key that is not its own", extra={"host": host_id, "key": request.key_id[:64]})
        return KeyAnswer(request_id=request.request_id, error="Server.InternalError: not in the spec of this host")
    data_key = view.get(DataKey, request.key_id)
    if data_key is None:
        return _refusal(request, "Server.InternalError: there is no such data key")
    try:
        return KeyAnswer(request_id=request.request_id, key=open_data_key(view, sealer, data_key))
    except KeyNotFound:
        return _refusal(request, "Client.InvalidKMSKey.NotFound: The KMS key provided does not exist")
    except (InvalidCiphertext, SealBroken):
        log.exception("a data key is damaged", extra={"key": data_key.id})
        return _refusal(request, "Server.InternalError: the data key is damaged")
    except KmsError:
        return _refusal(request, "Client.InvalidKMSKey.InvalidState: The KMS key provided is in an incorrect state")


def _refusal(request: KeyRequest, reason: str) -> KeyAnswer:
    return KeyAnswer(request_id=request.request_id, error=reason, permanent=True)


def named(spec: HostSpec) -> Iterator[str]:
    """The ids of all data keys that a spec names."""
    for volume in spec.volumes:
        for key_id in (volume.key_id, volume.source.key_id if volume.source else None):
            if key_id is not None:
                yield key_id
    for snapshot in spec.snapshots:
        if snapshot.key_id is not None:
            yield snapshot.key_id
    for conversion in spec.conversions:
        for key_id in (conversion.key_id, conversion.source_key_id):
            if key_id is not None:
                yield key_id


def collect(tx: Transaction, now: datetime) -> None:
    """Removes the data keys that no volume, snapshot or import needs any more."""
    old = [key for key in tx.list(DataKey) if key.created <= now - _UNUSED_FOR]
    if not old:
        return
    used = {task.data_key_id for task in tx.list(DiskTask)}
    for snapshot in tx.list(Snapshot):
        used |= {snapshot.data_key_id, snapshot.source_key_id}
    for volume in tx.list(Volume):
        used |= {volume.data_key_id, volume.source_key_id}
    for key in old:
        if key.id not in used:
            tx.delete(key)
