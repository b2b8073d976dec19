"""Grants: who else may do what with a KMS key."""

from collections.abc import Mapping
from datetime import datetime
from typing import ClassVar

import msgspec

from pileus.base.record import Record


class KmsGrant(Record, frozen=True, kw_only=True):
    """A grant; ``id`` is 64 hexadecimal digits, ``account`` the key's.

    Attributes:
        grantee, retiring: ARNs. operations: as in the API (GrantOperation).
        subset, equals: what the encryption context must contain, or be; None: whatever it is.
    """

    kind: ClassVar[str] = "kms-grant"
    indexes: ClassVar[tuple[str, ...]] = ("key_id", "retiring")

    key_id: str
    grantee: str
    operations: tuple[str, ...]
    created: datetime
    issuer: str
    name: str | None = None
    retiring: str | None = None
    subset: Mapping[str, str] | None = msgspec.field(default=None)
    equals: Mapping[str, str] | None = msgspec.field(default=None)
