"""Names of KMS keys."""

from datetime import datetime
from typing import ClassVar

from pileus.base.record import Record


class KmsAlias(Record, frozen=True, kw_only=True):
    """An alias; ``name`` begins with ``alias/``. ``id`` is ``alias_id``, so that a name is there once."""

    kind: ClassVar[str] = "kms-alias"
    indexes: ClassVar[tuple[str, ...]] = ("key_id",)

    name: str
    key_id: str
    created: datetime
    updated: datetime

    @property
    def arn(self) -> str:
        """Its ARN."""
        return f"arn:aws:kms:{self.region}:{self.account}:{self.name}"


def alias_id(account: str, region: str, name: str) -> str:
    """The record id of an account's alias in a region."""
    return f"{account}/{region}/{name}"
