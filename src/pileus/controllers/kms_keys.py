"""What happens to KMS keys with time: deletion after the waiting period, yearly rotation, imported material that expires.

Called by ``pileus.controllers.loop`` in its sweep.
"""

import logging
import secrets
from datetime import datetime, timedelta

from msgspec.structs import replace

from pileus.base.sealing import Sealer
from pileus.operations.keys import DATA_KEY, new_material
from pileus.records import KmsAlias, KmsGrant, KmsKey
from pileus.store import Transaction

log = logging.getLogger(__name__)


def sweep(tx: Transaction, sealer: Sealer, now: datetime) -> None:
    """Does for every key what is due."""
    for key in tx.list(KmsKey):
        if key.state == "PendingDeletion":
            if key.deletion is not None and key.deletion <= now:
                delete(tx, key)
        elif key.state == "Enabled" and key.rotation_due is not None and key.rotation_due <= now:
            rotate(tx, sealer, key, now)
        elif any(material.expires and material.expires <= now for material in key.materials):
            expire(tx, key, now)


def delete(tx: Transaction, key: KmsKey) -> None:
    """Removes a key for ever, with its names and grants. What it encrypted can't be read any more."""
    for alias in tx.list(KmsAlias, key_id=key.id):
        tx.delete(alias)
    for grant in tx.list(KmsGrant, key_id=key.id):
        tx.delete(grant)
    tx.delete(key)
    log.info("KMS key deleted", extra={"key": key.arn})


def rotate(tx: Transaction, sealer: Sealer, key: KmsKey, now: datetime) -> None:
    """Gives a key fresh material, and says when the next is due."""
    assert key.rotation_due is not None
    assert key.rotation_period is not None
    fresh = replace(new_material(sealer, key.id, secrets.token_bytes(DATA_KEY), now), rotation="AUTOMATIC")
    due = key.rotation_due
    while due <= now:
        due += timedelta(days=key.rotation_period)
    tx.put(replace(key, materials=(*key.materials, fresh), rotation_due=due))


def expire(tx: Transaction, key: KmsKey, now: datetime) -> None:
    """Deletes imported material whose time is over; the key waits for it to be imported again."""
    kept = tuple(
        replace(material, sealed=None, expires=None) if material.expires and material.expires <= now else material
        for material in key.materials
    )
    tx.put(replace(key, materials=kept, state="PendingImport"))
