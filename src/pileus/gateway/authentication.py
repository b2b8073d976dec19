"""Who calls, proven: the claim of a request, the key it names, the signature, and the region it is for."""

import base64
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import md5
from typing import Protocol

import msgspec

from pileus.aws.http import Headers, HttpRequest
from pileus.aws.protocol import Service
from pileus.aws.signing import (
    BodyReader,
    Credential,
    Kind,
    Reason,
    SignatureRefused,
    open_body,
    open_unsigned_body,
    verify,
)
from pileus.base.errors import ServiceError
from pileus.operations.call import ANONYMOUS, Identity

_REGION_IN_HOST = re.compile(r"[a-z0-9-]+\.([a-z0-9-]+)\.")
_GLOBAL_SERVICES = frozenset({"budgets", "ce", "iam", "pricing", "sts", "support"})
_GLOBAL_REGION = "us-east-1"
"""Where SDKs sign for services that have no regions, whatever region they are configured with."""


class KeyEntry(msgspec.Struct, frozen=True):
    """An access key: what signs with it, and for whom."""

    secret: str
    identity: Identity


class Keyring(Protocol):
    """Knows the access keys. Asked once a request, on the event loop: it must answer from memory."""

    def lookup(self, access_key: str, session_token: str) -> KeyEntry | None:
        """The entry of an active key; None when there is none.

        ``session_token`` is what the request carries, ``""`` for long-term keys; a key whose token is another one
        (or that has none) is unknown. Nothing is proven when this is asked: the signature is verified after it.

        Raises:
            SignatureRefused: with the reason ``EXPIRED_TOKEN``, when the session is over.
        """
        ...


class BadDigest(ServiceError):
    """S3: the body is not the one whose MD5 was sent with it."""

    code = "BadDigest"

    def __init__(self, digests: Mapping[str, str]) -> None:
        super().__init__("The Content-MD5 you specified did not match what we received.", fields=digests)


class Authenticator:
    """Verifies requests against a keyring, for the configured regions."""

    def __init__(self, keyring: Keyring, regions: Sequence[str], default_region: str) -> None:
        self._keyring = keyring
        self._regions = frozenset(regions)
        self.default_region = default_region

    def authenticate(
        self, request: HttpRequest, credential: Credential, service: Service, now: datetime
    ) -> tuple[Identity, str, HttpRequest]:
        """The caller, the region, and the request with its body as the client meant it (chunks decoded, trailers as headers).

        Raises:
            SignatureRefused: the request is not authentic, or for no region of this cloud.
        """
        region = self._region(request, credential, service)
        entry = self.entry(credential)
        body = verify(request, credential, entry.secret, now)
        if body.data is not request.body:
            request = _with_body(request, body.data, body.trailers)
        if service.name == "s3":
            _check_md5(request)
        return entry.identity, region, request

    def open(
        self, request: HttpRequest, credential: Credential | None, service: Service, now: datetime
    ) -> tuple[Identity, str, HttpRequest, BodyReader]:
        """The same by the head alone: the caller, the region, the request without what its wire form needed, and what
        verifies the body. Without a credential the caller is ``ANONYMOUS``.

        Raises:
            SignatureRefused: as ``authenticate``.
        """
        if credential is None:
            return ANONYMOUS, self.default_region, _with_body(request, b"", {}), open_unsigned_body(request)
        region = self._region(request, credential, service)
        entry = self.entry(credential)
        reader = open_body(request, credential, entry.secret, now)
        return entry.identity, region, _with_body(request, b"", {}), reader

    def entry(self, credential: Credential) -> KeyEntry:
        """The key that a credential names. Raises SignatureRefused."""
        entry = self._keyring.lookup(credential.access_key, credential.session_token)
        if entry is None:
            raise SignatureRefused(Reason.UNKNOWN_KEY)
        return entry

    def _region(self, request: HttpRequest, credential: Credential, service: Service) -> str:
        if credential.kind is Kind.V2:
            if service.protocol not in {"ec2", "query"}:
                raise SignatureRefused(Reason.UNSUPPORTED, "Signature Version 2 is for the query services only.")
            match = _REGION_IN_HOST.match(request.headers.get("host", "").lower())
            return match[1] if match and match[1] in self._regions else self.default_region
        if credential.kind is Kind.S3_V2:
            return self.default_region
        if credential.region in self._regions:
            return credential.region
        if credential.region == _GLOBAL_REGION and credential.service in _GLOBAL_SERVICES:
            return self.default_region
        raise SignatureRefused(
            Reason.WRONG_SCOPE, f"Credential should be scoped to a valid region, not '{credential.region[:64]}'."
        )


def _check_md5(request: HttpRequest) -> None:
    """Compares a whole body with its Content-MD5. Raises BadDigest."""
    told = request.headers.get("content-md5")
    found = base64.b64encode(md5(request.body, usedforsecurity=False).digest()).decode()
    if told is not None and told != found:
        raise BadDigest({"ExpectedDigest": told[:100], "CalculatedDigest": found})


def _with_body(request: HttpRequest, body: bytes, trailers: Mapping[str, str]) -> HttpRequest:
    """The request as if its body had come in one piece: that it was chunked is the wire's matter, not the object's."""
    fields = [(name, value) for name in request.headers for value in request.headers.get_all(name)]
    encodings = [part.strip() for part in request.headers.get("content-encoding", "").split(",")]
    kept = ",".join(encoding for encoding in encodings if encoding not in {"", "aws-chunked"})
    if "aws-chunked" in encodings:
        fields = [field for field in fields if field[0] != "content-encoding"]
        fields += [("content-encoding", kept)] * bool(kept)
    return msgspec.structs.replace(request, body=body, headers=Headers([*fields, *trailers.items()]))
