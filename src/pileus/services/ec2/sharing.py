"""What an account allows of the sharing of its snapshots and images with everybody.

Accounts here begin as those on EC2 that had public images already: nothing is blocked.
See https://docs.aws.amazon.com/ebs/latest/userguide/block-public-access-snapshots.html and
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/block-public-access-to-amis.html.
"""

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from pileus.operations.context import Context
from pileus.records import DataKey, KmsKey, Sharing
from pileus.records.sharing import sharing_id
from pileus.services.ec2.errors import InvalidParameterValue
from pileus.services.ec2.service import ec2
from pileus.store import View

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import (
        EnableImageBlockPublicAccessRequestTypeDef,
        EnableSnapshotBlockPublicAccessRequestTypeDef,
    )

_ACCOUNT = re.compile(r"[0-9]{12}")


def is_account(text: str) -> bool:
    """Whether this looks like an account's number."""
    return _ACCOUNT.fullmatch(text) is not None


def sharing_of(view: View, account: str, region: str) -> Sharing:
    """An account's settings; those of one that has set nothing are not on record."""
    id_ = sharing_id(account, region)
    return view.get(Sharing, id_) or Sharing(id=id_, account=account, region=region)


def under_default_key(view: View, data_key_id: str | None) -> bool:
    """Whether something is encrypted under a key that no other account can use: the one that EBS made for itself."""
    data_key = view.get(DataKey, data_key_id) if data_key_id else None
    key = view.get(KmsKey, data_key.kms_key_arn.rpartition("/")[2]) if data_key else None
    return key is not None and key.manager == "AWS"


def changed(before: Iterable[str], add: Iterable[str], remove: Iterable[str]) -> tuple[str, ...]:
    """A list of permissions after some were given and some taken; each is there once, in the order in which it came."""
    gone = set(remove)
    return tuple(one for one in dict.fromkeys([*before, *add]) if one not in gone)


def _mine(context: Context) -> Sharing:
    return sharing_of(context.view, context.account, context.region)


@ec2.reads("GetSnapshotBlockPublicAccessState")
def get_snapshot_block_public_access_state(context: Context, _params: Mapping[str, Any]) -> dict[str, Any]:
    """Whether the account's snapshots may be public."""
    return {"State": _mine(context).snapshots, "ManagedBy": "account"}


@ec2.writes("EnableSnapshotBlockPublicAccess")
def enable_snapshot_block_public_access(
    context: Context, params: "EnableSnapshotBlockPublicAccessRequestTypeDef"
) -> dict[str, Any]:
    """From now on no snapshot becomes public; with ``block-all-sharing`` those that are count as private."""
    state = params["State"]
    if state not in {"block-all-sharing", "block-new-sharing"}:
        raise InvalidParameterValue(f"Value ({state}) for parameter state is invalid.")
    context.tx.put(replace(_mine(context), snapshots=state))
    return {"State": state}


@ec2.writes("DisableSnapshotBlockPublicAccess")
def disable_snapshot_block_public_access(context: Context, _params: Mapping[str, Any]) -> dict[str, Any]:
    """Snapshots may be public again, and those that were are."""
    context.tx.put(replace(_mine(context), snapshots="unblocked"))
    return {"State": "unblocked"}


@ec2.reads("GetImageBlockPublicAccessState")
def get_image_block_public_access_state(context: Context, _params: Mapping[str, Any]) -> dict[str, Any]:
    """Whether the account's images may become public."""
    return {"ImageBlockPublicAccessState": _mine(context).images, "ManagedBy": "account"}


@ec2.writes("EnableImageBlockPublicAccess")
def enable_image_block_public_access(
    context: Context, params: "EnableImageBlockPublicAccessRequestTypeDef"
) -> dict[str, Any]:
    """From now on no image becomes public; those that are stay so."""
    state = params["ImageBlockPublicAccessState"]
    if state != "block-new-sharing":
        raise InvalidParameterValue(f"Value ({state}) for parameter imageBlockPublicAccessState is invalid.")
    context.tx.put(replace(_mine(context), images=state))
    return {"ImageBlockPublicAccessState": state}


@ec2.writes("DisableImageBlockPublicAccess")
def disable_image_block_public_access(context: Context, _params: Mapping[str, Any]) -> dict[str, Any]:
    """Images may become public again."""
    context.tx.put(replace(_mine(context), images="unblocked"))
    return {"ImageBlockPublicAccessState": "unblocked"}
