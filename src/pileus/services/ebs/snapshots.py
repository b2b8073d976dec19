"""Snapshots as the EBS direct APIs see them, their keys, and what the block store says of their blocks."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from pileus.base.errors import ServiceError
from pileus.engines.blocks.encoding import BlockKey
from pileus.engines.blocks.interface import (
    BlockError,
    DraftClosed,
    DraftStore,
    StoreUnavailable,
)
from pileus.operations.context import Context
from pileus.operations.keys import KeyAccessDenied, KeyNotFound, KeyUse, KmsError, check_use, find_key, open_data_key
from pileus.records import DataKey, Snapshot
from pileus.records.snapshot import NO_VOLUME
from pileus.services.ebs.errors import (
    AccessDeniedException,
    InternalServerException,
    ResourceNotFoundException,
    ValidationException,
)

T = TypeVar("T")

_PATIENCE = 8.0
_AGAIN = 0.1


def visible(context: Context, snapshot_id: str) -> Snapshot:
    """A snapshot of the caller's, or one that is shared with the caller by name: public ones can't be read this way.

    Raises ResourceNotFoundException.
    """
    found = context.view.get(Snapshot, snapshot_id)
    mine = found is not None and (found.account == context.account or context.account in found.accounts)
    if found is None or not mine or found.region != context.region or found.binned is not None:
        raise ResourceNotFoundException(f"The snapshot '{snapshot_id}' does not exist.", "SNAPSHOT_NOT_FOUND")
    return found


def completed(context: Context, snapshot_id: str) -> Snapshot:
    """The same, with all of its blocks. Raises ValidationException, too."""
    snapshot = visible(context, snapshot_id)
    if snapshot.state != "completed":
        raise ValidationException(
            f"The snapshot '{snapshot_id}' is in the '{snapshot.state}' state. It must be completed.",
            "INVALID_SNAPSHOT_ID",
        )
    if snapshot.content is not None:
        raise ValidationException(
            f"The snapshot '{snapshot_id}' is that of a built-in image, which has no blocks.", "INVALID_SNAPSHOT_ID"
        )
    return snapshot


def line_of(snapshot: Snapshot) -> str:
    """What the snapshots of one line have in common."""
    return snapshot.line or (snapshot.id if snapshot.volume_id == NO_VOLUME else snapshot.volume_id)


def open_for_writing(context: Context, snapshot_id: str) -> Snapshot:
    """A snapshot of the caller's that is being written.

    Raises ResourceNotFoundException, AccessDeniedException, ValidationException.
    """
    snapshot = own(context, snapshot_id)
    if snapshot.state != "pending" or snapshot.writing is None or snapshot.writing.closed is not None:
        raise ValidationException(
            f"The snapshot '{snapshot_id}' is not in the pending state, or was not started by StartSnapshot.",
            "INVALID_SNAPSHOT_ID",
        )
    return snapshot


def own(context: Context, snapshot_id: str) -> Snapshot:
    """A snapshot of the caller's. Raises ResourceNotFoundException, AccessDeniedException."""
    snapshot = visible(context, snapshot_id)
    if snapshot.account != context.account:
        raise AccessDeniedException(f"The snapshot '{snapshot_id}' belongs to another account.", "UNAUTHORIZED_ACCOUNT")
    return snapshot


def key_for(context: Context, snapshot: Snapshot, operation: str) -> BlockKey | None:
    """The key of its blocks, for a caller who may do ``operation`` (``Decrypt``, ``GenerateDataKey``) with its KMS key.

    None: they are not sealed. Raises AccessDeniedException, ResourceNotFoundException, ValidationException.
    """
    if snapshot.data_key_id is None:
        return None
    data_key = context.view.get(DataKey, snapshot.data_key_id)
    if data_key is None:
        raise InternalServerException(f"The data key of '{snapshot.id}' is gone.")
    sealer = context.env.sealer
    try:
        owner = data_key.kms_key_arn.split(":")[4]
        key = find_key(context.view, owner, data_key.region, data_key.kms_key_arn)
        use = KeyUse(identity=context.call.identity, operation=operation, service="ebs")
        check_use(context.view, sealer, key, use)
        return BlockKey(open_data_key(context.view, sealer, data_key))
    except KmsError as error:
        raise key_refusal(error) from error


def key_refusal(error: KmsError) -> ServiceError:
    """What the EBS direct APIs say of a KMS key that can't be used."""
    match error:
        case KeyNotFound():
            return ResourceNotFoundException("The KMS key does not exist.", "DEPENDENCY_RESOURCE_NOT_FOUND")
        case KeyAccessDenied():
            return AccessDeniedException("The KMS key is not for the caller.", "DEPENDENCY_ACCESS_DENIED")
        case _:
            return ValidationException("The KMS key can't be used in its present state.", "INVALID_DEPENDENCY_REQUEST")


async def with_blocks(context: Context, snapshot_id: str, work: Callable[[DraftStore], Awaitable[T]]) -> T:
    """What ``work`` makes with a session of the block store. While that does not answer, it is begun anew for some seconds.

    Raises:
        InternalServerException: the store still does not answer; a block is damaged or missing; clients try again.
        DraftClosed: as the session does.
    """
    clock = context.env.clock
    patience = clock.monotonic() + _PATIENCE
    while True:
        session = context.env.blocks.session()
        try:
            return await work(session)
        except StoreUnavailable as error:
            if clock.monotonic() >= patience:
                raise InternalServerException("The block store does not answer. Try again.") from error
        except DraftClosed:
            raise
        except BlockError as error:
            raise InternalServerException(f"Snapshot '{snapshot_id}': {error}") from error
        finally:
            await session.close()
        await clock.sleep(_AGAIN)
