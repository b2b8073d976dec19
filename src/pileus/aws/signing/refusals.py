"""Why a signature was refused, and how each family of AWS services says so: one table, read when the answer is written.

Codes and statuses follow the services' "Common errors" and "Error responses" pages; messages are those that the services send.
"""

from enum import Enum, auto
from typing import NamedTuple

from pileus.base.errors import ServiceError


class Family(Enum):
    """Services that word the same refusal alike."""

    EC2 = auto()
    QUERY = auto()
    """iam, sts, sns, cloudwatch … and the rest-xml services other than S3."""
    JSON = auto()
    REST_JSON = auto()
    S3 = auto()


class Reason(Enum):
    """What was wrong. A reason says nothing about the wire."""

    MISSING = auto()
    """The request is not signed at all."""
    MALFORMED_HEADER = auto()
    MALFORMED_QUERY = auto()
    UNSUPPORTED = auto()
    """A signature of a kind that is not offered."""
    UNKNOWN_KEY = auto()
    INVALID_TOKEN = auto()
    EXPIRED_TOKEN = auto()
    WRONG_SCOPE = auto()
    """The credential scope names another date, region, service or terminator."""
    SKEWED = auto()
    """The request's clock and ours are too far apart."""
    EXPIRED = auto()
    """A presigned request came after its end."""
    NOT_YET_VALID = auto()
    UNSIGNED_HEADER = auto()
    """A header that must be signed is not."""
    MISMATCH = auto()
    WRONG_PAYLOAD = auto()
    """The body is not the one whose hash was signed."""
    MISSING_HASH = auto()
    """S3 wants the header x-amz-content-sha256."""
    INCOMPLETE_BODY = auto()
    """A chunked body is cut off, or not of the length that was declared."""


class Answer(NamedTuple):
    """A refusal on the wire; ``{detail}`` in the message stands for what the verifier found."""

    code: str
    status: int
    message: str


_MISMATCH = (
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key "
    "and signing method. Consult the service documentation for details."
)
_INVALID_TOKEN = "The security token included in the request is invalid."  # noqa: S105 - a message
_EXPIRED_TOKEN = "The security token included in the request is expired"  # noqa: S105 - a message
_NOT_VALIDATED = Answer("AuthFailure", 401, "AWS was not able to validate the provided access credentials")
_EC2_EXPIRED = Answer("RequestExpired", 400, "Request has expired.")


def _by_protocol(mismatch: str, malformed: str, status: int) -> dict[Reason, Answer]:
    """The reasons that the query and JSON services word alike, under their two codes."""
    told = Answer(mismatch, status, "{detail}")
    badly_formed = Answer(malformed, status, "{detail}")
    return {
        Reason.MALFORMED_HEADER: badly_formed,
        Reason.MALFORMED_QUERY: badly_formed,
        Reason.UNSUPPORTED: badly_formed,
        Reason.WRONG_SCOPE: told,
        Reason.SKEWED: told,
        Reason.EXPIRED: told,
        Reason.NOT_YET_VALID: told,
        Reason.UNSIGNED_HEADER: told,
        Reason.MISMATCH: Answer(mismatch, status, _MISMATCH),
        Reason.WRONG_PAYLOAD: Answer(mismatch, status, _MISMATCH),
        Reason.MISSING_HASH: badly_formed,
        Reason.INCOMPLETE_BODY: badly_formed,
    }


def _json(status: int) -> dict[Reason, Answer]:
    return _by_protocol("InvalidSignatureException", "IncompleteSignatureException", status) | {
        Reason.MISSING: Answer("MissingAuthenticationTokenException", status, "Missing Authentication Token"),
        Reason.UNKNOWN_KEY: Answer("UnrecognizedClientException", status, _INVALID_TOKEN),
        Reason.INVALID_TOKEN: Answer("UnrecognizedClientException", status, _INVALID_TOKEN),
        Reason.EXPIRED_TOKEN: Answer("ExpiredTokenException", status, _EXPIRED_TOKEN),
    }


ANSWERS: dict[Family, dict[Reason, Answer]] = {
    Family.EC2: _by_protocol("SignatureDoesNotMatch", "AuthFailure", 403)
    | {
        Reason.MISSING: Answer("MissingAuthenticationToken", 403, "Request is missing Authentication Token"),
        Reason.MALFORMED_HEADER: Answer(
            "AuthFailure", 401, "Authorization header or parameters are not formatted correctly."
        ),
        Reason.MALFORMED_QUERY: Answer(
            "AuthFailure", 401, "Authorization header or parameters are not formatted correctly."
        ),
        Reason.UNSUPPORTED: Answer("AuthFailure", 401, "{detail}"),
        Reason.UNKNOWN_KEY: _NOT_VALIDATED,
        Reason.INVALID_TOKEN: _NOT_VALIDATED,
        Reason.EXPIRED_TOKEN: _EC2_EXPIRED,
        Reason.WRONG_SCOPE: Answer("AuthFailure", 401, "{detail}"),
        Reason.SKEWED: _EC2_EXPIRED,
        Reason.EXPIRED: _EC2_EXPIRED,
        Reason.NOT_YET_VALID: _EC2_EXPIRED,
    },
    Family.QUERY: _by_protocol("SignatureDoesNotMatch", "IncompleteSignature", 403)
    | {
        Reason.MISSING: Answer("MissingAuthenticationToken", 403, "Request is missing Authentication Token"),
        Reason.UNKNOWN_KEY: Answer("InvalidClientTokenId", 403, _INVALID_TOKEN),
        Reason.INVALID_TOKEN: Answer("InvalidClientTokenId", 403, _INVALID_TOKEN),
        Reason.EXPIRED_TOKEN: Answer("ExpiredToken", 403, _EXPIRED_TOKEN),
    },
    Family.JSON: _json(400),
    Family.REST_JSON: _json(403),
    Family.S3: {
        Reason.MISSING: Answer("AccessDenied", 403, "Access Denied"),
        Reason.MALFORMED_HEADER: Answer(
            "AuthorizationHeaderMalformed", 400, "The authorization header is malformed; {detail}"
        ),
        Reason.MALFORMED_QUERY: Answer("AuthorizationQueryParametersError", 400, "{detail}"),
        Reason.UNSUPPORTED: Answer(
            "InvalidRequest",
            400,
            "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
        ),
        Reason.UNKNOWN_KEY: Answer(
            "InvalidAccessKeyId", 403, "The AWS Access Key Id you provided does not exist in our records."
        ),
        Reason.INVALID_TOKEN: Answer("InvalidToken", 400, "The provided token is malformed or otherwise invalid."),
        Reason.EXPIRED_TOKEN: Answer("ExpiredToken", 400, "The provided token has expired."),
        Reason.WRONG_SCOPE: Answer(
            "AuthorizationHeaderMalformed", 400, "The authorization header is malformed; {detail}"
        ),
        Reason.SKEWED: Answer(
            "RequestTimeTooSkewed", 403, "The difference between the request time and the current time is too large."
        ),
        Reason.EXPIRED: Answer("AccessDenied", 403, "Request has expired"),
        Reason.NOT_YET_VALID: Answer("AccessDenied", 403, "Request is not yet valid"),
        Reason.UNSIGNED_HEADER: Answer(
            "AccessDenied", 403, "There were headers present in the request which were not signed"
        ),
        Reason.MISMATCH: Answer(
            "SignatureDoesNotMatch",
            403,
            "The request signature we calculated does not match the signature you provided. Check your key and signing method.",
        ),
        Reason.WRONG_PAYLOAD: Answer(
            "XAmzContentSHA256Mismatch",
            400,
            "The provided 'x-amz-content-sha256' header does not match what was computed.",
        ),
        Reason.MISSING_HASH: Answer(
            "InvalidRequest", 400, "Missing required header for this request: x-amz-content-sha256"
        ),
        Reason.INCOMPLETE_BODY: Answer(
            "IncompleteBody",
            400,
            "You did not provide the number of bytes specified by the Content-Length HTTP header.",
        ),
    },
}
"""What each family answers for each reason; complete."""

_FAMILY_BY_PROTOCOL = {
    "ec2": Family.EC2,
    "query": Family.QUERY,
    "rest-xml": Family.QUERY,
    "rest-json": Family.REST_JSON,
}


def family_of(service: str, protocol: str) -> Family:
    """The family of a service, by its botocore name and its protocol."""
    return Family.S3 if service.startswith("s3") else _FAMILY_BY_PROTOCOL.get(protocol, Family.JSON)


class SignatureRefused(ServiceError):
    """The request is not authentic. Raised where the fact is found, before it is known which service will say so.

    Attributes:
        reason: what was wrong. detail: what was found, safe to tell the client.
    """

    def __init__(self, reason: Reason, detail: str = "", family: Family = Family.JSON) -> None:
        answer = ANSWERS[family][reason]
        super().__init__(answer.message.format(detail=detail), code=answer.code, status=answer.status)
        self.reason = reason
        self.detail = detail

    def told_by(self, family: Family) -> "SignatureRefused":
        """The same refusal in a family's words."""
        return SignatureRefused(self.reason, self.detail, family)
