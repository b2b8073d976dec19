"""CompleteSnapshot: nothing more is written; the storage process makes the snapshot, and the answer waits for that a while."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from pileus.operations.context import Context
from pileus.records import Snapshot
from pileus.services.ebs.errors import ValidationException, invalid
from pileus.services.ebs.service import ebs
from pileus.services.ebs.snapshots import open_for_writing, own

if TYPE_CHECKING:
    from types_boto3_ebs.type_defs import CompleteSnapshotRequestTypeDef


def _made(context: Context, _result: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The answer, when there is one. Raises ValidationException when what was written is not what the call says."""
    snapshot = context.view.get(Snapshot, context.call.params["SnapshotId"])
    if snapshot is None:
        return {"Status": "error"}
    if snapshot.writing is None:
        return {"Status": snapshot.state}
    if snapshot.writing.closed is None and snapshot.writing.refused is not None:
        raise ValidationException(snapshot.writing.refused, "INVALID_PARAMETER_VALUE")
    return None


@ebs.writes("CompleteSnapshot", resources=("snapshot:SnapshotId",), then=_made)
def complete_snapshot(context: Context, params: "CompleteSnapshotRequestTypeDef") -> dict[str, Any]:
    """Ends the writing. A repetition gets the present state."""
    checksum = params.get("Checksum")
    how = (params.get("ChecksumAlgorithm"), params.get("ChecksumAggregationMethod"))
    if (checksum is None and how != (None, None)) or (checksum is not None and how != ("SHA256", "LINEAR")):
        raise invalid("Checksum, ChecksumAlgorithm SHA256 and ChecksumAggregationMethod LINEAR go together.")
    snapshot = own(context, params["SnapshotId"])
    if snapshot.line or snapshot.writing is not None:
        # One that was written block by block: whether now or before.
        if snapshot.state == "completed":
            return {"Status": "completed"}
        if snapshot.writing is not None and snapshot.writing.closed is not None:
            return {"Status": "pending"}
    snapshot = open_for_writing(context, snapshot.id)
    assert snapshot.writing is not None
    changed = params["ChangedBlocksCount"]
    writing = replace(snapshot.writing, closed=context.now, changed=changed, checksum=checksum, refused=None)
    context.tx.put(replace(snapshot, writing=writing))
    return {"Status": "pending"}
