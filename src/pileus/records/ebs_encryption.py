"""How an account's volumes are encrypted when nothing is said."""

from typing import ClassVar

from pileus.base.record import Record


class EbsEncryption(Record, frozen=True, kw_only=True):
    """An account's settings in a region; ``id`` is ``ebs_encryption_id``. There is none while both are the default.

    ``by_default``: whether new volumes and copies of snapshots are always encrypted. ``kms_key_arn``: under which key,
    where none is named; None: ``alias/aws/ebs``.
    """

    kind: ClassVar[str] = "ebs-encryption"

    by_default: bool = False
    kms_key_arn: str | None = None


def ebs_encryption_id(account: str, region: str) -> str:
    """The record id of an account's settings in a region."""
    return f"{account}/{region}"
