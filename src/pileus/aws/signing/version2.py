"""Signature Version 2, which old query clients use (libcloud in us-east-1): a hash over method, host, path and all parameters.

Source: AWS General Reference, "Signature Version 2 signing process". S3 has a Version 2 of its own, of which presigned URLs are
still made: Amazon S3 user guide, "Signing and authenticating REST requests (AWS signature version 2)".
"""

import base64
import hmac
from urllib.parse import quote

from pileus.aws.http import HttpRequest
from pileus.aws.s3_hosts import s3_bucket
from pileus.aws.signing.credential import Credential, is_form
from pileus.aws.signing.refusals import Reason, SignatureRefused

_HASHES = {b"HmacSHA256": "sha256", b"HmacSHA1": "sha1"}


def check(request: HttpRequest, credential: Credential, secret: str) -> None:
    """Raises ``SignatureRefused`` unless the parameters were signed with this secret.

    Version 2 covers no header and no body but a form, so a request in which either would have a meaning is refused.
    """
    if "x-amz-target" in request.headers or (request.body and not is_form(request)):
        raise SignatureRefused(Reason.UNSUPPORTED, "Signature Version 2 signs only the parameters of a query or form.")
    method = next(value for name, value in credential.parameters if name == b"SignatureMethod")
    algorithm = _HASHES.get(method)
    if algorithm is None:
        raise SignatureRefused(Reason.UNSUPPORTED, "SignatureMethod must be HmacSHA256 or HmacSHA1.")
    expected = base64.b64encode(hmac.digest(secret.encode(), _text_to_sign(request, credential), algorithm))
    if not hmac.compare_digest(expected, credential.signature.encode()):
        raise SignatureRefused(Reason.MISMATCH)


def _text_to_sign(request: HttpRequest, credential: Credential) -> bytes:
    """Unlike Version 4, parameters are sorted by their names before encoding."""
    signed = sorted(pair for pair in credential.parameters if pair[0] != b"Signature")
    parameters = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in signed)
    host = request.headers.get("host", "").strip().lower()
    return f"{request.method}\n{host}\n{request.path or '/'}\n{parameters}".encode("latin-1")


_SUBRESOURCES = frozenset(
    b"""accelerate acl analytics cors delete inventory legal-hold lifecycle location logging metrics notification object-lock
    partNumber policy policyStatus publicAccessBlock ownershipControls replication requestPayment restore retention
    response-cache-control response-content-disposition response-content-encoding response-content-language
    response-content-type response-expires select select-type storageClass tagging torrent uploadId uploads versionId
    versioning versions website encryption attributes""".split()
)
"""The parameters of a query string that S3's Version 2 covers."""


def check_s3(request: HttpRequest, credential: Credential, secret: str) -> None:
    """Raises ``SignatureRefused`` unless a presigned URL of S3's Version 2 was signed with this secret.

    It covers method, type, MD5, every x-amz- header, the path and the parameters that choose an operation.
    """
    fields = dict(credential.parameters)
    amz = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in fields.items()}
    amz = {name: value for name, value in amz.items() if name.startswith("x-amz-")}
    amz |= {name: request.headers[name].strip() for name in request.headers if name.startswith("x-amz-")}
    covered = sorted(pair for pair in credential.parameters if pair[0] in _SUBRESOURCES)
    query = "&".join((name + (b"=" + value if value else b"")).decode("latin-1") for name, value in covered)
    head = (
        request.method,
        _of_query_or_header(fields, request, "content-md5"),
        _of_query_or_header(fields, request, "content-type"),
        fields[b"Expires"].decode("latin-1"),
    )
    headers = "".join(f"{name}:{amz[name]}\n" for name in sorted(amz))
    bucket = s3_bucket(request)
    path = f"/{bucket}{request.path}" if bucket else request.path
    text = "\n".join(head) + f"\n{headers}{path}" + (f"?{query}" if query else "")
    expected = base64.b64encode(hmac.digest(secret.encode(), text.encode("latin-1"), "sha1"))
    if not hmac.compare_digest(expected, credential.signature.encode()):
        raise SignatureRefused(Reason.MISMATCH)


def _of_query_or_header(fields: dict[bytes, bytes], request: HttpRequest, name: str) -> str:
    for key, value in fields.items():
        if key.decode("latin-1").lower() == name:
            return value.decode("latin-1")
    return request.headers.get(name, "")
