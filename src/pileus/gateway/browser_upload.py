"""Uploads by a browser's form (S3's POST Object): the form becomes a PutObject, allowed by its signed policy document.

Called by ``pileus.gateway.app``. Source: Amazon S3 API reference, "POST Object".
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

from pileus.aws.http import Headers, HttpRequest, HttpResponse
from pileus.aws.protocol import load_service
from pileus.aws.protocol.xml_reader import parse as parse_xml
from pileus.aws.protocol.xml_writer import DECLARATION, escape
from pileus.aws.routing import Route
from pileus.aws.s3_hosts import path_style, s3_region
from pileus.aws.signing import Credential, Kind, PostPolicy, Reason, SignatureRefused, open_unsigned_body, read_policy
from pileus.aws.signing.credential import ALGORITHM, parse_time
from pileus.aws.signing.post_policy import EntityTooLarge, EntityTooSmall, check_signature
from pileus.base.errors import ServiceError
from pileus.gateway.authentication import Authenticator
from pileus.gateway.exchange import Exchange
from pileus.gateway.form_data import FormData
from pileus.gateway.incoming import IncomingBody
from pileus.operations.call import ANONYMOUS, Call, Identity, Reply

_PLAIN_HEADERS = frozenset(
    {"cache-control", "content-type", "content-disposition", "content-encoding", "expires", "content-md5"}
)


class InvalidForm(ServiceError):
    """A field is missing, or of a value that it can't have."""

    code = "InvalidArgument"


class BrowserUpload:
    """A form that was read as far as its file. Implements ``pileus.operations.call.Body`` for the file."""

    def __init__(
        self, form: FormData, fields: Mapping[str, str], bucket: str, policy: PostPolicy | None, caller: Identity
    ) -> None:
        self._form = form
        self._fields = fields
        self._bucket = bucket
        self._policy = policy
        self._caller = caller
        self.length: int | None = None
        self.trailers: Mapping[str, str] = {}
        self.announced: Sequence[str] = ()
        self.key = fields["key"].replace("${filename}", form.file_name)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        most = self._policy.most if self._policy else None
        async for piece in self._form.content():
            size += len(piece)
            if most is not None and size > most:
                raise EntityTooLarge
            yield piece
        if self._policy and size < self._policy.least:
            raise EntityTooSmall

    def call(self, exchange: Exchange) -> Call:
        """The PutObject that the form asks for. Raises ServiceError."""
        headers = [(name, value) for name, value in self._headers() if value]
        put = HttpRequest(
            "PUT", "/", "", Headers((name, value.encode().decode("latin-1")) for name, value in headers), b""
        )
        params = load_service("s3").operation("PutObject").parse(put, {"Bucket": self._bucket, "Key": self.key})
        request = exchange.request
        return Call(
            service="s3",
            operation="PutObject",
            region=exchange.region,
            params=params,
            identity=self._caller,
            request_id=exchange.request_id,
            now=exchange.now,
            source_address=request.source_address,
            source_vpc=request.source_vpc,
            source_endpoint=request.source_endpoint,
            user_agent=request.headers.get("user-agent", ""),
            body=self,
            secure=exchange.secure,
            referer=request.headers.get("referer", ""),
            host_region=s3_region(request),
        )

    def _headers(self) -> list[tuple[str, str]]:
        fields = self._fields
        headers = [
            (name, value)
            for name, value in fields.items()
            if name in _PLAIN_HEADERS
            or (
                name.startswith("x-amz-") and not name.startswith(("x-amz-signature", "x-amz-credential", "x-amz-date"))
            )
        ]
        if "content-type" not in fields and self._form.file_type:
            headers.append(("content-type", self._form.file_type))
        if "acl" in fields:
            headers.append(("x-amz-acl", fields["acl"]))
        if "tagging" in fields:
            headers.append(("x-amz-tagging", _tagging(fields["tagging"])))
        return headers

    def answer(self, exchange: Exchange, result: Mapping[str, Any] | Reply) -> HttpResponse:
        """What the form asks for in return: a redirection, a document, or nothing."""
        stored = result.result if isinstance(result, Reply) else result
        request, etag = exchange.request, stored.get("ETag", "")
        base = f"{'https' if exchange.secure else 'http'}://{request.headers.get('host', '')}"
        location = (
            f"{base}{path_style(request).path.rstrip('/') if path_style(request) is request else ''}/{quote(self.key)}"
        )
        headers = [("ETag", etag), ("Location", location), ("x-amz-request-id", exchange.request_id)]
        if stored.get("VersionId"):
            headers.append(("x-amz-version-id", stored["VersionId"]))
        target = self._fields.get("success_action_redirect") or self._fields.get("redirect")
        if target and urlsplit(target).scheme in {"http", "https"}:
            parts = urlsplit(target)
            told = urlencode({"bucket": self._bucket, "key": self.key, "etag": etag})
            query = f"{parts.query}&{told}" if parts.query else told
            headers[1] = ("Location", urlunsplit(parts._replace(query=query)))
            return HttpResponse(303, headers, b"")
        status = self._fields.get("success_action_status")
        if status == "201":
            text = (
                f"{DECLARATION}<PostResponse><Location>{escape(location)}</Location><Bucket>{escape(self._bucket)}</Bucket>"
                f"<Key>{escape(self.key)}</Key><ETag>{escape(etag)}</ETag></PostResponse>"
            )
            return HttpResponse(201, [*headers, ("Content-Type", "application/xml")], text.encode())
        return HttpResponse(200 if status == "200" else 204, headers, b"")


def is_one(request: HttpRequest) -> bool:
    """Whether it is a form for a bucket. ``request`` in path style."""
    return (
        request.method == "POST"
        and not request.query
        and request.headers.get("content-type", "").lower().startswith("multipart/form-data")
        and request.path.strip("/") != ""
        and "/" not in request.path.strip("/")
    )


async def open_form(exchange: Exchange, authenticator: Authenticator, patience: float) -> None:
    """Reads the form up to its file, and sees whether its policy allows it.

    Raises:
        SignatureRefused: the signature is not right. ServiceError: the form, or its policy, is not.
    """
    request = exchange.request
    service = load_service("s3")
    exchange.service = service
    bucket = path_style(request).path.strip("/")
    exchange.route = Route(service, "PutObject", service.protocol, {"Bucket": bucket, "Key": ""})
    incoming = exchange.incoming = IncomingBody(
        exchange.receive, open_unsigned_body(request), request.headers, patience
    )
    pieces = aiter(incoming)

    async def more() -> bytes | None:
        return await anext(pieces, None)

    form = FormData(request.headers["content-type"], more)
    fields = await form.fields()
    if not fields.get("key"):
        raise InvalidForm(
            "Bucket POST must contain a field named 'key'.  If it is specified, please check the order of the fields."
        )
    if not form.has_file:
        raise InvalidForm("POST requires exactly one file upload per request.")
    caller, policy = ANONYMOUS, None
    exchange.region = authenticator.default_region
    if "policy" in fields:
        credential = _credential(fields)
        exchange.credential = credential
        caller = authenticator.entry(credential).identity
        check_signature(fields["policy"], credential, authenticator.entry(credential).secret)
        policy = read_policy(fields["policy"])
        key = fields["key"].replace("${filename}", form.file_name)
        policy.check({**fields, "key": key, "bucket": bucket}, exchange.now)
        exchange.region = credential.region or exchange.region
    elif {"x-amz-signature", "signature", "awsaccesskeyid", "x-amz-credential"} & fields.keys():
        raise InvalidForm("Bucket POST must contain a field named 'policy'.")
    exchange.identity = caller
    exchange.form = BrowserUpload(form, fields, bucket, policy, caller)


def _credential(fields: Mapping[str, str]) -> Credential:
    """The claim in a form's fields. Raises InvalidForm, SignatureRefused."""
    token = fields.get("x-amz-security-token", "")
    if "awsaccesskeyid" in fields or "signature" in fields:
        for name, field in (("awsaccesskeyid", "AWSAccessKeyId"), ("signature", "signature")):
            if not fields.get(name):
                raise InvalidForm(f"Bucket POST must contain a field named '{field}'.")
        return Credential(
            kind=Kind.V2,
            access_key=fields["awsaccesskeyid"],
            signature=fields["signature"],
            signed_at=None,
            session_token=token,
        )
    for name in ("x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-signature"):
        if not fields.get(name):
            raise InvalidForm(f"Bucket POST must contain a field named '{name}'.")
    parts = fields["x-amz-credential"].rsplit("/", 4)
    signed_at = parse_time(fields["x-amz-date"])
    if (
        fields["x-amz-algorithm"] != ALGORITHM
        or len(parts) != 5
        or signed_at is None
        or parts[3:] != ["s3", "aws4_request"]
    ):
        raise SignatureRefused(Reason.MALFORMED_QUERY, "The form's x-amz-algorithm, -credential or -date is not valid.")
    return Credential(
        kind=Kind.QUERY,
        access_key=parts[0],
        date=parts[1],
        region=parts[2],
        service=parts[3],
        signature=fields["x-amz-signature"],
        signed_at=signed_at,
        session_token=token,
    )


def _tagging(text: str) -> str:
    """A Tagging document as the query string that the header x-amz-tagging takes. Raises MalformedXML."""
    pairs: list[tuple[str, str]] = []
    for tag in parse_xml(text.encode()).children[:1]:
        for one in tag.children:
            parts = {child.name: child.text for child in one.children}
            pairs.append((parts.get("Key", ""), parts.get("Value", "")))
    return urlencode(pairs)
