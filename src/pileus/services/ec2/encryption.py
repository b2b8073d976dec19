"""Encryption of volumes and snapshots: the account's defaults, and which key something new is encrypted under.

Called by the modules that make volumes, snapshots and images. See
https://docs.aws.amazon.com/ebs/latest/userguide/how-ebs-encryption-works.html for the rules.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from pileus.base.errors import ServiceError
from pileus.operations.context import Context
from pileus.operations.keys import (
    KeyAccessDenied,
    KeyNotFound,
    KeyUse,
    KmsError,
    check_use,
    choose_key,
    find_key,
    new_data_key,
)
from pileus.records import DataKey, EbsEncryption
from pileus.records.ebs_encryption import ebs_encryption_id
from pileus.records.kms_key import KmsKey
from pileus.services.ec2.service import ec2

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import ModifyEbsDefaultKmsKeyIdRequestTypeDef

_DEFAULT = "alias/aws/ebs"


class InvalidKmsKey(ServiceError):
    """The KMS key is not there, or can't be used now. The code says which."""

    code = "InvalidKMSKey.InvalidState"


class KeyNotAuthorized(ServiceError):
    """The key is another account's, which does not let the caller use it."""

    code = "UnauthorizedOperation"
    status = 403


class InvalidParameterDependency(ServiceError):
    """A parameter that needs another one."""

    code = "InvalidParameterDependency"


class UnencryptedRefused(ServiceError):
    """Something encrypted can't become unencrypted."""

    code = "InvalidParameter"


def encryption_of(
    context: Context,
    encrypted: bool | None,
    kms_key_id: str | None,
    source_data_key_id: str | None = None,
    *,
    keep: bool = True,
) -> str | None:
    """The id of the data key for something new, which a writing call is about to put on record; None: not encrypted.

    Args:
        encrypted, kms_key_id: the call's parameters. source_data_key_id: the data key of the snapshot or volume that it is
            made from; that must be visible to the caller.
        keep: whether it has its source's data key unless another KMS key is named (volumes, snapshots), or a fresh one
            under the account's default key (copies of snapshots). Another account's is never kept.

    Raises:
        InvalidParameterDependency: a key, and nothing to be encrypted. UnencryptedRefused: not encrypted, from something
            that is. InvalidKmsKey, KeyNotAuthorized: a key is not to be had.
    """
    source = context.view.get(DataKey, source_data_key_id) if source_data_key_id else None
    settings = _settings(context)
    wanted = encrypted or source is not None or settings.by_default
    if encrypted is False and source is not None:
        raise UnencryptedRefused("The encrypted flag cannot be false when the source is encrypted.")
    if kms_key_id is not None and not (encrypted or (encrypted is None and wanted)):
        raise InvalidParameterDependency("The parameter KmsKeyId requires the parameter Encrypted to be set.")
    if not wanted:
        return None
    try:
        if source is not None:
            _check_source(context, source)
        if source is not None and source.account == context.account and keep and kms_key_id is None:
            return source.id
        key = choose_key(context, kms_key_id or settings.kms_key_arn, "ebs")
        if source is not None and (source.account, source.kms_key_arn) == (context.account, key.arn) and keep:
            return source.id
        return new_data_key(context, None, key=key).id
    except KmsError as error:
        raise told(error) from error


def told(error: KmsError) -> ServiceError:
    """What EC2 says of a KMS key that can't be used."""
    match error:
        case KeyNotFound():
            return InvalidKmsKey(error.message, code="InvalidKMSKey.NotFound")
        case KeyAccessDenied():
            return KeyNotAuthorized(error.message)
        case _:
            return InvalidKmsKey(error.message or "The KMS key provided is in an incorrect state")


def kms_key_of(context: Context, data_key_id: str | None) -> str | None:
    """The ARN of the KMS key that something is encrypted under, as Describe operations show it; None: not encrypted."""
    data_key = context.view.get(DataKey, data_key_id) if data_key_id else None
    return data_key.kms_key_arn if data_key else None


def _check_source(context: Context, source: DataKey) -> None:
    """Raises KmsError unless the caller may have what the source is encrypted with, and the key is enabled."""
    region, account = source.region, source.kms_key_arn.split(":")[4]
    key = find_key(context.view, account, region, source.kms_key_arn)
    use = KeyUse(identity=context.call.identity, operation="Decrypt", service="ebs")
    check_use(context.view, context.env.sealer, key, use)


def _settings(context: Context) -> EbsEncryption:
    id_ = ebs_encryption_id(context.account, context.region)
    found = context.view.get(EbsEncryption, id_)
    return found or EbsEncryption(id=id_, account=context.account, region=context.region)


@ec2.reads("GetEbsEncryptionByDefault")
def get_ebs_encryption_by_default(context: Context, _params: Mapping[str, Any]) -> dict[str, Any]:
    """Whether new volumes are always encrypted."""
    return {"EbsEncryptionByDefault": _settings(context).by_default}


@ec2.writes("EnableEbsEncryptionByDefault")
def enable_ebs_encryption_by_default(context: Context, _params: Mapping[str, Any]) -> dict[str, Any]:
    """From now on all new volumes and copies of snapshots are encrypted."""
    context.tx.put(replace(_settings(context), by_default=True))
    return {"EbsEncryptionByDefault": True}


@ec2.writes("DisableEbsEncryptionByDefault")
def disable_ebs_encryption_by_default(context: Context, _params: Mapping[str, Any]) -> dict[str, Any]:
    """From now on only what is asked to be is encrypted."""
    context.tx.put(replace(_settings(context), by_default=False))
    return {"EbsEncryptionByDefault": False}


@ec2.reads("GetEbsDefaultKmsKeyId")
def get_ebs_default_kms_key_id(context: Context, _params: Mapping[str, Any]) -> dict[str, Any]:
    """The key under which volumes are encrypted when none is named."""
    return {"KmsKeyId": _settings(context).kms_key_arn or _DEFAULT}


@ec2.writes("ModifyEbsDefaultKmsKeyId")
def modify_ebs_default_kms_key_id(context: Context, params: "ModifyEbsDefaultKmsKeyIdRequestTypeDef") -> dict[str, Any]:
    """Chooses another one. Raises InvalidKmsKey, KeyNotAuthorized."""
    key = _chosen(context, params["KmsKeyId"])
    context.tx.put(replace(_settings(context), kms_key_arn=key.arn))
    return {"KmsKeyId": key.arn}


def _chosen(context: Context, name: str) -> KmsKey:
    try:
        return choose_key(context, name, "ebs")
    except KmsError as error:
        raise told(error) from error


@ec2.writes("ResetEbsDefaultKmsKeyId")
def reset_ebs_default_kms_key_id(context: Context, _params: Mapping[str, Any]) -> dict[str, Any]:
    """Back to the key that EBS makes for the account."""
    context.tx.put(replace(_settings(context), kms_key_arn=None))
    return {"KmsKeyId": f"arn:aws:kms:{context.region}:{context.account}:{_DEFAULT}"}
