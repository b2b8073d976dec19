"""Data keys: what volumes and snapshots are encrypted with."""

from datetime import datetime
from typing import ClassVar

from pileus.base.record import Record


class DataKey(Record, frozen=True, kw_only=True):
    """A key of 32 bytes, wrapped by KMS, shared by a volume, its snapshots and the volumes made from them.

    ``id`` is ``dk-`` and 17 hexadecimal digits. ``wrapped`` is the KMS ciphertext (base64); ``kms_key_arn`` the key that
    opens it, while that is enabled. ``context`` is the encryption context that it was wrapped in.
    """

    kind: ClassVar[str] = "data-key"
    indexes: ClassVar[tuple[str, ...]] = ("kms_key_arn",)

    kms_key_arn: str
    wrapped: str
    context: tuple[tuple[str, str], ...]
    created: datetime
