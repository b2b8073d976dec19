"""The canonical form of a request, which both sides of Signature Version 4 compute and compare.

Source: AWS, "Create a signed AWS API request" and, for S3, "Authenticating Requests (AWS Signature Version 4)". Text stays
Latin-1 throughout, as it came over the wire, so that every byte is signed as it is.
"""

import re
from collections.abc import Iterable
from urllib.parse import quote, unquote_to_bytes

from pileus.aws.http import Headers

_BLANKS = re.compile(r"[ \t]+")


def query_pairs(text: str) -> list[tuple[bytes, bytes]]:
    """The decoded names and values of a query string or form, in order; ``+`` is a space, a name alone has the value ``b""``."""
    pairs: list[tuple[bytes, bytes]] = []
    for part in text.split("&"):
        if part:
            name, _, value = part.partition("=")
            pairs.append((_decoded(name), _decoded(value)))
    return pairs


def query_string(pairs: Iterable[tuple[bytes, bytes]]) -> str:
    """Pairs as a canonical query string: encoded after RFC 3986, sorted by encoded name, then value."""
    return "&".join(
        f"{name}={value}" for name, value in sorted((quote(n, safe=""), quote(v, safe="")) for n, v in pairs)
    )


def path(raw: str, *, literal: bool) -> str:
    """The canonical URI of a raw (percent-encoded) path.

    S3 (``literal``) encodes each segment once and keeps dots and double slashes, for they are part of the key; the other
    services normalise the path (RFC 3986, 6.2.2.3) as botocore does, and encode what was sent a second time.
    """
    if raw in {"", "/"}:
        return "/"
    if literal:
        return "/".join(quote(unquote_to_bytes(segment.encode("latin-1")), safe="~") for segment in raw.split("/"))
    return quote(_without_dots(raw).encode("latin-1"), safe="/~")


def headers(fields: Headers, names: Iterable[str]) -> str:
    """The named fields, one a line: values trimmed, inner blanks collapsed, repeated fields joined by a comma."""
    return "".join(f"{name}:{','.join(_trimmed(value) for value in fields.get_all(name))}\n" for name in names)


def _decoded(text: str) -> bytes:
    return unquote_to_bytes(text.replace("+", " ").encode("latin-1"))


def _trimmed(value: str) -> str:
    value = value.strip(" \t")
    return _BLANKS.sub(" ", value) if "  " in value or "\t" in value else value


def _without_dots(raw: str) -> str:
    kept: list[str] = []
    for segment in raw.split("/"):
        if segment == "..":
            if kept:
                kept.pop()
        elif segment not in {"", "."}:
            kept.append(segment)
    last = "/" if kept and raw.endswith("/") else ""
    return "/" + "/".join(kept) + last
