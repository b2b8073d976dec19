"""The kinds of keys: what each can do, with which algorithms, and how its secret is made.

See https://docs.aws.amazon.com/kms/latest/developerguide/symm-asymm-choose-key-spec.html. Kinds that AWS has and this
cloud has not: SM2, ML-DSA, ML-KEM.
"""

import secrets
from collections.abc import Mapping
from typing import cast

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)

from pileus.records.kms_key import SYMMETRIC
from pileus.services.kms.errors import UnsupportedOperationException, ValidationException

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

CURVES: Mapping[str, type[ec.EllipticCurve]] = {
    "ECC_NIST_P256": ec.SECP256R1,
    "ECC_NIST_P384": ec.SECP384R1,
    "ECC_NIST_P521": ec.SECP521R1,
    "ECC_SECG_P256K1": ec.SECP256K1,
}
RSA_BITS = {"RSA_2048": 2048, "RSA_3072": 3072, "RSA_4096": 4096}
ED25519 = "ECC_NIST_EDWARDS25519"
_HMAC_BYTES = {"HMAC_224": 28, "HMAC_256": 32, "HMAC_384": 48, "HMAC_512": 64}
_RSA_SIGNING = tuple(
    f"RSASSA_{padding}_SHA_{digest}" for padding in ("PSS", "PKCS1_V1_5") for digest in ("256", "384", "512")
)
_CURVE_SIGNING = {
    "ECC_NIST_P256": "ECDSA_SHA_256",
    "ECC_SECG_P256K1": "ECDSA_SHA_256",
    "ECC_NIST_P384": "ECDSA_SHA_384",
    "ECC_NIST_P521": "ECDSA_SHA_512",
}
ENCRYPT, SIGN, MAC, AGREE = "ENCRYPT_DECRYPT", "SIGN_VERIFY", "GENERATE_VERIFY_MAC", "KEY_AGREEMENT"


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """A KeySpec: the usages that it can have, each with its algorithms. ``size`` is that of a secret without structure."""

    usages: Mapping[str, tuple[str, ...]]
    size: int | None = None


KINDS: Mapping[str, Kind] = {
    SYMMETRIC: Kind(usages={ENCRYPT: (SYMMETRIC,)}, size=32),
    **{spec: Kind(usages={MAC: (spec.replace("_", "_SHA_"),)}, size=size) for spec, size in _HMAC_BYTES.items()},
    **{
        spec: Kind(usages={ENCRYPT: ("RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"), SIGN: _RSA_SIGNING})
        for spec in RSA_BITS
    },
    **{
        spec: Kind(usages={SIGN: (algorithm,)} | ({} if spec == "ECC_SECG_P256K1" else {AGREE: ("ECDH",)}))
        for spec, algorithm in _CURVE_SIGNING.items()
    },
    ED25519: Kind(usages={SIGN: ("ED25519_SHA_512",)}),
}

PAIRS = frozenset({*RSA_BITS, *CURVES, ED25519})
"""The kinds that have a public half."""


def kind_of(spec: str) -> Kind:
    """Raises UnsupportedOperationException for a kind that this cloud has not."""
    kind = KINDS.get(spec)
    if kind is None:
        raise UnsupportedOperationException(f"The key spec {spec} is not available in this cloud.")
    return kind


def algorithms(spec: str, usage: str) -> tuple[str, ...]:
    """What a key of this kind can be used with."""
    return KINDS[spec].usages[usage]


def usage_for(spec: str, usage: str | None) -> str:
    """The usage of a new key. Raises ValidationException unless it is said, needless, and fits."""
    kind = kind_of(spec)
    if usage is None:
        if spec == SYMMETRIC:
            return ENCRYPT
        raise ValidationException(
            "You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys."
        )
    if usage not in kind.usages:
        raise ValidationException(f"KeyUsage {usage} is not compatible with KeySpec {spec}")
    return usage


def new_secret(spec: str) -> bytes:
    """A fresh secret: random bytes, or a private key as PKCS #8. RSA takes up to seconds: not to be done on the loop."""
    size = kind_of(spec).size
    if size is not None:
        return secrets.token_bytes(size)
    return private_bytes(_new_private_key(spec))


def _new_private_key(spec: str) -> PrivateKey:
    if spec in RSA_BITS:
        return rsa.generate_private_key(65537, RSA_BITS[spec])
    if spec in CURVES:
        return ec.generate_private_key(CURVES[spec]())
    return ed25519.Ed25519PrivateKey.generate()


def private_bytes(key: PrivateKey) -> bytes:
    """A private key as PKCS #8 (DER)."""
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def load_private(secret: bytes) -> PrivateKey:
    """What ``private_bytes`` gave."""
    return cast("PrivateKey", load_der_private_key(secret, None))


def public_bytes(secret: bytes) -> bytes:
    """The public half of a private key (PKCS #8) as SubjectPublicKeyInfo (DER)."""
    return load_private(secret).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
