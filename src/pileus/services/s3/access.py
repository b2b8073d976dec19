"""Bucket policies: whether one allows or denies a request. Pure; called by ``gate`` and, to refuse what it can't evaluate
exactly, by PutBucketPolicy.

Source: IAM user guide, "IAM JSON policy elements reference"; Amazon S3 user guide, "Bucket policies".
"""

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from typing import Any, Literal, cast

import msgspec

from pileus.base.errors import ServiceError

Effect = Literal["Allow", "Deny"]
MAX_POLICY = 20 * 1024
_ELEMENTS = frozenset(
    {"Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition"}
)
_ACCOUNT = re.compile(r"(?:arn:aws:iam::)?(\d{12})(?::root)?")
_PRINCIPAL_ARN = re.compile(r"arn:aws:(?:iam|sts)::\d{12}:[\w+=,.@/-]+")
KEYS = frozenset(
    {
        "aws:currenttime",
        "aws:epochtime",
        "aws:principalaccount",
        "aws:principalarn",
        "aws:referer",
        "aws:sourceaccount",
        "aws:sourcearn",
        "aws:securetransport",
        "aws:sourceip",
        "aws:sourcevpc",
        "aws:sourcevpce",
        "aws:useragent",
        "aws:userid",
        "aws:vpcsourceip",
        "s3:delimiter",
        "s3:locationconstraint",
        "s3:max-keys",
        "s3:object-lock-legal-hold",
        "s3:object-lock-mode",
        "s3:prefix",
        "s3:requestobjecttagkeys",
        "s3:versionid",
        "s3:x-amz-acl",
        "s3:x-amz-copy-source",
        "s3:x-amz-grant-full-control",
        "s3:x-amz-grant-read",
        "s3:x-amz-grant-read-acp",
        "s3:x-amz-grant-write",
        "s3:x-amz-grant-write-acp",
        "s3:x-amz-metadata-directive",
        "s3:x-amz-server-side-encryption",
        "s3:x-amz-server-side-encryption-aws-kms-key-id",
        "s3:x-amz-server-side-encryption-customer-algorithm",
        "s3:x-amz-storage-class",
    }
)
"""The condition keys whose values are known here, in lower case; those of single tags besides."""
SERVICES = frozenset({"delivery.logs.amazonaws.com"})
"""The services of the cloud that put objects for others. Their calls have these names where others have an ARN."""
_TAG_KEYS = ("s3:existingobjecttag/", "s3:requestobjecttag/")


class MalformedPolicy(ServiceError):
    """It is no policy, or not one for this bucket."""

    code = "MalformedPolicy"


class PolicyNotEvaluated(ServiceError):
    """The policy asks for something that can't be decided here; to store it would pretend otherwise."""

    code = "NotImplemented"
    status = 501


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked. ``account`` and ``arn`` are empty for callers without a signature.

    ``conditions`` by key in lower case; a key that is not there is absent from the request.
    """

    account: str
    arn: str
    action: str
    resource: str
    conditions: Mapping[str, Sequence[str]] = {}


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """One statement. The ``not_`` flags say that the list is what the statement is *not* about."""

    effect: Effect
    principals: tuple[str, ...]
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    not_principals: bool = False
    not_actions: bool = False
    not_resources: bool = False
    conditions: tuple[tuple[str, str, tuple[str, ...]], ...] = ()


Policy = tuple[Statement, ...]


@lru_cache(maxsize=256)
def read_policy(text: bytes, bucket: str) -> Policy:
    """A bucket's policy. Raises MalformedPolicy, PolicyNotEvaluated."""
    try:
        document = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        raise MalformedPolicy("Policies must be valid JSON and the first byte must be '{'") from None
    if not isinstance(document, dict):
        raise MalformedPolicy("Policies must be valid JSON and the first byte must be '{'")
    found = cast("dict[str, Any]", document)
    unknown = found.keys() - {"Version", "Id", "Statement"}
    if unknown:
        raise MalformedPolicy(f"Unknown field {min(unknown)}")
    if found.get("Version", "2008-10-17") not in ("2012-10-17", "2008-10-17"):
        raise MalformedPolicy("The policy must contain a valid version string")
    statements = _listed(found.get("Statement"))
    if not statements:
        raise MalformedPolicy("Missing required field Statement")
    return tuple(_statement(one, bucket) for one in statements)


def decide(policy: Policy, request: Request) -> Effect | None:
    """``Deny`` when any statement denies it, else ``Allow`` when one allows it; None when none is about it."""
    effects = {statement.effect for statement in policy if _concerns(statement, request)}
    return "Deny" if "Deny" in effects else "Allow" if effects else None


def is_public(policy: Policy) -> bool:
    """Whether it allows somebody whom it does not name: S3's meaning of "public"."""
    return any(
        statement.effect == "Allow"
        and (statement.not_principals or "*" in statement.principals)
        and not any(_narrows(*condition) for condition in statement.conditions)
        for statement in policy
    )


def _narrows(operator: str, key: str, values: tuple[str, ...]) -> bool:
    if operator in {"ipaddress"} and key == "aws:sourceip":
        return all(ipaddress.ip_network(value, strict=False).prefixlen >= 8 for value in values)
    return (
        key in {"aws:principalarn", "aws:principalaccount", "aws:sourcevpc", "aws:sourcevpce", "aws:userid"}
        and operator in {"stringequals", "stringlike", "arnequals", "arnlike"}
        and not any("*" in value or "?" in value for value in values)
    )


# Reading


def _statement(value: Any, bucket: str) -> Statement:
    if not isinstance(value, dict):
        raise MalformedPolicy("Statement must be an object")
    fields = cast("dict[str, Any]", value)
    unknown = fields.keys() - _ELEMENTS
    if unknown:
        raise MalformedPolicy(f"Unknown field {min(unknown)}")
    effect = fields.get("Effect")
    if effect not in ("Allow", "Deny"):
        raise MalformedPolicy(f"Invalid effect: {effect}" if effect else "Missing required field Effect")
    principal_name, principals = _one_of(fields, "Principal")
    if principal_name == "NotPrincipal" and effect == "Allow":
        raise MalformedPolicy("Allow with NotPrincipal is not allowed.")
    action_name, actions = _one_of(fields, "Action")
    resource_name, resources = _one_of(fields, "Resource")
    read_actions = tuple(_action(one) for one in _listed(actions))
    read_resources = tuple(_resource(one, bucket) for one in _listed(resources))
    if not read_actions or not read_resources:
        raise MalformedPolicy("Policy has an empty list of actions or resources")
    return Statement(
        effect=effect,
        principals=_principals(principals),
        actions=read_actions,
        resources=read_resources,
        not_principals=principal_name != "Principal",
        not_actions=action_name != "Action",
        not_resources=resource_name != "Resource",
        conditions=_conditions(fields.get("Condition", {})),
    )


def _one_of(fields: Mapping[str, Any], name: str) -> tuple[str, Any]:
    found = [candidate for candidate in (name, f"Not{name}") if candidate in fields]
    if len(found) != 1:
        raise MalformedPolicy(f"Missing required field {name}" if not found else f"Both {name} and Not{name} are given")
    return found[0], fields[found[0]]


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return cast("list[Any]", value) if isinstance(value, list) else [value]


def _action(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"\*|s3:[A-Za-z*?]+", value, re.IGNORECASE):
        raise MalformedPolicy("Policy has invalid action")
    return value.lower()


def _resource(value: Any, bucket: str) -> str:
    if isinstance(value, str) and "${" in value:
        raise PolicyNotEvaluated("Policy variables are not available in this cloud.")
    if not isinstance(value, str) or not (value == "*" or _covers(value, f"arn:aws:s3:::{bucket}")):
        raise MalformedPolicy("Policy has invalid resource")
    return value


def _covers(value: str, own: str) -> bool:
    """Whether a resource is in the bucket: it begins with its ARN and a slash, or has a wildcard where the name stands."""
    head = value.split("/", 1)[0]
    return head == own or (head.startswith("arn:aws:s3:::") and _like(own, head))


def _principals(value: Any) -> tuple[str, ...]:
    if value == "*":
        return ("*",)
    if not isinstance(value, dict) or not value:
        raise MalformedPolicy("Invalid principal in policy")
    found: list[str] = []
    for kind, names in cast("dict[str, Any]", value).items():
        services = [name for name in _listed(names) if isinstance(name, str) and name in SERVICES]
        if kind == "Service" and services and services == _listed(names):
            found.extend(services)
            continue
        if kind in {"Service", "Federated"}:
            raise PolicyNotEvaluated(f"Principals of the kind {kind} are not available in this cloud.")
        if kind not in {"AWS", "CanonicalUser"}:
            raise MalformedPolicy("Invalid principal in policy")
        for name in _listed(names):
            if not isinstance(name, str):
                raise MalformedPolicy("Invalid principal in policy")
            if kind == "CanonicalUser":
                found.append(f"canonical:{name}")
                continue
            account = _ACCOUNT.fullmatch(name)
            if not (account or name == "*" or _PRINCIPAL_ARN.fullmatch(name)):
                raise MalformedPolicy("Invalid principal in policy")
            found.append(account[1] if account else name)
    return tuple(found)


def _conditions(value: Any) -> tuple[tuple[str, str, tuple[str, ...]], ...]:
    if not isinstance(value, dict):
        raise MalformedPolicy("Condition must be an object")
    found: list[tuple[str, str, tuple[str, ...]]] = []
    for operator, keys in cast("dict[str, Any]", value).items():
        _, base, _ = _parts(operator.lower())
        if base not in _OPERATORS and base != "null":
            raise MalformedPolicy(f"Invalid Condition type : {operator}")
        if not isinstance(keys, dict):
            raise MalformedPolicy("Condition must be an object")
        for key, values in cast("dict[str, Any]", keys).items():
            lower = key.lower()
            if lower not in KEYS and not lower.startswith(_TAG_KEYS):
                if not lower.startswith(("s3:", "aws:")):
                    raise MalformedPolicy("Policy has an invalid condition key")
                raise PolicyNotEvaluated(f"The condition key {key} is not available in this cloud.")
            texts = tuple(_text(one) for one in _listed(values))
            if any("${" in text for text in texts):
                raise PolicyNotEvaluated("Policy variables are not available in this cloud.")
            for text in texts:
                _check_value(base, text)
            # The names of tags keep their case; all else of a key has none.
            name = next((p + key[len(p) :] for p in _TAG_KEYS if lower.startswith(p)), lower)
            found.append((operator.lower(), name, texts))
    return tuple(found)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str | int | float):
        raise MalformedPolicy("Invalid policy syntax.")
    return str(value)


def _check_value(base: str, text: str) -> None:
    """Raises MalformedPolicy for a text that its operator can't compare with."""
    operator = _OPERATORS.get(base)
    if operator is None:
        return
    try:
        operator(_SAMPLES.get(base.removeprefix("not")[:4], "a"), text)
    except ValueError:
        raise MalformedPolicy(f"Invalid value '{text[:100]}' in a condition") from None


# Evaluating


def _concerns(statement: Statement, request: Request) -> bool:
    return (
        _names(statement.principals, request) != statement.not_principals
        and any(_like(request.action.lower(), one) for one in statement.actions) != statement.not_actions
        and any(_like(request.resource, one) for one in statement.resources) != statement.not_resources
        and all(_holds(condition, request.conditions) for condition in statement.conditions)
    )


def _names(principals: Sequence[str], request: Request) -> bool:
    if "*" in principals:
        return True
    return bool(request.account) and (
        request.account in principals
        or request.arn in principals
        or f"canonical:{canonical_id(request.account)}" in principals
    )


def canonical_id(account: str) -> str:
    """The canonical user id of an account: what S3 calls its owners by."""
    return sha256(f"pileus canonical user {account}".encode()).hexdigest()


def _holds(condition: tuple[str, str, tuple[str, ...]], values: Mapping[str, Sequence[str]]) -> bool:
    operator, key, wanted = condition
    quantifier, base, if_exists = _parts(operator)
    present = values.get(key)
    if base == "null":
        return (present is None) == (wanted[:1] == ("true",))
    negated = "not" in base
    if present is None:
        return if_exists or (negated and not quantifier) or quantifier == "forallvalues"
    test = _OPERATORS[base]

    def matches(value: str) -> bool:
        try:
            found = any(test(value, one) for one in wanted)
        except ValueError:
            return False
        return found != negated

    return (
        all(map(matches, present))
        if quantifier == "forallvalues" or (negated and not quantifier)
        else any(map(matches, present))
    )


def _parts(operator: str) -> tuple[str, str, bool]:
    """Quantifier, operator and whether it ends in IfExists, all in lower case."""
    quantifier, colon, base = operator.rpartition(":")
    if colon and quantifier not in {"forallvalues", "foranyvalue"}:
        raise MalformedPolicy(f"Invalid Condition type : {operator}")
    return quantifier, base.removesuffix("ifexists"), base.endswith("ifexists")


def _like(text: str, pattern: str) -> bool:
    """``*`` stands for any run of characters, ``?`` for one. Linear in the text for each star."""
    if "*" not in pattern and "?" not in pattern:
        return text == pattern
    at = position = resume = 0
    star = -1
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


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError(text)
    return time


def _in_network(value: str, network: str) -> bool:
    return ipaddress.ip_address(value) in ipaddress.ip_network(network, strict=False)


_POSITIVE: Mapping[str, Callable[[str, str], bool]] = {
    "stringequals": str.__eq__,
    "stringequalsignorecase": lambda value, wanted: value.lower() == wanted.lower(),
    "stringlike": _like,
    "arnequals": _like,
    "arnlike": _like,
    "numericequals": lambda value, wanted: float(value) == float(wanted),
    "numericlessthan": lambda value, wanted: float(value) < float(wanted),
    "numericlessthanequals": lambda value, wanted: float(value) <= float(wanted),
    "numericgreaterthan": lambda value, wanted: float(value) > float(wanted),
    "numericgreaterthanequals": lambda value, wanted: float(value) >= float(wanted),
    "dateequals": lambda value, wanted: _time(value) == _time(wanted),
    "datelessthan": lambda value, wanted: _time(value) < _time(wanted),
    "datelessthanequals": lambda value, wanted: _time(value) <= _time(wanted),
    "dategreaterthan": lambda value, wanted: _time(value) > _time(wanted),
    "dategreaterthanequals": lambda value, wanted: _time(value) >= _time(wanted),
    "bool": lambda value, wanted: value == wanted.lower(),
    "ipaddress": _in_network,
}
_NEGATIVE = {
    "stringnotequals": "stringequals",
    "stringnotequalsignorecase": "stringequalsignorecase",
    "stringnotlike": "stringlike",
    "arnnotequals": "arnequals",
    "arnnotlike": "arnlike",
    "numericnotequals": "numericequals",
    "datenotequals": "dateequals",
    "notipaddress": "ipaddress",
}
_OPERATORS = {**_POSITIVE, **{name: _POSITIVE[positive] for name, positive in _NEGATIVE.items()}}
"""By name in lower case: whether a value is as wanted. The negative ones are turned round where they are used."""
_SAMPLES = {"nume": "1", "date": "2026-01-01T00:00:00Z", "ipad": "192.0.2.1"}
