"""The policy document of an upload by a browser's form (POST Object): what the form may contain, and until when.

Called by ``pileus.gateway.browser_upload``. Source: Amazon S3 API reference, "Authenticating requests: browser-based uploads
using POST (Signature Version 4)", "POST policy", and the older signature of the same page's predecessor (HMAC-SHA1).
"""

import base64
import binascii
import hmac
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast

import msgspec

from pileus.aws.signing.credential import Credential
from pileus.aws.signing.keys import signing_key
from pileus.aws.signing.refusals import Reason, SignatureRefused
from pileus.base.errors import ServiceError

_ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z")
_FREE = frozenset({"awsaccesskeyid", "signature", "x-amz-signature", "policy", "file"})
"""Fields that no condition need name."""


class InvalidPolicyDocument(ServiceError):
    """It is no policy, or a condition of it is none."""

    code = "InvalidPolicyDocument"


class PolicyRefused(ServiceError):
    """The form is not what the policy allows."""

    code = "AccessDenied"
    status = 403

    def __init__(self, why: str) -> None:
        super().__init__(f"Invalid according to Policy: {why}")


class EntityTooLarge(ServiceError):
    """More bytes than content-length-range allows."""

    code = "EntityTooLarge"

    def __init__(self) -> None:
        super().__init__("Your proposed upload exceeds the maximum allowed size")


class EntityTooSmall(ServiceError):
    """Fewer bytes than content-length-range wants."""

    code = "EntityTooSmall"

    def __init__(self) -> None:
        super().__init__("Your proposed upload is smaller than the minimum allowed size")


class PostPolicy(msgspec.Struct, frozen=True):
    """A policy that was read. ``least`` and ``most`` are the bounds of the file's bytes."""

    expiration: datetime
    conditions: tuple[tuple[str, str, str], ...]
    least: int = 0
    most: int | None = None

    def check(self, fields: Mapping[str, str], now: datetime) -> None:
        """``fields`` by lower-case name, ``bucket`` among them. Raises PolicyRefused."""
        if now > self.expiration:
            raise PolicyRefused("Policy expired.")
        named = {name for _, name, _ in self.conditions}
        for operator, name, wanted in self.conditions:
            value = fields.get(name, "")
            if not _holds(operator, name, value, wanted):
                raise PolicyRefused(f'Policy Condition failed: ["{operator}", "${name}", "{wanted}"]')
        extra = [name for name in fields if name not in named | _FREE and not name.startswith("x-ignore-")]
        if extra:
            raise PolicyRefused(f"Extra input fields: {', '.join(sorted(extra))[:200]}")


def read_policy(text: str) -> PostPolicy:
    """The policy in a form's field, in base64. Raises InvalidPolicyDocument."""
    try:
        document = msgspec.json.decode(base64.b64decode(text, validate=True))
    except (binascii.Error, msgspec.DecodeError, RecursionError, UnicodeError):
        raise InvalidPolicyDocument("Invalid Policy: Invalid JSON.") from None
    if not isinstance(document, dict):
        raise InvalidPolicyDocument("Invalid Policy: Invalid JSON.")
    found = cast(dict[str, Any], document)
    conditions, expiration = found.get("conditions"), found.get("expiration")
    if not isinstance(expiration, str):
        raise InvalidPolicyDocument("Invalid Policy: Policy missing expiration.")
    if not isinstance(conditions, list) or not conditions:
        raise InvalidPolicyDocument("Invalid Policy: Policy missing conditions.")
    least, most = 0, None
    read: list[tuple[str, str, str]] = []
    for condition in cast(list[Any], conditions):
        match condition:
            case {**pairs} if pairs and all(isinstance(value, str) for value in pairs.values()):
                read.extend(("eq", str(name).lower(), str(value)) for name, value in pairs.items())
            case [str(operator), int(low), int(high)] if operator.lower() == "content-length-range":
                least, most = low, high
            case [str(operator), str(name), str(value)] if (
                operator.lower() in {"eq", "starts-with"} and name[:1] == "$"
            ):
                read.append((operator.lower(), name[1:].lower(), value))
            case _:
                raise InvalidPolicyDocument("Invalid Policy: Invalid Condition.")
    if least < 0 or (most is not None and most < least):
        raise InvalidPolicyDocument("Invalid Policy: Invalid content-length-range.")
    return PostPolicy(_time(expiration), tuple(read), least, most)


def check_signature(policy: str, credential: Credential, secret: str) -> None:
    """Raises SignatureRefused unless ``policy`` was signed by this credential of a form."""
    if credential.service:
        key = signing_key(secret, credential.date, credential.region, credential.service)
        expected = hmac.digest(key, policy.encode(), "sha256").hex()
    else:
        expected = base64.b64encode(hmac.digest(secret.encode(), policy.encode(), "sha1")).decode()
    if not hmac.compare_digest(expected.encode(), credential.signature.encode()):
        raise SignatureRefused(Reason.MISMATCH)


def _holds(operator: str, name: str, value: str, wanted: str) -> bool:
    if operator == "eq":
        return value == wanted
    if name == "content-type" and "," in value:
        return all(part.strip().startswith(wanted) for part in value.split(","))
    return value.startswith(wanted)


def _time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text) if _ISO.fullmatch(text) else None
    except ValueError:
        time = None
    if time is None:
        raise InvalidPolicyDocument("Invalid Policy: Invalid 'expiration' value.")
    return time
