"""One API call, as the gateway hands it to the dispatch table. Made by ``pileus.gateway``, read by every service."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

import msgspec


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Who calls. ``arn`` and ``user_id`` are those of GetCallerIdentity; ``access_key`` is the id, never the secret."""

    account: str
    arn: str
    user_id: str
    access_key: str


ANONYMOUS = Identity(account="", arn="", user_id="anonymous", access_key="")
"""The caller of a request that nobody signed. Only services declared ``public`` ever see it."""


class Body(Protocol):
    """A request's body on its way in: read it once, to its end, and only then believe what came before.

    Attributes:
        length: how many bytes the client says it has; None where nothing says it (a form's file).
        trailers: the headers that follow it, by lower-case name; complete once the iteration has ended.
        announced: the names of the trailers, in lower case; known from the beginning.
    """

    @property
    def length(self) -> int | None: ...

    @property
    def trailers(self) -> Mapping[str, str]: ...

    @property
    def announced(self) -> Sequence[str]: ...

    def __aiter__(self) -> AsyncIterator[bytes]:
        """The bytes as the client meant them. It ends well only when all of them came and were the signed ones.

        Raises (from the iteration) ServiceError or ``ClientGone``: whatever was read must be thrown away.
        """
        ...


class ClientGone(Exception):
    """The client closed the connection; there is nobody to answer."""


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One authenticated request.

    Attributes:
        service: botocore's service name, e.g. ``ec2``. operation: e.g. ``RunInstances``.
        region: the region of the credential scope, always a configured one.
        params: the parameters in botocore's shapes (timestamps as aware datetimes, blobs as bytes).
        now: the moment the request came in, UTC. request_id: also in the answer and in the log.
        body: of operations declared with ``streams``; their params lack it. None for all others.
        secure: whether it came over TLS. referer: the header. host_region: the region that the host name says, if any.
        source_vpc, source_endpoint: of a guest whose call came through an interface endpoint; ``source_address`` is private
            then.
        source_arn: of a call that a service of the cloud makes for its owner: the resource for which it does.
    """

    service: str
    operation: str
    region: str
    params: Mapping[str, Any]
    identity: Identity
    request_id: str
    now: datetime
    source_address: str = ""
    source_vpc: str = ""
    source_endpoint: str = ""
    user_agent: str = ""
    body: Body | None = None
    secure: bool = False
    referer: str = ""
    host_region: str = ""
    source_arn: str = ""


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """A result whose answer is not just what the model says: another status, or further headers."""

    result: Mapping[str, Any]
    status: int | None = None
    headers: Mapping[str, str] = {}


Dispatch = Callable[[Call], Awaitable[Mapping[str, Any] | Reply]]
"""Performs a call and returns the result in botocore's output shape; a streaming member may be an ``AsyncIterator[bytes]``,
which the gateway closes (``aclose``) when it has sent it or the client is gone. Raises ``pileus.base.errors.ServiceError``.
"""
