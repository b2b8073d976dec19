"""Key material that its owner brings along (origin EXTERNAL), wrapped under a public key that is made for the purpose.

See https://docs.aws.amazon.com/kms/latest/developerguide/importing-keys-overview.html. The import token is the private
half of that key, sealed for the one KMS key; nothing is kept here in between.
"""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
from cryptography.hazmat.primitives import hashes, keywrap
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from msgspec.structs import replace

from pileus.base.sealing import SealBroken
from pileus.operations.context import Context
from pileus.operations.keys import InvalidCiphertext, new_material
from pileus.records import KmsKey
from pileus.services.kms.access import blob_of, key_to_change
from pileus.services.kms.errors import (
    ExpiredImportTokenException,
    IncorrectKeyMaterialException,
    InvalidImportTokenException,
    UnsupportedOperationException,
    ValidationException,
)
from pileus.services.kms.service import kms
from pileus.services.kms.specs import KINDS, RSA_BITS, load_private, new_secret, public_bytes

if TYPE_CHECKING:
    from types_boto3_kms.type_defs import DeleteImportedKeyMaterialRequestTypeDef, GetParametersForImportRequestTypeDef

VALID_FOR = timedelta(hours=24)
"""How long import parameters can be used."""

_LONGEST = timedelta(days=365)
_UNWRAP: Mapping[str, Callable[[RSAPrivateKey, bytes], bytes]] = {
    "RSAES_OAEP_SHA_1": lambda key, wrapped: _oaep(key, wrapped, hashes.SHA1()),  # noqa: S303 - as asked for; OAEP does not need more
    "RSAES_OAEP_SHA_256": lambda key, wrapped: _oaep(key, wrapped, hashes.SHA256()),
    "RSA_AES_KEY_WRAP_SHA_1": lambda key, wrapped: _aes_wrapped(key, wrapped, hashes.SHA1()),  # noqa: S303
    "RSA_AES_KEY_WRAP_SHA_256": lambda key, wrapped: _aes_wrapped(key, wrapped, hashes.SHA256()),
}


class _Token(msgspec.Struct, frozen=True, array_like=True):
    private: bytes
    algorithm: str
    expires: datetime


@kms.waits("GetParametersForImport")
async def get_parameters_for_import(context: Context, params: "GetParametersForImportRequestTypeDef") -> dict[str, Any]:
    """A public key to wrap the material under, and the token to bring along with it."""
    key = _external(context, params["KeyId"])
    algorithm, spec = params["WrappingAlgorithm"], params["WrappingKeySpec"]
    if algorithm not in _UNWRAP or spec not in RSA_BITS:
        raise UnsupportedOperationException(f"{algorithm} with {spec} is not available in this cloud.")
    private = await asyncio.to_thread(new_secret, spec)
    expires = context.now + VALID_FOR
    token = msgspec.msgpack.encode(_Token(private, algorithm, expires))
    return {
        "KeyId": key.arn,
        "ImportToken": context.env.sealer.seal(token, _sealed_for(key)).encode(),
        "PublicKey": public_bytes(private),
        "ParametersValidTo": expires,
    }


def _sealed_for(key: KmsKey) -> str:
    return f"kms-import/{key.id}"


@kms.writes("ImportKeyMaterial")
def import_key_material(context: Context, params: Mapping[str, Any]) -> dict[str, Any]:
    """Takes the material in; the key is enabled. Material that was deleted or has expired can be brought again.

    Raises:
        InvalidImportTokenException, ExpiredImportTokenException. InvalidCiphertext: it is not wrapped as was agreed.
        IncorrectKeyMaterialException: the key had other material.
    """
    key = _external(context, params["KeyId"])
    if params.get("ImportType") == "NEW_KEY_MATERIAL" and key.materials:
        raise UnsupportedOperationException("Keys of this cloud can't have several imported materials.")
    expires = _expiry(context, params)
    secret = _unwrapped(context, key, params)
    if len(secret) != KINDS[key.spec].size:
        raise InvalidCiphertext
    material = new_material(context.env.sealer, key.id, secret, context.now)
    if key.materials and key.materials[0].id != material.id:
        raise IncorrectKeyMaterialException("The key material is not the one that was imported before.")
    state = "Enabled" if key.state == "PendingImport" else key.state
    context.tx.put(replace(key, materials=(replace(material, expires=expires),), state=state))
    return {"KeyId": key.arn, "KeyMaterialId": material.id}


def _expiry(context: Context, params: Mapping[str, Any]) -> datetime | None:
    model, until = params.get("ExpirationModel") or "KEY_MATERIAL_EXPIRES", params.get("ValidTo")
    if model == "KEY_MATERIAL_DOES_NOT_EXPIRE":
        if until is not None:
            raise ValidationException(
                "A validTo date must not be set if the ExpirationModel is KEY_MATERIAL_DOES_NOT_EXPIRE"
            )
        return None
    if until is None:
        raise ValidationException("A validTo date must be set if the ExpirationModel is KEY_MATERIAL_EXPIRES")
    if not context.now < until <= context.now + _LONGEST:
        raise ValidationException("The validTo date must be in the future, and within 365 days.")
    return until


def _unwrapped(context: Context, key: KmsKey, params: Mapping[str, Any]) -> bytes:
    try:
        raw = context.env.sealer.open(blob_of(params, "ImportToken").decode("ascii"), _sealed_for(key))
    except (SealBroken, UnicodeDecodeError) as error:
        raise InvalidImportTokenException("The import token is not valid for this key.") from error
    token = msgspec.msgpack.decode(raw, type=_Token)
    if token.expires <= context.now:
        raise ExpiredImportTokenException("The import token has expired.")
    private = load_private(token.private)
    assert isinstance(private, RSAPrivateKey), "it was made here"
    try:
        return _UNWRAP[token.algorithm](private, blob_of(params, "EncryptedKeyMaterial"))
    except (ValueError, keywrap.InvalidUnwrap) as error:
        raise InvalidCiphertext from error


def _oaep(key: RSAPrivateKey, wrapped: bytes, digest: hashes.HashAlgorithm) -> bytes:
    return key.decrypt(wrapped, padding.OAEP(padding.MGF1(digest), digest, None))


def _aes_wrapped(key: RSAPrivateKey, wrapped: bytes, digest: hashes.HashAlgorithm) -> bytes:
    """PKCS #11's CKM_RSA_AES_KEY_WRAP: an AES key under RSA, then the material under that (RFC 5649)."""
    size = key.key_size // 8
    return keywrap.aes_key_unwrap_with_padding(_oaep(key, wrapped[:size], digest), wrapped[size:])


@kms.writes("DeleteImportedKeyMaterial")
def delete_imported_key_material(context: Context, params: "DeleteImportedKeyMaterialRequestTypeDef") -> dict[str, Any]:
    """Forgets the material at once; the key waits until it is imported again."""
    key = _external(context, params["KeyId"])
    wanted = params.get("KeyMaterialId")
    if wanted is not None and wanted not in {material.id for material in key.materials}:
        raise ValidationException(f"{key.arn} has no key material {wanted}.")
    told = {"KeyId": key.arn} | ({"KeyMaterialId": key.materials[-1].id} if key.materials else {})
    emptied = tuple(replace(material, sealed=None, expires=None) for material in key.materials)
    context.tx.put(replace(key, materials=emptied, state="PendingImport"))
    return told


def _external(context: Context, name: str) -> KmsKey:
    key = key_to_change(context, name)
    if key.origin != "EXTERNAL":
        raise UnsupportedOperationException(f"{key.arn} origin is {key.origin} which is not valid for this operation.")
    return key
