"""Public halves of keys, data key pairs, and secrets agreed with another's public key."""

import asyncio
import base64
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key

from pileus.operations import keys
from pileus.operations.context import Context
from pileus.operations.keys import open_material
from pileus.services.kms.access import blob_of, check_algorithm, check_operation, context_of, end_dry_run, key_to_use
from pileus.services.kms.encryption import check_symmetric
from pileus.services.kms.errors import UnsupportedOperationException, ValidationException
from pileus.services.kms.service import kms
from pileus.services.kms.specs import AGREE, ENCRYPT, PAIRS, SIGN, algorithms, load_private, new_secret, public_bytes

if TYPE_CHECKING:
    from types_boto3_kms.type_defs import DeriveSharedSecretRequestTypeDef, GetPublicKeyRequestTypeDef

_ALGORITHMS = {ENCRYPT: "EncryptionAlgorithms", SIGN: "SigningAlgorithms", AGREE: "KeyAgreementAlgorithms"}


@kms.reads("GetPublicKey")
def get_public_key(context: Context, params: "GetPublicKeyRequestTypeDef") -> dict[str, Any]:
    """The public half of an asymmetric key, as SubjectPublicKeyInfo (DER)."""
    key = keys.find_key(context.view, context.account, context.region, params["KeyId"])
    check_operation(context, params, key, "GetPublicKey", None)
    if key.public is None:
        raise UnsupportedOperationException(f"{key.arn} has no public key.")
    return {
        "KeyId": key.arn,
        "PublicKey": base64.b64decode(key.public),
        "CustomerMasterKeySpec": key.spec,
        "KeySpec": key.spec,
        "KeyUsage": key.usage,
        _ALGORITHMS[key.usage]: list(algorithms(key.spec, key.usage)),
    }


@kms.waits("GenerateDataKeyPair")
async def generate_data_key_pair(context: Context, params: Mapping[str, Any]) -> dict[str, Any]:
    """A fresh key pair; its private half in the clear and encrypted."""
    return await _pair(context, params)


@kms.waits("GenerateDataKeyPairWithoutPlaintext")
async def generate_data_key_pair_without_plaintext(context: Context, params: Mapping[str, Any]) -> dict[str, Any]:
    """A fresh key pair; its private half encrypted only."""
    told = await _pair(context, params)
    del told["PrivateKeyPlaintext"]
    return told


async def _pair(context: Context, params: Mapping[str, Any]) -> dict[str, Any]:
    bound, spec = context_of(params), params["KeyPairSpec"]
    key = key_to_use(context, params, ENCRYPT, bound=bound)
    check_symmetric(key)
    if spec not in PAIRS:
        raise UnsupportedOperationException(f"The key pair spec {spec} is not available in this cloud.")
    end_dry_run(params)
    private = await asyncio.to_thread(new_secret, spec)
    return {
        "PrivateKeyCiphertextBlob": keys.encrypt(context.env.sealer, key, private, bound),
        "PrivateKeyPlaintext": private,
        "PublicKey": public_bytes(private),
        "KeyId": key.arn,
        "KeyPairSpec": spec,
        "KeyMaterialId": key.materials[-1].id,
    }


@kms.reads("DeriveSharedSecret")
def derive_shared_secret(context: Context, params: "DeriveSharedSecretRequestTypeDef") -> dict[str, Any]:
    """ECDH (SP 800-56A, 5.7.1.2) with another's public key: the raw shared secret."""
    key = key_to_use(context, params, AGREE)
    algorithm = params["KeyAgreementAlgorithm"]
    check_algorithm(key, algorithm)
    private = load_private(open_material(context.env.sealer, key))
    assert isinstance(private, ec.EllipticCurvePrivateKey), "keys of this usage are"
    try:
        public = load_der_public_key(blob_of(params, "PublicKey"))
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ValidationException("The public key is not valid.") from error
    if not isinstance(public, ec.EllipticCurvePublicKey) or public.curve.name != private.curve.name:
        raise ValidationException(f"The public key is not of the key's kind, {key.spec}.")
    end_dry_run(params)
    return {
        "KeyId": key.arn,
        "SharedSecret": private.exchange(ec.ECDH(), public),
        "KeyAgreementAlgorithm": algorithm,
        "KeyOrigin": key.origin,
    }
