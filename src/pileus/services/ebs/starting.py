"""StartSnapshot: a snapshot that is going to be written block by block, on top of another one or from nothing."""

from collections.abc import Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec

from pileus.base.errors import ServiceError
from pileus.base.ids import new_id
from pileus.engines.blocks.interface import BLOCK
from pileus.operations.context import Context
from pileus.records import IdempotentCall, Snapshot
from pileus.records.snapshot import NO_VOLUME, BlockWriting
from pileus.services.ebs.errors import (
    AccessDeniedException,
    ConcurrentLimitExceededException,
    ConflictException,
    ResourceNotFoundException,
    ValidationException,
    invalid,
)
from pileus.services.ebs.service import ebs
from pileus.services.ebs.snapshots import completed, line_of
from pileus.services.ec2.encryption import InvalidKmsKey, KeyNotAuthorized, encryption_of, kms_key_of

if TYPE_CHECKING:
    from types_boto3_ebs.type_defs import StartSnapshotRequestTypeDef

_LARGEST = 65_536
_TIMEOUT = 60
_OPEN_AT_ONCE = 100
_TAGS = 50


@ebs.writes("StartSnapshot", resources=("snapshot:*",))
def start_snapshot(context: Context, params: "StartSnapshotRequestTypeDef") -> dict[str, Any]:
    """A new pending snapshot. A repeated client token gets the first call's answer."""
    token = params.get("ClientToken")
    if token is None:
        return _start(context, params)
    id_ = f"{context.account}/{context.region}/ebs/StartSnapshot/{token}"
    digest = sha256(msgspec.json.encode(params, order="sorted")).hexdigest()
    known = context.tx.get(IdempotentCall, id_)
    if known is not None:
        if known.digest != digest:
            raise ConflictException("The client token was used before with other parameters.")
        return msgspec.msgpack.decode(known.result)
    result = _start(context, params)
    context.tx.put(
        IdempotentCall(
            id=id_,
            account=context.account,
            region=context.region,
            digest=digest,
            result=msgspec.msgpack.encode(result),
            at=context.now,
        )
    )
    return result


def _start(context: Context, params: "StartSnapshotRequestTypeDef") -> dict[str, Any]:
    size = params["VolumeSize"]
    if size > _LARGEST:
        raise ValidationException(f"A volume can't have {size} GiB.", "INVALID_VOLUME_SIZE")
    tags = _tags(params)
    mine = context.view.list(Snapshot, account=context.account, region=context.region)
    if sum(one.writing is not None for one in mine) >= _OPEN_AT_ONCE:
        raise ConcurrentLimitExceededException(f"There are {_OPEN_AT_ONCE} snapshots that are being written.")
    parent = _parent(context, params, size)
    id_ = new_id("snap")
    snapshot = Snapshot(
        id=id_,
        account=context.account,
        region=context.region,
        tags=tags,
        volume_id=NO_VOLUME,
        size=size,
        started=context.now,
        taken=context.now,
        description=params.get("Description", ""),
        data_key_id=_data_key(context, params, parent),
        parent=parent.root if parent else None,
        source_key_id=parent.data_key_id if parent and parent.root else None,
        line=line_of(parent) if parent else id_,
        writing=BlockWriting(timeout=params.get("Timeout", _TIMEOUT)),
    )
    context.tx.put(snapshot)
    return {
        "Description": snapshot.description or None,
        "SnapshotId": snapshot.id,
        "OwnerId": snapshot.account,
        "Status": "pending",
        "StartTime": snapshot.started,
        "VolumeSize": snapshot.size,
        "BlockSize": BLOCK,
        "Tags": [{"Key": key, "Value": value} for key, value in tags.items()] or None,
        "ParentSnapshotId": parent.id if parent else None,
        "KmsKeyArn": kms_key_of(context, snapshot.data_key_id),
        "SseType": "sse-kms" if snapshot.encrypted else "none",
    }


def _tags(params: "StartSnapshotRequestTypeDef") -> Mapping[str, str]:
    tags: dict[str, str] = {}
    for tag in params.get("Tags", ()):
        key = tag.get("Key", "")
        if not key or key.startswith("aws:") or key in tags:
            raise ValidationException(f"The tag key '{key}' is empty, reserved or given twice.", "INVALID_TAG")
        tags[key] = tag.get("Value", "")
    if len(tags) > _TAGS:
        raise ValidationException(f"A snapshot can have {_TAGS} tags.", "INVALID_TAG")
    return tags


def _parent(context: Context, params: "StartSnapshotRequestTypeDef", size: int) -> Snapshot | None:
    parent_id = params.get("ParentSnapshotId")
    if parent_id is None:
        return None
    parent = completed(context, parent_id)
    if parent.size > size:
        raise ValidationException(
            f"The volume size {size} is below that of the parent snapshot, {parent.size}.", "INVALID_VOLUME_SIZE"
        )
    return parent


def _data_key(context: Context, params: "StartSnapshotRequestTypeDef", parent: Snapshot | None) -> str | None:
    """What its blocks are going to be sealed under.

    See https://docs.aws.amazon.com/ebs/latest/userguide/ebsapis-using-encryption.html.
    """
    named = params.get("KmsKeyArn")
    if parent is not None and params.get("Encrypted") is not None:
        raise invalid("Encrypted can't be specified together with ParentSnapshotId.")
    if parent is not None and parent.encrypted and named not in {None, kms_key_of(context, parent.data_key_id)}:
        raise invalid("KmsKeyArn must be that of the parent snapshot, or omitted.")
    if named is not None and params.get("Encrypted") is False:
        raise invalid("KmsKeyArn requires Encrypted.")
    if parent is not None and parent.encrypted:
        named = None
    try:
        return encryption_of(context, params.get("Encrypted"), named, parent.data_key_id if parent else None)
    except InvalidKmsKey as error:
        if error.code.endswith("NotFound"):
            raise ResourceNotFoundException(error.message, "DEPENDENCY_RESOURCE_NOT_FOUND") from error
        raise ValidationException(error.message, "INVALID_CUSTOMER_KEY") from error
    except KeyNotAuthorized as error:
        raise AccessDeniedException(error.message, "DEPENDENCY_ACCESS_DENIED") from error
    except ServiceError as error:
        raise invalid(error.message) from error
