"""The data keys of snapshots, for the storage process, which seals blocks anew. A key is never logged."""

from pileus.base.sealing import Sealer
from pileus.engines.blocks.encoding import BlockKey
from pileus.operations.keys import InvalidCiphertext, KeyNotFound, KmsError, open_data_key
from pileus.records import DataKey
from pileus.store import View


class KeyRefused(Exception):
    """A data key can't be had now; the message is for the owner of the snapshot."""


def block_key(view: View, sealer: Sealer, key_id: str | None) -> BlockKey | None:
    """The key that blocks under a data key are sealed with; None for None. Raises KeyRefused."""
    if key_id is None:
        return None
    data_key = view.get(DataKey, key_id)
    if data_key is None:
        raise KeyRefused("The data key of the snapshot is gone")
    try:
        return BlockKey(open_data_key(view, sealer, data_key))
    except InvalidCiphertext as error:
        raise KeyRefused("The data key of the snapshot is damaged") from error
    except KeyNotFound as error:
        raise KeyRefused("Given key ID is not accessible: the KMS key does not exist") from error
    except KmsError as error:
        raise KeyRefused("Given key ID is not accessible: the KMS key is in an incorrect state") from error
