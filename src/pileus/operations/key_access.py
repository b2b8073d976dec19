"""Who may do what with a KMS key. Called by ``pileus.operations.keys``.

The account that owns a key may do everything with it. Another account may do what a grant gives it, or what a plain
statement of the key policy allows; a statement with a condition, or one that says who or what it is *not* about, can't
be evaluated here: it never allows, and where it denies, it denies.
"""

from collections.abc import Iterable, Mapping
from typing import Any, cast

import msgspec

from pileus.operations.call import Identity
from pileus.records.kms_grant import KmsGrant
from pileus.records.kms_key import KmsKey

_UNCLEAR = frozenset({"Condition", "NotPrincipal", "NotAction", "NotResource"})


def default_policy(account: str) -> str:
    """The policy of a key that is made without one."""
    statement = {
        "Sid": "Enable IAM User Permissions",
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{account}:root"},
        "Action": "kms:*",
        "Resource": "*",
    }
    return msgspec.json.encode({"Version": "2012-10-17", "Id": "key-default-1", "Statement": [statement]}).decode()


def may(key: KmsKey, identity: Identity, action: str) -> bool:
    """Whether the caller may do ``action`` (such as ``kms:Decrypt``) by owning the key or by its policy."""
    return identity.account == key.account or allowed_by_policy(key, identity, action)


def allowed_by_policy(key: KmsKey, identity: Identity, action: str) -> bool:
    """Whether the key policy alone lets the caller do ``action``."""
    statements = [
        one for one in listed(_document(key.policy).get("Statement")) if _concerns(one, key, identity, action)
    ]
    if any(one.get("Effect") != "Allow" for one in statements):
        return False
    return any(not _UNCLEAR & one.keys() for one in statements)


def granted(grant: KmsGrant, identity: Identity, operation: str, context: Mapping[str, str]) -> bool:
    """Whether a grant gives the caller an operation (such as ``Decrypt``) in this encryption context."""
    if operation not in grant.operations or not _is(grant.grantee, identity):
        return False
    if grant.equals is not None and dict(grant.equals) != dict(context):
        return False
    return grant.subset is None or grant.subset.items() <= context.items()


def _is(principal: str, identity: Identity) -> bool:
    return principal in {identity.arn, identity.account, f"arn:aws:iam::{identity.account}:root"}


def _concerns(statement: Mapping[str, Any], key: KmsKey, identity: Identity, action: str) -> bool:
    """Whether a statement may be about this. What can't be evaluated counts as if it were."""
    if "Principal" in statement and not any(_names(one, identity) for one in _principals(statement["Principal"])):
        return False
    if "Action" in statement and not any(_matches(one.lower(), action.lower()) for one in listed(statement["Action"])):
        return False
    return "Resource" not in statement or any(_matches(one, key.arn) for one in listed(statement["Resource"]))


def _principals(principal: Any) -> Iterable[str]:
    if isinstance(principal, dict):
        yield from listed(cast("dict[str, Any]", principal).get("AWS"))
    else:
        yield principal


def _names(principal: str, identity: Identity) -> bool:
    return principal == "*" or _is(principal, identity)


def _matches(pattern: str, text: str) -> bool:
    """Whether ``*`` (any run) and ``?`` (one character) lead from the pattern to the text. Takes length times length at most."""
    at, position, star, resume = 0, 0, -1, 0
    while position < len(text):
        if at < len(pattern) and pattern[at] == "*":
            star, resume = at, position
            at += 1
        elif at < len(pattern) and pattern[at] in {"?", text[position]}:
            at, position = at + 1, position + 1
        elif star >= 0:
            resume += 1
            at, position = star + 1, resume
        else:
            return False
    return not pattern[at:].strip("*")


def listed(value: Any) -> list[Any]:
    """What a policy may give as one or as a list."""
    if value is None:
        return []
    return cast("list[Any]", value) if isinstance(value, list) else [value]


def _document(policy: str) -> Mapping[str, Any]:
    return msgspec.json.decode(policy)
