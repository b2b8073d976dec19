"""Encrypting, decrypting, data keys and random bytes.

See https://docs.aws.amazon.com/kms/latest/APIReference/API_Encrypt.html and its neighbours for limits and errors.
"""

import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from pileus.operations import keys
from pileus.operations.ciphertext import Ciphertext
from pileus.operations.context import Context
from pileus.operations.keys import InvalidCiphertext, open_material
from pileus.records import KmsKey
from pileus.records.kms_key import SYMMETRIC
from pileus.services.kms.access import (
    blob_of,
    check_algorithm,
    check_operation,
    check_usage,
    context_of,
    end_dry_run,
    key_to_use,
)
from pileus.services.kms.errors import IncorrectKeyException, UnsupportedOperationException, ValidationException
from pileus.services.kms.service import kms
from pileus.services.kms.specs import ENCRYPT, load_private

if TYPE_CHECKING:
    from types_boto3_kms.type_defs import (
        DecryptRequestTypeDef,
        EncryptRequestTypeDef,
        GenerateDataKeyRequestTypeDef,
        GenerateRandomRequestTypeDef,
        ReEncryptRequestTypeDef,
    )

_OAEP: Mapping[str, type[hashes.HashAlgorithm]] = {
    "RSAES_OAEP_SHA_1": hashes.SHA1,
    "RSAES_OAEP_SHA_256": hashes.SHA256,
}
_BYTES = {"AES_256": 32, "AES_128": 16}
_MOST_BYTES = 1024


@kms.reads("Encrypt")
def encrypt(context: Context, params: "EncryptRequestTypeDef") -> dict[str, Any]:
    """Encrypts up to 4096 bytes (with RSA as many as fit)."""
    bound, algorithm = context_of(params), params.get("EncryptionAlgorithm") or SYMMETRIC
    key = key_to_use(context, params, ENCRYPT, bound=bound)
    check_algorithm(key, algorithm)
    end_dry_run(params)
    blob = _encrypt(context, key, algorithm, blob_of(params, "Plaintext"), bound)
    return {"CiphertextBlob": blob, "KeyId": key.arn, "EncryptionAlgorithm": algorithm}


@kms.reads("Decrypt")
def decrypt(context: Context, params: "DecryptRequestTypeDef") -> dict[str, Any]:
    """Decrypts what Encrypt or GenerateDataKey… gave. A symmetric ciphertext says itself which key it is of.

    Raises:
        InvalidCiphertext: it is damaged, or the context is another. IncorrectKeyException: the named key is another.
    """
    bound, algorithm = context_of(params), params.get("EncryptionAlgorithm") or SYMMETRIC
    blob = blob_of(params, "CiphertextBlob")
    key, parts = _opened(context, params, "Decrypt", params.get("KeyId"), algorithm, blob, bound)
    end_dry_run(params)
    plaintext = _decrypt(context, key, algorithm, parts, blob, bound)
    told: dict[str, Any] = {"KeyId": key.arn, "Plaintext": plaintext, "EncryptionAlgorithm": algorithm}
    if parts is not None:
        told["KeyMaterialId"] = key.materials[parts.generation].id
    return told


@kms.reads("ReEncrypt")
def re_encrypt(context: Context, params: "ReEncryptRequestTypeDef") -> dict[str, Any]:
    """Decrypts and encrypts anew, perhaps under another key or in another context; the plaintext stays in here."""
    source_bound = context_of(params, "SourceEncryptionContext")
    target_bound = context_of(params, "DestinationEncryptionContext")
    source_algorithm = params.get("SourceEncryptionAlgorithm") or SYMMETRIC
    target_algorithm = params.get("DestinationEncryptionAlgorithm") or SYMMETRIC
    blob = blob_of(params, "CiphertextBlob")
    source, parts = _opened(
        context, params, "ReEncryptFrom", params.get("SourceKeyId"), source_algorithm, blob, source_bound
    )
    target = key_to_use(
        context, params, ENCRYPT, name=params["DestinationKeyId"], operation="ReEncryptTo", bound=target_bound
    )
    check_algorithm(target, target_algorithm)
    end_dry_run(params)
    plaintext = _decrypt(context, source, source_algorithm, parts, blob, source_bound)
    told: dict[str, Any] = {
        "CiphertextBlob": _encrypt(context, target, target_algorithm, plaintext, target_bound),
        "SourceKeyId": source.arn,
        "KeyId": target.arn,
        "SourceEncryptionAlgorithm": source_algorithm,
        "DestinationEncryptionAlgorithm": target_algorithm,
    }
    if parts is not None:
        told["SourceKeyMaterialId"] = source.materials[parts.generation].id
    if target.symmetric:
        told["DestinationKeyMaterialId"] = target.materials[-1].id
    return told


@kms.reads("GenerateDataKey")
def generate_data_key(context: Context, params: "GenerateDataKeyRequestTypeDef") -> dict[str, Any]:
    """Random bytes, in the clear and encrypted."""
    return _generate(context, params)


@kms.reads("GenerateDataKeyWithoutPlaintext")
def generate_data_key_without_plaintext(context: Context, params: Mapping[str, Any]) -> dict[str, Any]:
    """Random bytes, encrypted only."""
    told = _generate(context, params)
    del told["Plaintext"]
    return told


def _generate(context: Context, params: Mapping[str, Any]) -> dict[str, Any]:
    bound = context_of(params)
    spec, number = params.get("KeySpec"), params.get("NumberOfBytes")
    if (spec is None) == (number is None):
        raise ValidationException("Please specify either number of bytes or key spec.")
    key = key_to_use(context, params, ENCRYPT, bound=bound)
    check_symmetric(key)
    end_dry_run(params)
    plaintext = secrets.token_bytes(_BYTES[spec] if spec is not None else _checked_number(number))
    return {
        "CiphertextBlob": keys.encrypt(context.env.sealer, key, plaintext, bound),
        "Plaintext": plaintext,
        "KeyId": key.arn,
        "KeyMaterialId": key.materials[-1].id,
    }


def check_symmetric(key: KmsKey) -> None:
    """Raises KeyUsageInvalid for a key that can't protect data keys."""
    check_algorithm(key, SYMMETRIC)


def _checked_number(number: int | None) -> int:
    if number is None or not 1 <= number <= _MOST_BYTES:
        raise ValidationException(f"NumberOfBytes must be between 1 and {_MOST_BYTES}.")
    return number


@kms.reads("GenerateRandom")
def generate_random(_context: Context, params: "GenerateRandomRequestTypeDef") -> dict[str, Any]:
    """Random bytes of the operating system."""
    for name in ("CustomKeyStoreId", "Recipient"):
        if params.get(name) is not None:
            raise UnsupportedOperationException(f"{name} is not available in this cloud.")
    return {"Plaintext": secrets.token_bytes(_checked_number(params.get("NumberOfBytes")))}


def _opened(
    context: Context,
    params: Mapping[str, Any],
    operation: str,
    name: str | None,
    algorithm: str,
    blob: bytes,
    bound: Mapping[str, str],
) -> tuple[KmsKey, Ciphertext | None]:
    """The key that opens a ciphertext, checked, and the parts of a symmetric one."""
    if params.get("DryRunModifiers"):
        raise UnsupportedOperationException("DryRunModifiers are not available in this cloud.")
    if algorithm != SYMMETRIC:
        if name is None:
            raise ValidationException(f"The key ID is required to decrypt with {algorithm}.")
        key = key_to_use(context, params, ENCRYPT, name=name, operation=operation, bound=bound)
        check_algorithm(key, algorithm)
        return key, None
    named = key_to_use(context, params, ENCRYPT, name=name, operation=operation, bound=bound) if name else None
    if named is not None:
        check_algorithm(named, algorithm)
    key, parts = keys.key_of(context.view, context.region, blob)
    if named is None:
        if params.get("Recipient") is not None:
            raise UnsupportedOperationException("Attested requests are not available in this cloud.")
        check_operation(context, params, key, operation, bound)
        check_usage(context, key, ENCRYPT)
    elif named.id != key.id:
        raise IncorrectKeyException
    return key, parts


def _encrypt(context: Context, key: KmsKey, algorithm: str, plaintext: bytes, bound: Mapping[str, str]) -> bytes:
    if algorithm == SYMMETRIC:
        return keys.encrypt(context.env.sealer, key, plaintext, bound)
    _refuse_context(bound)
    private = _rsa(context, key)
    most = private.key_size // 8 - 2 * _OAEP[algorithm]().digest_size - 2
    if len(plaintext) > most:
        raise ValidationException(
            f"Algorithm {algorithm} and key spec {key.spec} cannot encrypt data larger than {most} bytes."
        )
    return private.public_key().encrypt(plaintext, _padding(algorithm))


def _decrypt(
    context: Context, key: KmsKey, algorithm: str, parts: Ciphertext | None, blob: bytes, bound: Mapping[str, str]
) -> bytes:
    if parts is not None:
        return keys.decrypt(context.env.sealer, key, parts, bound)
    _refuse_context(bound)
    try:
        return _rsa(context, key).decrypt(blob, _padding(algorithm))
    except ValueError as error:
        raise InvalidCiphertext from error


def _refuse_context(bound: Mapping[str, str]) -> None:
    if bound:
        raise ValidationException("An encryption context is valid for symmetric encryption keys only.")


def _rsa(context: Context, key: KmsKey) -> RSAPrivateKey:
    private = load_private(open_material(context.env.sealer, key))
    assert isinstance(private, RSAPrivateKey), "its algorithm was checked"
    return private


def _padding(algorithm: str) -> padding.OAEP:
    digest = _OAEP[algorithm]()
    return padding.OAEP(padding.MGF1(digest), digest, None)
