"""Signing keys of Signature Version 4, derived once a day for each secret, region and service."""

import hashlib
import hmac
from collections import OrderedDict

_KEPT = 4096

_cache: OrderedDict[tuple[bytes, str, str, str], bytes] = OrderedDict()


def signing_key(secret: str, date: str, region: str, service: str) -> bytes:
    """The key that signs requests of one scope. Kept under a fingerprint of the secret, never the secret itself."""
    octets = secret.encode()
    name = (hashlib.sha256(octets).digest(), date, region, service)
    key = _cache.get(name)
    if key is None:
        key = b"AWS4" + octets
        for part in (date, region, service, "aws4_request"):
            key = hmac.digest(key, part.encode("latin-1"), "sha256")
        _cache[name] = key
        if len(_cache) > _KEPT:
            _cache.popitem(last=False)
    else:
        _cache.move_to_end(name)
    return key
