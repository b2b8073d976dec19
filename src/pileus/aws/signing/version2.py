"""Signature Version 2, which old query clients use (libcloud in us-east-1): a hash over method, host, path and all parameters.

Source: AWS General Reference, "Signature Version 2 signing process".
"""

import base64
import hmac
from urllib.parse import quote

from pileus.aws.http import HttpRequest
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
