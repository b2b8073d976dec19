"""From a request to its answer: versions, IMDSv1 and v2, statuses. No I/O.

Source: "Use the Instance Metadata Service to access instance metadata" in the EC2 user guide.
"""

import base64
from collections.abc import Mapping
from http import HTTPStatus

import msgspec

from pileus.agent.metadata.identity import Identity
from pileus.agent.metadata.tokens import MAX_TTL, Tokens
from pileus.agent.metadata.tree import Directory, Node, find, meta_data
from pileus.hostapi.spec import MetadataSpec

# fmt: off
VERSIONS = (
    "1.0", "2007-01-19", "2007-03-01", "2007-08-29", "2007-10-10", "2007-12-15", "2008-02-01", "2008-09-01",
    "2009-04-04", "2011-01-01", "2011-05-01", "2012-01-12", "2014-02-25", "2014-11-05", "2015-10-20", "2016-04-19",
    "2016-06-30", "2016-09-02", "2018-03-28", "2018-08-17", "2018-09-24", "2019-10-01", "2020-10-27", "2021-01-03",
    "2021-03-23", "2021-07-15", "2022-09-24", "2024-04-11", "latest",
)
# fmt: on

TOKEN_HEADER = "x-aws-ec2-metadata-token"  # noqa: S105 - a name
TTL_HEADER = "x-aws-ec2-metadata-token-ttl-seconds"

_TOKEN_PATH = ("latest", "api", "token")
_ERROR_PAGE = """<?xml version="1.0" encoding="iso-8859-1"?>
<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN"
\t"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">
<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="en" lang="en">
 <head>
  <title>{status} - {phrase}</title>
 </head>
 <body>
  <h1>{status} - {phrase}</h1>
 </body>
</html>
"""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """``path`` decoded, without the query. ``headers`` by lower-case name, the last of equal ones."""

    method: str
    path: str
    headers: Mapping[str, str]


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """``hop_limit``: the IP time to live under which the answer must travel; None: the system's."""

    status: HTTPStatus
    body: bytes
    content_type: str = "text/plain"
    headers: tuple[tuple[str, str], ...] = ()
    hop_limit: int | None = None


def refuse(status: HTTPStatus, *headers: tuple[str, str]) -> Response:
    """An error as EC2 words it."""
    page = _ERROR_PAGE.format(status=status.value, phrase=status.phrase)
    return Response(status=status, body=page.encode(), content_type="text/html", headers=headers)


class Answerer:
    """Answers requests, given who asks."""

    def __init__(self, tokens: Tokens, identity: Identity) -> None:
        self._tokens = tokens
        self._identity = identity

    def answer(self, guest: MetadataSpec | None, request: Request) -> Response:
        """The answer to ``guest``; None is somebody whom this host doesn't know."""
        if guest is None:
            return refuse(HTTPStatus.NOT_FOUND)
        if not guest.endpoint_enabled:
            return refuse(HTTPStatus.FORBIDDEN)
        path = tuple(name for name in request.path.split("/") if name)
        if path == _TOKEN_PATH:
            return self._token(guest, request)
        if request.method not in {"GET", "HEAD"}:
            return refuse(HTTPStatus.METHOD_NOT_ALLOWED, ("Allow", "GET, HEAD"))
        headers: tuple[tuple[str, str], ...] = ()
        if (token := request.headers.get(TOKEN_HEADER)) is not None:
            if not (left := self._tokens.seconds_left(guest.instance_id, token)):
                return refuse(HTTPStatus.UNAUTHORIZED)
            headers = ((TTL_HEADER, str(left)),)
        elif guest.tokens_required:
            return refuse(HTTPStatus.UNAUTHORIZED)
        content = find(self._everything(guest), path)
        if content is None:
            return refuse(HTTPStatus.NOT_FOUND)
        is_text = path[1:2] != ("user-data",)
        content_type = "text/plain" if is_text else "application/octet-stream"
        return Response(status=HTTPStatus.OK, body=content, content_type=content_type, headers=headers)

    def _token(self, guest: MetadataSpec, request: Request) -> Response:
        if request.method != "PUT":
            return refuse(HTTPStatus.METHOD_NOT_ALLOWED, ("Allow", "PUT"))
        if "x-forwarded-for" in request.headers:  # it came through a proxy that an outsider may have talked into it
            return refuse(HTTPStatus.FORBIDDEN)
        ttl = request.headers.get(TTL_HEADER, "")
        if not (ttl.isascii() and ttl.isdigit() and len(ttl) <= 5 and 1 <= int(ttl) <= MAX_TTL):
            return refuse(HTTPStatus.BAD_REQUEST)
        return Response(
            status=HTTPStatus.OK,
            body=self._tokens.issue(guest.instance_id, int(ttl)).encode(),
            headers=((TTL_HEADER, ttl),),
            hop_limit=guest.hop_limit,
        )

    def _everything(self, guest: MetadataSpec) -> Directory:
        """All versions show the same: the categories of the newest. EC2 lists these two levels without slashes."""
        entries: dict[str, Node] = {
            "dynamic": Directory({"instance-identity": self._identity.directory(guest)}),
            "meta-data": meta_data(guest),
        }
        if guest.user_data is not None:
            entries["user-data"] = base64.b64decode(guest.user_data, validate=True)
        version = Directory(entries, listing="\n".join(entries))
        return Directory(dict.fromkeys(VERSIONS, version), listing="\n".join(VERSIONS))
