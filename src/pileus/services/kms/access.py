"""What every operation of KMS begins and many end with: the key that the call names, whether the caller may, pages, dry runs."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

from pileus.operations.context import Context
from pileus.operations.keys import (
    KeyAccessDenied,
    KeyStateInvalid,
    KeyUsageInvalid,
    KeyUse,
    check_access,
    check_state,
    find_key,
)
from pileus.operations.paging import InvalidPaginationToken, Page, paginate
from pileus.records.kms_key import KmsKey
from pileus.services.kms.errors import (
    DryRunOperationException,
    InvalidMarkerException,
    UnsupportedOperationException,
    ValidationException,
)
from pileus.services.kms.specs import algorithms

T = TypeVar("T")


def key_to_use(
    context: Context,
    params: Mapping[str, Any],
    usage: str,
    *,
    name: str | None = None,
    operation: str | None = None,
    bound: Mapping[str, str] | None = None,
) -> KmsKey:
    """The key for a cryptographic operation.

    Args:
        name: the key, default the parameter KeyId. operation: as grants know it, default the call's own.
        bound: the encryption context.

    Raises:
        KeyNotFound, KeyAccessDenied, InvalidGrantToken, KeyDisabled, KeyStateInvalid, KeyUsageInvalid.
    """
    if params.get("Recipient") is not None:
        raise UnsupportedOperationException("Attested requests are not available in this cloud.")
    key = find_key(context.view, context.account, context.region, name or params["KeyId"])
    check_operation(context, params, key, operation or context.call.operation, bound)
    check_usage(context, key, usage)
    return key


def check_operation(
    context: Context, params: Mapping[str, Any], key: KmsKey, operation: str, bound: Mapping[str, str] | None
) -> None:
    """Raises unless the caller may, and the key is enabled."""
    use = KeyUse(
        identity=context.call.identity,
        operation=operation,
        context=bound or {},
        grant_tokens=params.get("GrantTokens") or (),
    )
    check_access(context.view, context.env.sealer, key, use)
    check_state(key)


def check_usage(context: Context, key: KmsKey, usage: str) -> None:
    """Raises KeyUsageInvalid when the key is for something else."""
    if key.usage != usage:
        raise KeyUsageInvalid(f"{key.arn} key usage is {key.usage} which is not valid for {context.call.operation}.")


def check_algorithm(key: KmsKey, algorithm: str) -> None:
    """Raises KeyUsageInvalid when a key of this kind does not have the algorithm."""
    if algorithm not in algorithms(key.spec, key.usage):
        raise KeyUsageInvalid(f"Algorithm {algorithm} and key spec {key.spec} are incompatible.")


def key_to_see(context: Context, name: str, params: Mapping[str, Any] | None = None) -> KmsKey:
    """The key for an operation that tells about it, in whatever state. Raises KeyNotFound, KeyAccessDenied."""
    key = find_key(context.view, context.account, context.region, name)
    tokens: Sequence[str] = (params or {}).get("GrantTokens") or ()
    use = KeyUse(identity=context.call.identity, operation=context.call.operation, grant_tokens=tokens)
    check_access(context.view, context.env.sealer, key, use)
    return key


def key_to_change(context: Context, name: str, *, pending: bool = False) -> KmsKey:
    """The key for an operation that manages it. Names that are aliases are not taken.

    Raises:
        KeyNotFound, KeyAccessDenied. KeyStateInvalid: it is being deleted, unless ``pending``.
    """
    if name.startswith("alias/") or ":alias/" in name:
        raise ValidationException(f"Invalid keyId '{name}'")
    key = key_to_see(context, name)
    if key.manager == "AWS":
        denied(context, key)
    if key.state == "PendingDeletion" and not pending:
        raise KeyStateInvalid(f"{key.arn} is pending deletion.")
    return key


def denied(context: Context, key: KmsKey) -> NoReturn:
    """Nobody may do this with the key."""
    identity, operation = context.call.identity, context.call.operation
    raise KeyAccessDenied(f"User: {identity.arn} is not authorized to perform: kms:{operation} on resource: {key.arn}")


def context_of(params: Mapping[str, Any], name: str = "EncryptionContext") -> Mapping[str, str]:
    """An encryption context parameter; empty where there is none."""
    return params.get(name) or {}


def blob_of(params: Mapping[str, Any], name: str) -> bytes:
    """A blob parameter. Raises ValidationException when there is none."""
    if params.get(name) is None:
        raise ValidationException(f"{name} must be given.")
    return bytes(params[name])


def end_dry_run(params: Mapping[str, Any]) -> None:
    """Raises DryRunOperationException when the call only wanted to know."""
    if params.get("DryRun"):
        raise DryRunOperationException("The request would have succeeded, but the DryRun option is set.")


def answer_page(
    context: Context,
    params: Mapping[str, Any],
    member: str,
    items: Sequence[T],
    key: Callable[[T], str],
    draw: Callable[[T], Mapping[str, Any]],
    *,
    most: int = 100,
    default: int = 50,
) -> dict[str, Any]:
    """A page of a listing in KMS's form. Raises InvalidMarkerException."""
    asked = {name: value for name, value in params.items() if name not in {"Limit", "Marker"}}
    limit = min(params.get("Limit") or default, most)
    try:
        page, marker = paginate(
            context,
            {**asked, "MaxResults": limit, "NextToken": params.get("Marker")},
            items,
            Page(least=1, most=most),
            key,
        )
    except InvalidPaginationToken as error:
        raise InvalidMarkerException("The marker is not valid.") from error
    result: dict[str, Any] = {member: [draw(item) for item in page], "Truncated": marker is not None}
    if marker is not None:
        result["NextMarker"] = marker
    return result
