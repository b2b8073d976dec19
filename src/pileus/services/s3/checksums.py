"""Checksums as requests name them and answers tell them.

Source: Amazon S3 user guide, "Checking object integrity". A request names at most one algorithm; where it names none, S3
calculates CRC-64/NVME.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any, cast

from pileus.engines.objects.model import Algorithm, Checksum, ChecksumType, Digests
from pileus.operations.call import Body
from pileus.services.s3.errors import S3Error

ALGORITHMS: dict[Algorithm, int] = {"CRC32": 4, "CRC32C": 4, "CRC64NVME": 8, "SHA1": 20, "SHA256": 32}
"""Bytes of each algorithm's value."""
DEFAULT: Algorithm = "CRC64NVME"
_UNKNOWN = ("ChecksumSHA512", "ChecksumMD5", "ChecksumXXHASH64", "ChecksumXXHASH3", "ChecksumXXHASH128")


def algorithm(name: str | None) -> Algorithm | None:
    """An algorithm by its name. Raises S3Error."""
    if name is None:
        return None
    if name.upper() not in ALGORITHMS:
        raise S3Error(
            "InvalidRequest",
            "Checksum algorithm provided is unsupported. Please try again with any of the valid types: "
            "[CRC32, CRC32C, CRC64NVME, SHA1, SHA256]",
        )
    return cast("Algorithm", name.upper())


def given(params: Mapping[str, Any]) -> tuple[Algorithm, str] | None:
    """The one checksum value among the parameters. Raises S3Error: several, malformed, or of another algorithm."""
    found: list[tuple[Algorithm, str]] = [
        (name, params[f"Checksum{name}"]) for name in ALGORITHMS if params.get(f"Checksum{name}")
    ]
    if any(name in params for name in _UNKNOWN):
        algorithm("")
    if len(found) > 1:
        raise S3Error(
            "InvalidRequest", "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed."
        )
    if not found:
        return None
    name, value = found[0]
    if "-" not in value:
        check_value(name, value)
    declared = algorithm(params.get("ChecksumAlgorithm"))
    if declared is not None and declared != name:
        raise S3Error("InvalidRequest", "Value for x-amz-sdk-checksum-algorithm header is invalid.")
    return name, value


def check_value(name: Algorithm, value: str) -> None:
    """Raises S3Error unless it is base64 of as many bytes as the algorithm gives."""
    try:
        raw = base64.b64decode(value, validate=True)
    except binascii.Error:
        raw = b""
    if len(raw) != ALGORITHMS[name]:
        raise S3Error("InvalidRequest", f"Value for x-amz-checksum-{name.lower()} header is invalid.")


def of_body(params: Mapping[str, Any], body: Body, *, default: Algorithm | None = DEFAULT) -> Digests:
    """What to calculate of a body that streams, and to compare with headers and trailers. Raises S3Error."""
    md5 = params.get("ContentMD5")
    if md5 is not None:
        _check_md5(md5)
    length = body.length
    value = given(params)
    if value is not None:
        return Digests(algorithm=value[0], expected=value[1], md5=md5, length=length)
    named = algorithm(params.get("ChecksumAlgorithm"))
    if named is None:
        named = _announced(body.announced)
    if named is None:
        return Digests(algorithm=default, md5=md5, length=length)
    chosen = named

    def trailer() -> str | None:
        return body.trailers.get(f"x-amz-checksum-{chosen.lower()}")

    return Digests(algorithm=chosen, expected=trailer, md5=md5, length=length)


def _announced(trailers: Sequence[str]) -> Algorithm | None:
    return next((name for name in ALGORITHMS if f"x-amz-checksum-{name.lower()}" in trailers), None)


def _check_md5(text: str) -> None:
    try:
        raw = base64.b64decode(text, validate=True)
    except binascii.Error:
        raw = b""
    if len(raw) != 16:
        raise S3Error("InvalidDigest")


def told(checksum: Checksum | None, *, with_type: bool = True) -> dict[str, str]:
    """A checksum as members of an answer."""
    if checksum is None:
        return {}
    members = {f"Checksum{checksum.algorithm}": checksum.value}
    return {**members, "ChecksumType": checksum.type} if with_type else members


def checksum_type(text: str | None, chosen: Algorithm | None) -> ChecksumType | None:
    """The type of a multipart upload's checksum. Raises S3Error: the algorithm does not have it."""
    if text is None:
        return "FULL_OBJECT" if chosen == "CRC64NVME" else None
    if text not in {"FULL_OBJECT", "COMPOSITE"}:
        raise S3Error("InvalidRequest", "Value for x-amz-checksum-type header is invalid.")
    if chosen is None:
        raise S3Error(
            "InvalidRequest",
            "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.",
        )
    if (text == "FULL_OBJECT" and chosen.startswith("SHA")) or (text == "COMPOSITE" and chosen == "CRC64NVME"):
        raise S3Error(
            "InvalidRequest", f"The {text} checksum type cannot be used with the {chosen.lower()} checksum algorithm."
        )
    return cast("ChecksumType", text)
