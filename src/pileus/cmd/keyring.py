"""The gateway's keyring over the store: secrets are opened only here, and kept in memory while they are current."""

from pileus.base.sealing import Sealer
from pileus.gateway.authentication import KeyEntry
from pileus.operations.call import Identity
from pileus.records import AccessKey
from pileus.store import Store


def seal_context(access_key: str) -> str:
    """What an access key's secret is sealed for."""
    return f"access-key/{access_key}"


class StoreKeyring:
    """Looks access keys up. Implements ``pileus.gateway.authentication.Keyring``."""

    def __init__(self, store: Store, sealer: Sealer) -> None:
        self._store = store
        self._sealer = sealer
        self._opened: dict[str, tuple[int, KeyEntry]] = {}

    def lookup(self, access_key: str, session_token: str) -> KeyEntry | None:
        """The secret and the owner of an active key; None for others, and for every session token: there are none yet."""
        key = self._store.view().get(AccessKey, access_key)
        if key is None or key.status != "Active" or session_token:
            return None
        known = self._opened.get(access_key)
        if known is not None and known[0] == key.version:
            return known[1]
        secret = self._sealer.open(key.secret, seal_context(access_key)).decode()
        identity = Identity(account=key.account, arn=key.arn, user_id=key.user_id, access_key=key.id)
        entry = KeyEntry(secret=secret, identity=identity)
        self._opened[access_key] = (key.version, entry)
        return entry
