"""Accounts and their access keys. Global: their region is empty."""

from datetime import datetime
from typing import ClassVar, Literal

from pileus.base.record import Record


class Account(Record, frozen=True, kw_only=True):
    """An account; ``id`` and ``account`` are its twelve digits."""

    kind: ClassVar[str] = "account"

    name: str
    created: datetime


class AccessKey(Record, frozen=True, kw_only=True):
    """An access key; ``id`` is the access key id, ``secret`` is sealed with the id as context.

    ``arn`` and ``user_id`` are the principal's, as GetCallerIdentity tells them (root: the account's number as user id).
    """

    kind: ClassVar[str] = "access-key"
    indexes: ClassVar[tuple[str, ...]] = ("arn",)

    secret: str
    arn: str
    user_id: str
    created: datetime
    status: Literal["Active", "Inactive"] = "Active"
