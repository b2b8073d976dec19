"""What a bucket lets pages of other origins do. Source: Amazon S3 user guide, "Elements of a CORS configuration"."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pileus.engines.objects.errors import ObjectsError
from pileus.engines.objects.interface import Objects
from pileus.operations.context import Context
from pileus.services.s3 import documents
from pileus.services.s3.configuration import permitted, present, store
from pileus.services.s3.errors import S3Error, malformed
from pileus.services.s3.service import Params, part, s3

_METHODS = frozenset({"GET", "PUT", "HEAD", "POST", "DELETE"})
_MOST = 100


@s3.waits("GetBucketCors", resources=("bucket:Bucket",))
async def get_bucket_cors(context: Context, params: Params) -> dict[str, Any]:
    """The rules."""
    gate = await permitted(context, params, "GetBucketCORS")
    return {"CORSRules": present(gate, documents.CORS, "NoSuchCORSConfiguration")}


@s3.waits("PutBucketCors", resources=("bucket:Bucket",))
async def put_bucket_cors(context: Context, params: Params) -> dict[str, Any]:
    """Replaces them."""
    gate = await permitted(context, params, "PutBucketCORS")
    rules = part(params, "CORSConfiguration").get("CORSRules", [])
    if not 0 < len(rules) <= _MOST:
        raise malformed()
    for rule in rules:
        _check(rule)
    await store(gate, documents.CORS, rules)
    return {}


def _check(rule: Mapping[str, Any]) -> None:
    if not rule.get("AllowedMethods") or not rule.get("AllowedOrigins"):
        raise malformed()
    for method in rule["AllowedMethods"]:
        if method not in _METHODS:
            raise S3Error(
                "InvalidRequest", f"Found unsupported HTTP method in CORS config. Unsupported method is {method[:50]}"
            )
    for name in ("AllowedOrigins", "AllowedHeaders"):
        if any(text.count("*") > 1 for text in rule.get(name, [])):
            raise S3Error("InvalidRequest", f"{name.removesuffix('s')} can not have more than one wildcard.")
    if any("*" in text for text in rule.get("ExposeHeaders", [])):
        raise S3Error(
            "InvalidRequest", "ExposeHeader contains wildcard. We currently do not support wildcard for ExposeHeader."
        )


@s3.waits("DeleteBucketCors", resources=("bucket:Bucket",))
async def delete_bucket_cors(context: Context, params: Params) -> dict[str, Any]:
    """Removes them."""
    await store(await permitted(context, params, "PutBucketCORS"), documents.CORS, None)
    return {}


class BucketOrigins:
    """Implements the gateway's ``CrossOrigin`` over the buckets' rules."""

    def __init__(self, objects: Callable[[], Objects]) -> None:
        self._objects = objects

    async def allowed(
        self, bucket: str, origin: str, method: str, headers: Sequence[str] | None
    ) -> Mapping[str, str] | None:
        """See ``pileus.gateway.cors.CrossOrigin``."""
        try:
            found = await self._objects().bucket(bucket)
        except ObjectsError:
            return None
        for rule in documents.load(found, documents.CORS) or ():
            if _fits(rule, origin, method, headers or ()):
                return _answer(rule, origin, headers)
        return {}


def _fits(rule: Mapping[str, Any], origin: str, method: str, headers: Sequence[str]) -> bool:
    allowed = rule.get("AllowedHeaders", [])
    return (
        method in rule["AllowedMethods"]
        and any(_matches(one, origin) for one in rule["AllowedOrigins"])
        and all(any(_matches(one.lower(), name.lower()) for one in allowed) for name in headers)
    )


def _matches(pattern: str, text: str) -> bool:
    head, star, tail = pattern.partition("*")
    if not star:
        return pattern == text
    return len(text) >= len(head) + len(tail) and text.startswith(head) and text.endswith(tail)


def _answer(rule: Mapping[str, Any], origin: str, headers: Sequence[str] | None) -> dict[str, str]:
    anyone = "*" in rule["AllowedOrigins"]
    answer = {
        "access-control-allow-origin": "*" if anyone else origin,
        "access-control-allow-methods": ", ".join(rule["AllowedMethods"]),
        "vary": "Origin, Access-Control-Request-Headers, Access-Control-Request-Method",
    }
    if not anyone:
        answer["access-control-allow-credentials"] = "true"
    if rule.get("ExposeHeaders"):
        answer["access-control-expose-headers"] = ", ".join(rule["ExposeHeaders"])
    if rule.get("MaxAgeSeconds") is not None:
        answer["access-control-max-age"] = str(rule["MaxAgeSeconds"])
    if headers:
        answer["access-control-allow-headers"] = ", ".join(headers).lower()
    return answer
