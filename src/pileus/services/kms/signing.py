"""Signing and verifying with asymmetric keys. Signatures as RFC 8017 (RSA), ANSI X9.62 in DER (ECDSA), RFC 8032 (Ed25519)."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from pileus.operations.context import Context
from pileus.operations.keys import open_material
from pileus.records import KmsKey
from pileus.services.kms.access import blob_of, check_algorithm, end_dry_run, key_to_use
from pileus.services.kms.errors import KMSInvalidSignatureException, UnsupportedOperationException, ValidationException
from pileus.services.kms.service import kms
from pileus.services.kms.specs import SIGN, PrivateKey, load_private

if TYPE_CHECKING:
    from types_boto3_kms.type_defs import SignRequestTypeDef, VerifyRequestTypeDef

_DIGESTS: Mapping[str, type[hashes.HashAlgorithm]] = {
    "256": hashes.SHA256,
    "384": hashes.SHA384,
    "512": hashes.SHA512,
}


@kms.reads("Sign")
def sign(context: Context, params: "SignRequestTypeDef") -> dict[str, Any]:
    """Signs a message of up to 4096 bytes, or a digest."""
    key, message = _checked(context, params)
    algorithm = params["SigningAlgorithm"]
    end_dry_run(params)
    signature = _sign(_private(context, key), algorithm, message, _hash(params))
    return {"KeyId": key.arn, "Signature": signature, "SigningAlgorithm": algorithm}


@kms.reads("Verify")
def verify(context: Context, params: "VerifyRequestTypeDef") -> dict[str, Any]:
    """Whether a signature is genuine. Raises KMSInvalidSignatureException when it is not."""
    key, message = _checked(context, params)
    algorithm = params["SigningAlgorithm"]
    end_dry_run(params)
    try:
        _verify(_private(context, key), algorithm, message, blob_of(params, "Signature"), _hash(params))
    except InvalidSignature as error:
        raise KMSInvalidSignatureException from error
    return {"KeyId": key.arn, "SignatureValid": True, "SigningAlgorithm": algorithm}


def _checked(context: Context, params: Mapping[str, Any]) -> tuple[KmsKey, bytes]:
    key = key_to_use(context, params, SIGN)
    algorithm, message = params["SigningAlgorithm"], blob_of(params, "Message")
    check_algorithm(key, algorithm)
    kind = params.get("MessageType") or "RAW"
    if kind == "EXTERNAL_MU" or (kind == "DIGEST" and algorithm == "ED25519_SHA_512"):
        raise UnsupportedOperationException(f"MessageType {kind} is not available for {algorithm}.")
    if kind == "DIGEST" and len(message) != _digest(algorithm).digest_size:
        raise ValidationException(f"Digest is invalid length for algorithm {algorithm}.")
    return key, message


def _private(context: Context, key: KmsKey) -> PrivateKey:
    return load_private(open_material(context.env.sealer, key))


def _digest(algorithm: str) -> hashes.HashAlgorithm:
    return _DIGESTS[algorithm.rpartition("_")[2]]()


def _hash(params: Mapping[str, Any]) -> hashes.HashAlgorithm | Prehashed:
    digest = _digest(params["SigningAlgorithm"])
    return Prehashed(digest) if params.get("MessageType") == "DIGEST" else digest


def _rsa_padding(algorithm: str) -> padding.AsymmetricPadding:
    if "PSS" in algorithm:
        digest = _digest(algorithm)
        return padding.PSS(padding.MGF1(digest), digest.digest_size)
    return padding.PKCS1v15()


def _sign(private: PrivateKey, algorithm: str, message: bytes, digest: hashes.HashAlgorithm | Prehashed) -> bytes:
    match private:
        case rsa.RSAPrivateKey():
            return private.sign(message, _rsa_padding(algorithm), digest)
        case ec.EllipticCurvePrivateKey():
            return private.sign(message, ec.ECDSA(digest))
        case _:
            return private.sign(message)


def _verify(
    private: PrivateKey, algorithm: str, message: bytes, signature: bytes, digest: hashes.HashAlgorithm | Prehashed
) -> None:
    match private:
        case rsa.RSAPrivateKey():
            private.public_key().verify(signature, message, _rsa_padding(algorithm), digest)
        case ec.EllipticCurvePrivateKey():
            private.public_key().verify(signature, message, ec.ECDSA(digest))
        case _:
            private.public_key().verify(signature, message)
