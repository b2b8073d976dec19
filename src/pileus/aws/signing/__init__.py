"""Who signed a request, and whether it is true. The gateway reads the claim, finds the secret, and has it verified.

credential = credential_of(request)                 # access key, region, service: nothing proven yet
body = verify(request, credential, secret, now)     # or SignatureRefused
"""

from pileus.aws.signing.credential import Credential, Kind, credential_of, is_form
from pileus.aws.signing.post_policy import PostPolicy, read_policy
from pileus.aws.signing.refusals import Family, Reason, SignatureRefused, family_of
from pileus.aws.signing.verification import BodyReader, VerifiedBody, open_body, open_unsigned_body, verify

__all__ = [
    "BodyReader",
    "Credential",
    "Family",
    "Kind",
    "PostPolicy",
    "Reason",
    "SignatureRefused",
    "VerifiedBody",
    "credential_of",
    "family_of",
    "is_form",
    "open_body",
    "open_unsigned_body",
    "read_policy",
    "verify",
]
