"""CopySnapshot: a record of its own over the same blocks; under another key, the blocks are sealed anew behind the call."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from pileus.base.ids import new_id
from pileus.operations.context import Context
from pileus.operations.tags import tag_set, tags_for
from pileus.records import EbsEncryption, Snapshot
from pileus.records.ebs_encryption import ebs_encryption_id
from pileus.records.snapshot import NO_VOLUME
from pileus.services.ec2.encryption import encryption_of
from pileus.services.ec2.errors import (
    InvalidParameterCombination,
    InvalidParameterValue,
    LimitExceeded,
    Unsupported,
)
from pileus.services.ec2.service import ec2
from pileus.services.ec2.snapshots.creation import check_description, refuse_location
from pileus.services.ec2.snapshots.listing import usable_snapshot

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import CopySnapshotRequestTypeDef

CONCURRENT_COPIES = 20
"""Copies that may be pending at a time in one region. See the quotas of EBS."""

_LEAST_DURATION, _MOST_DURATION, _DURATION_STEP = 15, 2880, 15


def elsewhere(context: Context, region: str) -> Context:
    """The call as if it were for another region. Raises InvalidParameterValue for one that this cloud does not have."""
    if region not in {one.name for one in context.env.config.regions}:
        raise InvalidParameterValue(f"Value ({region}) for parameter sourceRegion is invalid. There is no such Region.")
    call = replace(context.call, region=region)
    return Context(call, context.env, context.view)


def copy(
    context: Context,
    source: Snapshot,
    *,
    description: str,
    tags: Mapping[str, str],
    encrypted: bool | None = None,
    kms_key_id: str | None = None,
) -> Snapshot:
    """Writes a copy of a completed snapshot, the caller's own, in the call's region; completed, or pending under another key.

    Raises:
        LimitExceeded: twenty copies are pending. Unsupported: a built-in image's data would have to be encrypted.
        ServiceError: of ``encryption_of``.
    """
    pending = [one for one in context.view.list(Snapshot, account=context.account, region=context.region) if one.reseal]
    if len(pending) >= CONCURRENT_COPIES:
        raise LimitExceeded(
            f"You may not exceed {CONCURRENT_COPIES} concurrent snapshot copies.", code="ResourceLimitExceeded"
        )
    if source.encrypted and kms_key_id is None:
        # What a copy of something encrypted is encrypted under does not follow from its source.
        settings = context.view.get(EbsEncryption, ebs_encryption_id(context.account, context.region))
        kms_key_id = (settings and settings.kms_key_arn) or "alias/aws/ebs"
    data_key_id = encryption_of(context, encrypted, kms_key_id, source.data_key_id)
    made = Snapshot(
        id=new_id("snap"),
        account=context.account,
        region=context.region,
        tags=tags,
        volume_id=NO_VOLUME,
        size=source.size,
        started=context.now,
        description=description,
        boot_content=source.boot_content,
        data_key_id=data_key_id,
        taken=source.taken or context.now,
        full_bytes=source.full_bytes,
        transfer_type="standard",
    )
    if source.root is not None and data_key_id != source.data_key_id:
        return context.tx.put(replace(made, reseal=True, parent=source.root, source_key_id=source.data_key_id))
    if source.content is not None and data_key_id is not None:
        raise Unsupported(
            f"The snapshot {source.id} is that of a built-in image, which can't be encrypted by copying it. "
            "Launch an instance with an encrypted root volume from the image, and make an image of that."
        )
    return context.tx.put(
        replace(made, state="completed", progress=100, root=source.root, content=source.content, completed=context.now)
    )


@ec2.writes("CopySnapshot", resources=("snapshot:*",), taggable=("snapshot",))
def copy_snapshot(context: Context, params: "CopySnapshotRequestTypeDef") -> dict[str, Any]:
    """Copies a snapshot of any configured region to the region of the call."""
    refuse_location(params)
    if params.get("DestinationRegion", context.region) != context.region:
        raise InvalidParameterCombination(
            f"The destinationRegion '{params.get('DestinationRegion')}' is not the Region that was called."
        )
    if params.get("DestinationAvailabilityZone"):
        raise Unsupported("There are no Local Zones in this cloud.")
    _check_duration(params.get("CompletionDurationMinutes"))
    description = check_description(params.get("Description"))
    source = usable_snapshot(elsewhere(context, params["SourceRegion"]), params["SourceSnapshotId"])
    made = copy(
        context,
        source,
        description=description,
        tags=tags_for(params, "snapshot"),
        encrypted=params.get("Encrypted"),
        kms_key_id=params.get("KmsKeyId"),
    )
    return {"SnapshotId": made.id, "Tags": tag_set(made.tags)}


def _check_duration(minutes: int | None) -> None:
    """A time-based copy takes at most that long; here all take as long as they take, which is no longer."""
    if minutes is None:
        return
    if not _LEAST_DURATION <= minutes <= _MOST_DURATION or minutes % _DURATION_STEP:
        raise InvalidParameterValue(
            f"Value ({minutes}) for parameter completionDurationMinutes is invalid. It must be a multiple of "
            f"{_DURATION_STEP} between {_LEAST_DURATION} and {_MOST_DURATION}."
        )
