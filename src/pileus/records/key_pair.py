"""Key pairs. Only public halves are kept."""

from datetime import datetime
from typing import ClassVar, Literal

from pileus.records.tagged import Tagged


class KeyPair(Tagged, frozen=True, kw_only=True):
    """``public_key`` is one OpenSSH line. ``fingerprint`` as AWS computes it for this type and origin."""

    kind: ClassVar[str] = "key-pair"
    indexes: ClassVar[tuple[str, ...]] = ("name",)

    name: str
    type: Literal["rsa", "ed25519"]
    public_key: str
    fingerprint: str
    created: datetime


def key_name_scope(account: str, region: str) -> str:
    """The claim scope in which an account's key names are unique."""
    return f"key-pair-name/{account}/{region}"
