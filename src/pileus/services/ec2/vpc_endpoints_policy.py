"""The policies of VPC endpoints: kept as they are given, if they are policies."""

from collections.abc import Mapping
from typing import Any, cast

import msgspec

from pileus.base.errors import ServiceError

EVERYTHING = msgspec.json.encode(
    {
        "Version": "2008-10-17",
        "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"}],
    }
).decode()
"""What an endpoint without a policy of its own allows."""

_MOST = 20480


class InvalidPolicyDocument(ServiceError):
    """The policy is no JSON, or no policy."""

    code = "InvalidPolicyDocument"


def checked_policy(text: str | None) -> str | None:
    """The policy; None where there is none. Raises InvalidPolicyDocument."""
    if not text:
        return None
    if len(text) > _MOST:
        raise InvalidPolicyDocument(f"The parameter policyDocument is longer than {_MOST} characters.")
    try:
        document = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise InvalidPolicyDocument("The parameter policyDocument is not a valid JSON policy document.") from error
    if not isinstance(document, dict) or not _is_policy(cast("dict[str, Any]", document)):
        raise InvalidPolicyDocument(
            "The parameter policyDocument must have statements, each with an Effect and Actions."
        )
    return text


def _is_policy(document: Mapping[str, Any]) -> bool:
    statements = document.get("Statement")
    if isinstance(statements, dict):
        statements = [cast("dict[str, Any]", statements)]
    if not isinstance(statements, list) or not statements:
        return False
    return all(_is_statement(one) for one in cast("list[object]", statements))


def _is_statement(statement: object) -> bool:
    if not isinstance(statement, dict):
        return False
    fields = cast("dict[str, Any]", statement)
    acts = "Action" in fields or "NotAction" in fields
    return fields.get("Effect") in {"Allow", "Deny"} and acts
