"""One API call, as the gateway hands it to the dispatch table. Made by ``pileus.gateway``, read by every service."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Who calls. ``arn`` and ``user_id`` are those of GetCallerIdentity; ``access_key`` is the id, never the secret."""

    account: str
    arn: str
    user_id: str
    access_key: str


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One authenticated request.

    Attributes:
        service: botocore's service name, e.g. ``ec2``. operation: e.g. ``RunInstances``.
        region: the region of the credential scope, always a configured one.
        params: the parameters in botocore's shapes (timestamps as aware datetimes, blobs as bytes).
        now: the moment the request came in, UTC. request_id: also in the answer and in the log.
    """

    service: str
    operation: str
    region: str
    params: Mapping[str, Any]
    identity: Identity
    request_id: str
    now: datetime
    source_address: str = ""
    user_agent: str = ""


Dispatch = Callable[[Call], Awaitable[Mapping[str, Any]]]
"""Performs a call and returns the result in botocore's output shape. Raises ``pileus.base.errors.ServiceError``."""
