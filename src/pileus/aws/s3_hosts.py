"""What the host name of an S3 request says: the bucket, and the region. Used by ``pileus.aws``, and by ``pileus.gateway``."""

import re

import msgspec

from pileus.aws.http import HttpRequest

_PORT = re.compile(r":\d+$")
_S3_HOST = re.compile(r"(?:(?P<bucket>.+?)\.)?s3(?:[.-](?P<region>[a-z]{2}(?:-[a-z]+)+-\d))?\.[^/]+")
_LOCAL_HOST = re.compile(r"(?P<bucket>[^/]+)\.localhost")


def path_style(request: HttpRequest) -> HttpRequest:
    """A virtual-host style S3 request (``bucket.s3.domain/key``) in path style (``s3.domain/bucket/key``)."""
    bucket = s3_bucket(request)
    return msgspec.structs.replace(request, path=f"/{bucket}{request.path}") if bucket else request


def s3_bucket(request: HttpRequest) -> str:
    """The bucket before ``.s3.``, ``.s3.<region>.``, ``.s3-<region>.`` or a final ``.localhost``; empty without one."""
    host = _host_name(request)
    match = _S3_HOST.fullmatch(host) or _LOCAL_HOST.fullmatch(host)
    return (match["bucket"] or "") if match else ""


def s3_region(request: HttpRequest) -> str:
    """The region in an S3 request's host name; empty when it names none."""
    match = _S3_HOST.fullmatch(_host_name(request))
    return (match["region"] or "") if match else ""


def _host_name(request: HttpRequest) -> str:
    return _PORT.sub("", request.headers.get("host", "")).lower()
