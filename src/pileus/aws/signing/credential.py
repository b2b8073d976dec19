"""What a request says about who signed it, read without verifying: enough to route it and to look the key up."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from typing import NoReturn

import msgspec

from pileus.aws.http import HttpRequest
from pileus.aws.signing import canonical
from pileus.aws.signing.refusals import Reason, SignatureRefused

ALGORITHM = "AWS4-HMAC-SHA256"
_WEEK = 604_800
_QUERY_FIELDS = ("X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-SignedHeaders", "X-Amz-Signature")


class Kind(Enum):
    """Where the signature stands, and its version."""

    HEADER = auto()
    QUERY = auto()
    V2 = auto()
    S3_V2 = auto()
    """A presigned URL of S3's own Version 2: what boto3 and the AWS CLI make where no other version is configured."""


class Credential(msgspec.Struct, frozen=True, kw_only=True):
    """The claim of a request. Nothing in it is proven until ``verify`` returns.

    Attributes:
        signature: as sent; hexadecimal, under Version 2 base64.
        signed_at: what the client's clock said. expires: when a presigned request ends, where it says so; a Version 2
            request has one of the two.
        date, region, service: the credential scope; empty under Version 2, which has none.
        signed_headers: lower-case names, in the order in which they were signed.
        session_token: of temporary credentials; empty for long-term keys.
        parameters: every decoded name and value of query and form (presigned and Version 2 requests only).
    """

    kind: Kind
    access_key: str
    signature: str
    signed_at: datetime | None
    expires: datetime | None = None
    date: str = ""
    region: str = ""
    service: str = ""
    signed_headers: tuple[str, ...] = ()
    session_token: str = ""
    parameters: tuple[tuple[bytes, bytes], ...] = ()


def credential_of(request: HttpRequest) -> Credential:
    """Reads the claim out of the Authorization header, the query string or the form.

    Raises:
        SignatureRefused: there is none (``MISSING``), it can't be read, or it is of a kind that is not offered.
    """
    authorization = request.headers.get("authorization")
    presigned = "X-Amz-" in request.query and any(f"{name}=" in request.query for name in _QUERY_FIELDS)
    if authorization is not None:
        if presigned:
            raise SignatureRefused(Reason.MALFORMED_HEADER, "Only one auth mechanism allowed.")
        return _from_header(request, authorization)
    if presigned:
        return _from_query(request)
    if _is_s3_version_2(request):
        return _from_s3_query(request)
    if _is_version_2(request):
        return _from_version_2(request)
    raise SignatureRefused(Reason.MISSING)


def is_form(request: HttpRequest) -> bool:
    """Whether the body is a form of parameters, as the query protocols send it."""
    return request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded")


def parse_time(text: str) -> datetime | None:
    """A time in ISO 8601's basic form, ``20150830T123600Z``; None when it is something else."""
    if len(text) != 16 or text[8] != "T" or text[15] != "Z" or not (text[:8] + text[9:15]).isdecimal():
        return None
    try:
        return datetime(
            int(text[:4]),
            int(text[4:6]),
            int(text[6:8]),
            int(text[9:11]),
            int(text[11:13]),
            int(text[13:15]),
            tzinfo=UTC,
        )
    except ValueError:
        return None


def _from_header(request: HttpRequest, authorization: str) -> Credential:
    scheme, _, rest = authorization.strip().partition(" ")
    if scheme != ALGORITHM:
        _refuse_scheme(scheme)
    fields: dict[str, str] = {}
    for part in rest.split(","):
        name, equals, value = part.strip().partition("=")
        if not equals or name in fields:
            raise SignatureRefused(
                Reason.MALFORMED_HEADER, f"'{part.strip()}' not a valid key=value pair in Authorization header."
            )
        fields[name] = value
    for name in ("Credential", "SignedHeaders", "Signature"):
        if not fields.get(name):
            raise SignatureRefused(Reason.MALFORMED_HEADER, f"Authorization header requires '{name}' parameter.")
    access_key, date, region, service = _scope(fields["Credential"], Reason.MALFORMED_HEADER)
    return Credential(
        kind=Kind.HEADER,
        access_key=access_key,
        date=date,
        region=region,
        service=service,
        signature=fields["Signature"],
        signed_headers=tuple(fields["SignedHeaders"].split(";")),
        signed_at=_header_time(request),
        session_token=request.headers.get("x-amz-security-token", ""),
    )


def _from_query(request: HttpRequest) -> Credential:
    pairs = tuple(canonical.query_pairs(request.query))
    fields = _single(pairs, "X-Amz-", Reason.MALFORMED_QUERY)
    algorithm = fields.get("X-Amz-Algorithm", "")
    if algorithm.startswith("AWS4-ECDSA"):
        _refuse_scheme(algorithm)
    if algorithm != ALGORITHM:
        raise SignatureRefused(Reason.MALFORMED_QUERY, f'X-Amz-Algorithm only supports "{ALGORITHM}"')
    for name in _QUERY_FIELDS:
        if not fields.get(name):
            raise SignatureRefused(Reason.MALFORMED_QUERY, f"AWS query-string parameters must include '{name}'.")
    signed_at = parse_time(fields["X-Amz-Date"])
    if signed_at is None:
        raise SignatureRefused(
            Reason.MALFORMED_QUERY, "X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\""
        )
    access_key, date, region, service = _scope(fields["X-Amz-Credential"], Reason.MALFORMED_QUERY)
    return Credential(
        kind=Kind.QUERY,
        access_key=access_key,
        date=date,
        region=region,
        service=service,
        signature=fields["X-Amz-Signature"],
        signed_headers=tuple(fields["X-Amz-SignedHeaders"].split(";")),
        signed_at=signed_at,
        expires=_presigned_end(signed_at, fields.get("X-Amz-Expires")),
        session_token=fields.get("X-Amz-Security-Token", ""),
        parameters=pairs,
    )


def _presigned_end(signed_at: datetime, seconds: str | None) -> datetime | None:
    if seconds is None:
        return None
    if not (seconds.isascii() and seconds.isdecimal()) or not 1 <= int(seconds[:9]) <= _WEEK or len(seconds) > 9:
        raise SignatureRefused(Reason.MALFORMED_QUERY, f"X-Amz-Expires must be a number of seconds from 1 to {_WEEK}")
    try:
        return signed_at + timedelta(seconds=int(seconds))
    except OverflowError:
        raise SignatureRefused(Reason.MALFORMED_QUERY, "X-Amz-Date is out of range") from None


def _is_version_2(request: HttpRequest) -> bool:
    return "AWSAccessKeyId=" in request.query or (is_form(request) and b"AWSAccessKeyId=" in request.body)


def _is_s3_version_2(request: HttpRequest) -> bool:
    query = request.query
    return "AWSAccessKeyId=" in query and "SignatureMethod=" not in query and "Action=" not in query


def _from_s3_query(request: HttpRequest) -> Credential:
    pairs = tuple(canonical.query_pairs(request.query))
    fields = _single(pairs, "", Reason.MALFORMED_QUERY)
    for name in ("AWSAccessKeyId", "Signature", "Expires"):
        if not fields.get(name):
            raise SignatureRefused(
                Reason.MALFORMED_QUERY,
                "Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters",
            )
    seconds = fields["Expires"]
    if not (seconds.isascii() and seconds.isdecimal()) or len(seconds) > 11:
        raise SignatureRefused(Reason.MALFORMED_QUERY, f"Invalid date (should be seconds since epoch): {seconds[:50]}")
    try:
        expires = datetime.fromtimestamp(int(seconds), UTC)
    except (ValueError, OverflowError):
        expires = datetime.max.replace(tzinfo=UTC)
    return Credential(
        kind=Kind.S3_V2,
        access_key=fields["AWSAccessKeyId"],
        service="s3",
        signature=fields["Signature"],
        signed_at=None,
        expires=expires,
        session_token=fields.get("x-amz-security-token", ""),
        parameters=pairs,
    )


def _from_version_2(request: HttpRequest) -> Credential:
    pairs = canonical.query_pairs(request.query)
    if is_form(request):
        pairs += canonical.query_pairs(request.body.decode("latin-1"))
    fields = _single(pairs, "", Reason.MALFORMED_QUERY)
    for name in ("AWSAccessKeyId", "Signature", "SignatureMethod", "SignatureVersion"):
        if not fields.get(name):
            raise SignatureRefused(Reason.MALFORMED_QUERY, f"The request must contain the parameter {name}")
    if fields["SignatureVersion"] != "2":
        raise SignatureRefused(Reason.UNSUPPORTED, "SignatureVersion must be 2, or use Signature Version 4.")
    signed_at, expires = _extended_time(fields.get("Timestamp")), _extended_time(fields.get("Expires"))
    if (signed_at is None) == (expires is None):
        raise SignatureRefused(Reason.MALFORMED_QUERY, "The request must contain one valid Timestamp or Expires")
    return Credential(
        kind=Kind.V2,
        access_key=fields["AWSAccessKeyId"],
        signature=fields["Signature"],
        signed_at=signed_at,
        expires=expires,
        session_token=fields.get("SecurityToken", ""),
        parameters=tuple(pairs),
    )


def _single(pairs: Iterable[tuple[bytes, bytes]], prefix: str, reason: Reason) -> Mapping[str, str]:
    """The parameters, as Latin-1, whose names begin with ``prefix``. One that comes twice is ambiguous and refused."""
    fields: dict[str, str] = {}
    for raw, value in pairs:
        name = raw.decode("latin-1")
        if name.startswith(prefix):
            if name in fields:
                raise SignatureRefused(reason, f"The parameter {name} may be given only once.")
            fields[name] = value.decode("latin-1")
    return fields


def _scope(text: str, reason: Reason) -> tuple[str, str, str, str]:
    """Access key, date, region and service of ``AKID/20150830/us-east-1/iam/aws4_request``."""
    parts = text.split("/")
    if len(parts) != 5 or not all(parts):
        raise SignatureRefused(
            reason,
            f"Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '{text}'",
        )
    if parts[4] != "aws4_request":
        raise SignatureRefused(
            Reason.WRONG_SCOPE,
            f"Credential should be scoped with a valid terminator: 'aws4_request', not '{parts[4]}'.",
        )
    return parts[0], parts[1], parts[2], parts[3]


def _header_time(request: HttpRequest) -> datetime:
    text = request.headers.get("x-amz-date") or request.headers.get("date")
    if text is None:
        raise SignatureRefused(
            Reason.MALFORMED_HEADER,
            "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.",
        )
    time = parse_time(text)
    if time is None:
        try:
            time = _in_utc(parsedate_to_datetime(text))
        except (ValueError, OverflowError):
            raise SignatureRefused(
                Reason.MALFORMED_HEADER, "Date must be in ISO-8601 'basic format' or be a valid HTTP date."
            ) from None
    return time


def _extended_time(text: str | None) -> datetime | None:
    """ISO 8601's extended form, as Version 2 uses it: with or without milliseconds and zone; without one it is UTC."""
    try:
        return _in_utc(datetime.fromisoformat(text or ""))
    except (ValueError, OverflowError):
        return None


def _in_utc(time: datetime) -> datetime:
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)


def _refuse_scheme(scheme: str) -> NoReturn:
    if scheme.startswith("AWS4-ECDSA"):
        raise SignatureRefused(Reason.UNSUPPORTED, f"Signature Version 4A is not supported; please use {ALGORITHM}.")
    if scheme in {"AWS", "Bearer", "Basic", "AWS3", "AWS3-HTTPS"}:
        raise SignatureRefused(
            Reason.UNSUPPORTED, f"The authorization mechanism '{scheme}' is not supported; please use {ALGORITHM}."
        )
    raise SignatureRefused(Reason.MALFORMED_HEADER, f"Unsupported AWS 'algorithm': '{scheme}', please use {ALGORITHM}.")
