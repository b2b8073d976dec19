"""Grants: they let others use a key, one operation at a time, without a change of its policy."""

import re
import secrets
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pileus.operations.context import Context
from pileus.operations.key_access import granted, may
from pileus.operations.keys import (
    GRANT_TOKEN,
    KeyAccessDenied,
    KeyNotFound,
    check_state,
    find_key,
    grant_of,
)
from pileus.records import KmsGrant, KmsKey
from pileus.services.kms.access import answer_page, denied, end_dry_run, key_to_see
from pileus.services.kms.errors import (
    InvalidArnException,
    InvalidGrantIdException,
    LimitExceededException,
    UnsupportedOperationException,
    ValidationException,
)
from pileus.services.kms.service import kms
from pileus.services.kms.specs import AGREE, ENCRYPT, MAC, SIGN

if TYPE_CHECKING:
    from types_boto3_kms.type_defs import RetireGrantRequestTypeDef, RevokeGrantRequestTypeDef

_PER_KEY = 50_000
_ACCOUNT = re.compile(r"\d{12}")
_PRINCIPAL = re.compile(
    r"arn:aws:(iam|sts)::\d{12}:(root|(user|role|assumed-role|federated-user)/[\w+=,.@/-]+)", re.ASCII
)
_ID = re.compile(r"[0-9a-f]{64}")
_ALWAYS = frozenset({"CreateGrant", "RetireGrant", "DescribeKey"})
_OF_USAGE = {
    ENCRYPT: frozenset({"Decrypt", "Encrypt", "ReEncryptFrom", "ReEncryptTo"}),
    SIGN: frozenset({"Sign", "Verify"}),
    MAC: frozenset({"GenerateMac", "VerifyMac"}),
    AGREE: frozenset({"DeriveSharedSecret"}),
}
_SYMMETRIC_ONLY = frozenset(
    {
        "GenerateDataKey",
        "GenerateDataKeyWithoutPlaintext",
        "GenerateDataKeyPair",
        "GenerateDataKeyPairWithoutPlaintext",
    }
)


@kms.writes("CreateGrant")
def create_grant(context: Context, params: Mapping[str, Any]) -> dict[str, Any]:
    """A grant; one of the same name with the same content is not made twice, but gets another token.

    Raises:
        ValidationException: operations that the key does not have. InvalidArnException: no principal.
    """
    key = find_key(context.view, context.account, context.region, params["KeyId"])
    for name in ("GranteeServicePrincipal", "RetiringServicePrincipal"):
        if params.get(name):
            raise UnsupportedOperationException(f"{name} is not available in this cloud.")
    if not params.get("GranteePrincipal"):
        raise ValidationException("A grant needs a GranteePrincipal.")
    constraints: Mapping[str, Any] = params.get("Constraints") or {}
    if constraints.get("SourceArn"):
        raise UnsupportedOperationException("SourceArn constraints are not available in this cloud.")
    grant = KmsGrant(
        id=secrets.token_hex(32),
        account=key.account,
        region=key.region,
        key_id=key.id,
        grantee=_principal(params["GranteePrincipal"]),
        operations=tuple(dict.fromkeys(params.get("Operations") or ())),
        created=context.now,
        issuer=f"arn:aws:iam::{context.account}:root",
        name=params.get("Name"),
        retiring=_principal(params["RetiringPrincipal"]) if params.get("RetiringPrincipal") else None,
        subset=constraints.get("EncryptionContextSubset"),
        equals=constraints.get("EncryptionContextEquals"),
    )
    _check_creator(context, key, grant, params.get("GrantTokens") or ())
    check_state(key)
    _check_grant(key, grant)
    end_dry_run(params)
    grant = _same_named(context, grant) or _put(context, grant)
    return {"GrantToken": context.env.sealer.seal(grant.id.encode(), GRANT_TOKEN), "GrantId": grant.id}


def _check_creator(context: Context, key: KmsKey, grant: KmsGrant, tokens: Sequence[str]) -> None:
    """The owner may give any grant; somebody who was granted CreateGrant, what that grant says, and no more."""
    identity = context.call.identity
    if key.manager == "AWS":
        denied(context, key)
    if may(key, identity, "kms:CreateGrant"):
        return
    known = [*(grant_of(context.view, context.env.sealer, token) for token in tokens)]
    for one in (*known, *context.view.list(KmsGrant, key_id=key.id)):
        if (
            one.key_id == key.id
            and granted(one, identity, "CreateGrant", one.equals or one.subset or {})
            and set(grant.operations) <= set(one.operations)
            and (one.subset, one.equals) in ((None, None), (grant.subset, grant.equals))
        ):
            return
    denied(context, key)


def _put(context: Context, grant: KmsGrant) -> KmsGrant:
    if len(context.tx.list(KmsGrant, key_id=grant.key_id)) >= _PER_KEY:
        raise LimitExceededException(f"A key can have {_PER_KEY} grants.")
    return context.tx.put(grant)


def _same_named(context: Context, grant: KmsGrant) -> KmsGrant | None:
    if grant.name is None:
        return None
    for one in context.tx.list(KmsGrant, key_id=grant.key_id):
        if _content(one) == _content(grant):
            return one
    return None


def _content(grant: KmsGrant) -> tuple[Any, ...]:
    return (
        grant.name, grant.grantee, grant.retiring, frozenset(grant.operations), grant.subset, grant.equals, grant.issuer,
    )  # fmt: skip


def _check_grant(key: KmsKey, grant: KmsGrant) -> None:
    possible = _ALWAYS | _OF_USAGE[key.usage]
    if key.symmetric:
        possible |= _SYMMETRIC_ONLY
    if key.public is not None:
        possible |= {"GetPublicKey"}
    if not grant.operations:
        raise ValidationException("A grant needs at least one operation.")
    if wrong := [operation for operation in grant.operations if operation not in possible]:
        raise ValidationException(f"The operations {', '.join(wrong)} are not valid for {key.arn}.")
    if (grant.subset is not None or grant.equals is not None) and not key.symmetric:
        raise ValidationException("Encryption context constraints are for symmetric encryption keys only.")


def _principal(text: str) -> str:
    if _ACCOUNT.fullmatch(text):
        return f"arn:aws:iam::{text}:root"
    if not _PRINCIPAL.fullmatch(text):
        raise InvalidArnException(f"ARN does not refer to a valid principal: {text}")
    return text


@kms.reads("ListGrants")
def list_grants(context: Context, params: Mapping[str, Any]) -> dict[str, Any]:
    """The grants of a key, all or those of one grantee."""
    key = key_to_see(context, params["KeyId"])
    grants = context.view.list(KmsGrant, key_id=key.id)
    if (id_ := params.get("GrantId")) is not None:
        grants = [grant for grant in grants if grant.id == id_]
    if (grantee := params.get("GranteePrincipal")) is not None:
        grants = [grant for grant in grants if grant.grantee == _principal(grantee)]
    return answer_page(context, params, "Grants", grants, lambda grant: grant.id, _draw)


@kms.reads("ListRetirableGrants")
def list_retirable_grants(context: Context, params: Mapping[str, Any]) -> dict[str, Any]:
    """The grants that a principal of the caller's account may retire."""
    if not params.get("RetiringPrincipal"):
        raise ValidationException("A RetiringPrincipal is needed.")
    principal = _principal(params["RetiringPrincipal"])
    if principal.split(":")[4] != context.account:
        raise KeyAccessDenied(
            f"User: {context.call.identity.arn} is not authorized to perform: kms:ListRetirableGrants "
            f"on the principal {principal}"
        )
    grants = context.view.list(KmsGrant, region=context.region, retiring=principal)
    return answer_page(context, params, "Grants", grants, lambda grant: grant.id, _draw)


def _draw(grant: KmsGrant) -> dict[str, Any]:
    constraints = {
        name: dict(pairs)
        for name, pairs in (("EncryptionContextSubset", grant.subset), ("EncryptionContextEquals", grant.equals))
        if pairs is not None
    }
    drawn: dict[str, Any] = {
        "KeyId": f"arn:aws:kms:{grant.region}:{grant.account}:key/{grant.key_id}",
        "GrantId": grant.id,
        "Name": grant.name,
        "CreationDate": grant.created,
        "GranteePrincipal": grant.grantee,
        "RetiringPrincipal": grant.retiring,
        "IssuingAccount": grant.issuer,
        "Operations": list(grant.operations),
        "Constraints": constraints or None,
    }
    return {name: value for name, value in drawn.items() if value is not None}


@kms.writes("RetireGrant")
def retire_grant(context: Context, params: "RetireGrantRequestTypeDef") -> dict[str, Any]:
    """Ends a grant, by its token or by key and id, when the one that it was for has no more need of it."""
    if token := params.get("GrantToken"):
        grant = grant_of(context.view, context.env.sealer, token)
    elif params.get("KeyId") and params.get("GrantId"):
        key = find_key(context.view, context.account, context.region, params["KeyId"])  # pyright: ignore[reportTypedDictNotRequiredAccess] - just seen
        grant = _grant(context, key, params["GrantId"])  # pyright: ignore[reportTypedDictNotRequiredAccess]
    else:
        raise ValidationException("A GrantToken, or a KeyId and a GrantId, is needed.")
    identity = context.call.identity
    retiring = grant.retiring in {identity.arn, f"arn:aws:iam::{identity.account}:root"}
    if not (
        retiring or identity.account == grant.account or granted(grant, identity, "RetireGrant", grant.equals or {})
    ):
        raise KeyAccessDenied(f"User: {identity.arn} is not authorized to perform: kms:RetireGrant")
    end_dry_run(params)
    context.tx.delete(grant)
    return {}


@kms.writes("RevokeGrant")
def revoke_grant(context: Context, params: "RevokeGrantRequestTypeDef") -> dict[str, Any]:
    """Ends a grant at once."""
    key = key_to_see(context, params["KeyId"])
    grant = _grant(context, key, params["GrantId"])
    end_dry_run(params)
    context.tx.delete(grant)
    return {}


def _grant(context: Context, key: KmsKey, id_: str) -> KmsGrant:
    if not _ID.fullmatch(id_):
        raise InvalidGrantIdException(f"Invalid grant ID: {id_}")
    grant = context.tx.get(KmsGrant, id_)
    if grant is None or grant.key_id != key.id:
        raise KeyNotFound(f"Grant ID {id_} not found")
    return grant
