"""Message authentication codes with HMAC keys (RFC 2104, FIPS 198-1)."""

import hmac
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pileus.operations.context import Context
from pileus.operations.keys import open_material
from pileus.records import KmsKey
from pileus.services.kms.access import blob_of, check_algorithm, end_dry_run, key_to_use
from pileus.services.kms.errors import KMSInvalidMacException
from pileus.services.kms.service import kms
from pileus.services.kms.specs import MAC

if TYPE_CHECKING:
    from types_boto3_kms.type_defs import GenerateMacRequestTypeDef, VerifyMacRequestTypeDef


@kms.reads("GenerateMac")
def generate_mac(context: Context, params: "GenerateMacRequestTypeDef") -> dict[str, Any]:
    """The MAC of a message of up to 4096 bytes."""
    key, algorithm = _checked(context, params)
    end_dry_run(params)
    return {"Mac": _mac(context, key, params), "MacAlgorithm": algorithm, "KeyId": key.arn}


@kms.reads("VerifyMac")
def verify_mac(context: Context, params: "VerifyMacRequestTypeDef") -> dict[str, Any]:
    """Whether a MAC is genuine. Raises KMSInvalidMacException when it is not."""
    key, algorithm = _checked(context, params)
    end_dry_run(params)
    if not hmac.compare_digest(_mac(context, key, params), blob_of(params, "Mac")):
        raise KMSInvalidMacException
    return {"KeyId": key.arn, "MacValid": True, "MacAlgorithm": algorithm}


def _checked(context: Context, params: Mapping[str, Any]) -> tuple[KmsKey, str]:
    key = key_to_use(context, params, MAC)
    check_algorithm(key, params["MacAlgorithm"])
    return key, params["MacAlgorithm"]


def _mac(context: Context, key: KmsKey, params: Mapping[str, Any]) -> bytes:
    digest = f"sha{params['MacAlgorithm'].rpartition('_')[2]}"
    return hmac.digest(open_material(context.env.sealer, key), blob_of(params, "Message"), digest)
