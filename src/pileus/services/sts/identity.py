"""Who the caller is."""

from collections.abc import Mapping
from typing import Any

from pileus.operations.context import Context
from pileus.services.sts.service import sts


@sts.reads("GetCallerIdentity")
def get_caller_identity(context: Context, _params: Mapping[str, Any]) -> dict[str, Any]:
    """The principal whose access key signed the call. Needs no permission."""
    identity = context.call.identity
    return {"Account": identity.account, "Arn": identity.arn, "UserId": identity.user_id}
