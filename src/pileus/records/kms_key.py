"""KMS keys.

See https://docs.aws.amazon.com/kms/latest/developerguide/key-state.html for the states.
"""

from datetime import datetime
from typing import ClassVar, Literal

import msgspec

from pileus.records.tagged import Tagged

KeyState = Literal["Enabled", "Disabled", "PendingDeletion", "PendingImport"]
SYMMETRIC = "SYMMETRIC_DEFAULT"


class KeyMaterial(msgspec.Struct, frozen=True, kw_only=True):
    """One generation of a key's secret. What an earlier one encrypted still opens after a rotation.

    Attributes:
        id: 64 hexadecimal digits, as the API shows it.
        sealed: 32 random bytes, an HMAC key, or a private key as PKCS #8 (DER), sealed by ``base.sealing``; None while
            imported material is deleted or expired.
        rotation: why it took the place of the one before; None for the first.
        expires: when imported material is deleted.
    """

    id: str
    sealed: str | None
    made: datetime
    rotation: Literal["AUTOMATIC", "ON_DEMAND"] | None = None
    expires: datetime | None = None


class KmsKey(Tagged, frozen=True, kw_only=True):
    """A KMS key. ``id`` is a UUID.

    Attributes:
        spec, usage, origin: as in the API (KeySpec, KeyUsage, Origin).
        manager: ``AWS`` for the keys that services make for themselves on first use.
        policy: the key policy, JSON. materials: all generations, the last one encrypts.
        deletion: when it is deleted, while ``PendingDeletion``; ``window`` the days that were asked for.
        rotation_period: days, None while automatic rotation is off. rotation_due: when it is rotated next.
        public: the public half (DER, base64) of an asymmetric key.
    """

    kind: ClassVar[str] = "kms-key"
    indexes: ClassVar[tuple[str, ...]] = ("state",)

    spec: str
    usage: str
    created: datetime
    policy: str
    materials: tuple[KeyMaterial, ...]
    state: KeyState = "Enabled"
    description: str = ""
    manager: Literal["CUSTOMER", "AWS"] = "CUSTOMER"
    origin: Literal["AWS_KMS", "EXTERNAL"] = "AWS_KMS"
    deletion: datetime | None = None
    window: int | None = None
    rotation_period: int | None = None
    rotation_due: datetime | None = None
    public: str | None = None

    @property
    def arn(self) -> str:
        """Its ARN, which is how other records name it."""
        return f"arn:aws:kms:{self.region}:{self.account}:key/{self.id}"

    @property
    def symmetric(self) -> bool:
        """Whether it wraps data keys."""
        return self.spec == SYMMETRIC
