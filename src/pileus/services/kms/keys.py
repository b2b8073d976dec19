"""Keys: made, described, listed."""

import base64
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from pileus.base.ids import new_request_id
from pileus.operations.context import Context
from pileus.operations.key_access import default_policy
from pileus.operations.keys import AwsService, default_key, new_material
from pileus.records import KmsAlias, KmsKey
from pileus.records.kms_alias import alias_id
from pileus.records.kms_key import SYMMETRIC
from pileus.services.kms.access import answer_page, key_to_change, key_to_see
from pileus.services.kms.errors import UnsupportedOperationException, ValidationException
from pileus.services.kms.policies import check_policy
from pileus.services.kms.service import kms
from pileus.services.kms.specs import AGREE, ENCRYPT, MAC, PAIRS, SIGN, algorithms, new_secret, public_bytes, usage_for
from pileus.services.kms.tags import parse_tags

if TYPE_CHECKING:
    from types_boto3_kms.type_defs import DescribeKeyRequestTypeDef, UpdateKeyDescriptionRequestTypeDef

MANAGED: Mapping[str, AwsService] = {"alias/aws/ebs": "ebs", "alias/aws/s3": "s3"}
"""The aliases whose keys AWS's services make on first use."""

_SECRET = "Secret"  # noqa: S105 - the name of what ``_prepare`` adds to the parameters


def _spec(params: Mapping[str, Any]) -> str:
    old, new = params.get("CustomerMasterKeySpec"), params.get("KeySpec")
    if old and new:
        raise ValidationException(
            "You cannot specify KeySpec and CustomerMasterKeySpec in the same request. "
            "CustomerMasterKeySpec is deprecated."
        )
    return new or old or SYMMETRIC


def _prepare(params: Mapping[str, Any]) -> Mapping[str, Any]:
    """The parameters with the secret of the key, which takes its time for RSA."""
    spec = _spec(params)
    usage_for(spec, params.get("KeyUsage"))
    return {**params, _SECRET: new_secret(spec)}


@kms.writes("CreateKey", prepare=_prepare)
def create_key(context: Context, params: Mapping[str, Any]) -> dict[str, Any]:
    """A key of the caller's, enabled at once; with origin EXTERNAL it waits for its material.

    Raises:
        ValidationException: usage and kind do not fit. UnsupportedOperationException: a feature that this cloud has not.
        MalformedPolicyDocumentException, TagException.
    """
    spec, origin = _spec(params), params.get("Origin") or "AWS_KMS"
    usage = usage_for(spec, params.get("KeyUsage"))
    for name in ("CustomKeyStoreId", "XksKeyId", "MultiRegion"):
        if params.get(name):
            raise UnsupportedOperationException(f"{name} is not available in this cloud.")
    if origin not in {"AWS_KMS", "EXTERNAL"} or (origin == "EXTERNAL" and spec in PAIRS):
        raise UnsupportedOperationException(f"Origin {origin} is not available for {spec} in this cloud.")
    policy = params.get("Policy") or default_policy(context.account)
    tags = parse_tags(params.get("Tags") or ())
    id_, secret = new_request_id(), params[_SECRET]
    external = origin == "EXTERNAL"
    key = KmsKey(
        id=id_,
        account=context.account,
        region=context.region,
        spec=spec,
        usage=usage,
        created=context.now,
        policy=policy,
        materials=() if external else (new_material(context.env.sealer, id_, secret, context.now),),
        state="PendingImport" if external else "Enabled",
        description=params.get("Description") or "",
        origin=origin,
        public=base64.b64encode(public_bytes(secret)).decode() if spec in PAIRS else None,
        tags=tags,
    )
    check_policy(context, key, policy, bypass=bool(params.get("BypassPolicyLockoutSafetyCheck")))
    return {"KeyMetadata": metadata(context.tx.put(key))}


@kms.writes("DescribeKey")
def describe_key(context: Context, params: "DescribeKeyRequestTypeDef") -> dict[str, Any]:
    """A key by any of its names. That of an AWS service is made when it is first asked for."""
    name = params["KeyId"]
    own = f"arn:aws:kms:{context.region}:{context.account}:"
    service = MANAGED.get(name.removeprefix(own))
    if (
        service
        and context.view.get(KmsAlias, alias_id(context.account, context.region, name.removeprefix(own))) is None
    ):
        key = default_key(context.tx, context.env.sealer, context.account, context.region, service, context.now)
        return {"KeyMetadata": metadata(key)}
    return {"KeyMetadata": metadata(key_to_see(context, name, params))}


@kms.reads("ListKeys")
def list_keys(context: Context, params: Mapping[str, Any]) -> dict[str, Any]:
    """The caller's keys."""
    return answer_page(
        context,
        params,
        "Keys",
        context.view.list(KmsKey, account=context.account, region=context.region),
        lambda key: key.id,
        lambda key: {"KeyId": key.id, "KeyArn": key.arn},
        most=1000,
        default=100,
    )


@kms.writes("UpdateKeyDescription")
def update_key_description(context: Context, params: "UpdateKeyDescriptionRequestTypeDef") -> dict[str, Any]:
    """Another description."""
    context.tx.put(replace(key_to_change(context, params["KeyId"]), description=params["Description"]))
    return {}


def metadata(key: KmsKey) -> dict[str, Any]:
    """A key as DescribeKey tells it."""
    expires = key.materials[-1].expires if key.materials else None
    usable = algorithms(key.spec, key.usage)
    names = {
        ENCRYPT: "EncryptionAlgorithms",
        SIGN: "SigningAlgorithms",
        MAC: "MacAlgorithms",
        AGREE: "KeyAgreementAlgorithms",
    }
    drawn: dict[str, Any] = {
        "AWSAccountId": key.account,
        "KeyId": key.id,
        "Arn": key.arn,
        "CreationDate": key.created,
        "Enabled": key.state == "Enabled",
        "Description": key.description,
        "KeyUsage": key.usage,
        "KeyState": key.state,
        "DeletionDate": key.deletion,
        "Origin": key.origin,
        "KeyManager": "AWS" if key.manager == "AWS" else "CUSTOMER",
        "CustomerMasterKeySpec": key.spec,
        "KeySpec": key.spec,
        names[key.usage]: list(usable),
        "MultiRegion": False,
    }
    if key.origin == "EXTERNAL" and key.state != "PendingImport":
        drawn["ExpirationModel"] = "KEY_MATERIAL_EXPIRES" if expires else "KEY_MATERIAL_DOES_NOT_EXPIRE"
        drawn["ValidTo"] = expires
    if key.symmetric and key.materials:
        drawn["CurrentKeyMaterialId"] = key.materials[-1].id
    return {name: value for name, value in drawn.items() if value is not None}
