"""Key policies. What they allow is decided in ``pileus.operations.key_access``; here they are kept and checked for form.

See https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import msgspec
from msgspec.structs import replace

from pileus.operations.context import Context
from pileus.operations.key_access import allowed_by_policy, listed
from pileus.operations.keys import KeyNotFound
from pileus.records import KmsKey
from pileus.services.kms.access import denied, key_to_see
from pileus.services.kms.errors import LimitExceededException, MalformedPolicyDocumentException
from pileus.services.kms.service import kms

if TYPE_CHECKING:
    from types_boto3_kms.type_defs import GetKeyPolicyRequestTypeDef, PutKeyPolicyRequestTypeDef

_NAME = "default"
_LONGEST = 32 * 1024
_VERSIONS = frozenset({"2012-10-17", "2008-10-17"})
_DOCUMENT = frozenset({"Version", "Id", "Statement"})
_STATEMENT = frozenset({"Sid", "Effect", "Condition"})
_EITHER = (("Principal", "NotPrincipal"), ("Action", "NotAction"), ("Resource", "NotResource"))


@kms.writes("PutKeyPolicy")
def put_key_policy(context: Context, params: "PutKeyPolicyRequestTypeDef") -> dict[str, Any]:
    """Another policy, in whatever state the key is. Raises MalformedPolicyDocumentException."""
    key = key_to_see(context, params["KeyId"])
    if key.manager == "AWS":
        denied(context, key)
    _check_name(params.get("PolicyName"))
    check_policy(context, key, params["Policy"], bypass=bool(params.get("BypassPolicyLockoutSafetyCheck")))
    context.tx.put(replace(key, policy=params["Policy"]))
    return {}


@kms.reads("GetKeyPolicy")
def get_key_policy(context: Context, params: "GetKeyPolicyRequestTypeDef") -> dict[str, Any]:
    """The policy as it was put."""
    key = key_to_see(context, params["KeyId"])
    _check_name(params.get("PolicyName"))
    return {"Policy": key.policy, "PolicyName": _NAME}


@kms.reads("ListKeyPolicies")
def list_key_policies(context: Context, params: Mapping[str, Any]) -> dict[str, Any]:
    """The one name that there is."""
    key_to_see(context, params["KeyId"])
    return {"PolicyNames": [_NAME], "Truncated": False}


def _check_name(name: str | None) -> None:
    if name is not None and name != _NAME:
        raise KeyNotFound("No such policy exists")


def check_policy(context: Context, key: KmsKey, policy: str, *, bypass: bool) -> None:
    """Looks whether the text is a policy, and one under which the caller may change it again, unless ``bypass``.

    Raises:
        MalformedPolicyDocumentException: it is not. LimitExceededException: it is too long.
    """
    if len(policy.encode()) > _LONGEST:
        raise LimitExceededException(f"A key policy can have {_LONGEST} bytes.")
    try:
        document = msgspec.json.decode(policy)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedPolicyDocumentException("The policy is not valid JSON.") from error
    _check_document(document)
    if not bypass and not allowed_by_policy(replace(key, policy=policy), context.call.identity, "kms:PutKeyPolicy"):
        raise MalformedPolicyDocumentException(
            "The new key policy will not allow you to update the key policy in the future."
        )


def _check_document(document: Any) -> None:
    _require(isinstance(document, dict), "A policy is an object.")
    fields = cast("dict[str, Any]", document)
    _require(fields.keys() <= _DOCUMENT, "The policy has an unknown element.")
    _require(fields.get("Version", "2008-10-17") in _VERSIONS, "The policy has an unknown version.")
    _require(isinstance(fields.get("Id", ""), str), "The policy's Id is not text.")
    statements = listed(fields.get("Statement"))
    _require(bool(statements), "The policy has no statement.")
    for statement in statements:
        _require(isinstance(statement, dict), "A statement is an object.")
        _check_statement(cast("dict[str, Any]", statement))


def _check_statement(statement: Mapping[str, Any]) -> None:
    known = _STATEMENT.union(*_EITHER)
    _require(statement.keys() <= known, "A statement has an unknown element.")
    _require(statement.get("Effect") in {"Allow", "Deny"}, "A statement's Effect is Allow or Deny.")
    _require(isinstance(statement.get("Sid", ""), str), "A statement's Sid is not text.")
    _require(isinstance(statement.get("Condition", {}), dict), "A statement's Condition is an object.")
    for one, other in _EITHER:
        _require((one in statement) != (other in statement), f"A statement has either {one} or {other}.")
        value = statement.get(one, statement.get(other))
        if one == "Principal":
            _check_principal(value)
        else:
            _check_texts(value, one)


def _check_principal(value: Any) -> None:
    if isinstance(value, dict):
        principals = cast("dict[str, Any]", value)
        _require(bool(principals), "A Principal is not empty.")
        _require(principals.keys() <= {"AWS", "Service", "Federated", "CanonicalUser"}, "Unknown type of principal.")
        for each in principals.values():
            _check_texts(each, "Principal")
    else:
        _require(value == "*", "A Principal is an object or *.")


def _check_texts(value: Any, what: str) -> None:
    texts = listed(value)
    _require(bool(texts) and all(isinstance(text, str) and text for text in texts), f"{what} is text or a list of it.")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise MalformedPolicyDocumentException(message)
