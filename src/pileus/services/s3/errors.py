"""S3's errors, and what the object store's errors are in its words.

Source: Amazon S3 API reference, "Error responses".
"""

import logging
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from datetime import datetime
from email.utils import format_datetime

from pileus.base.errors import ServiceError
from pileus.engines.objects import errors as engine
from pileus.engines.objects.errors import Damaged, ObjectsError
from pileus.engines.objects.keys import MAX_KEY
from pileus.operations.keys import KmsError

_log = logging.getLogger(__name__)


class S3Error(ServiceError):
    """An error of S3 by its code; the class knows the statuses and the usual words."""

    def __init__(
        self,
        code: str,
        message: str | None = None,
        *,
        status: int | None = None,
        fields: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        usual_status, words = _ERRORS.get(code, (400, code))
        super().__init__(
            words if message is None else message,
            code=code,
            status=status or usual_status,
            fields=fields,
            headers=headers,
        )


_ERRORS: Mapping[str, tuple[int, str]] = {
    "AccessControlListNotSupported": (400, "The bucket does not allow ACLs"),
    "AccessDenied": (403, "Access Denied"),
    "AuthorizationHeaderMalformed": (400, "The authorization header is malformed"),
    "BadDigest": (400, "The Content-MD5 you specified did not match what we received."),
    "BadRequest": (400, "Bad Request"),
    "BucketAlreadyExists": (
        409,
        "The requested bucket name is not available. The bucket namespace is shared by all users of the system. "
        "Please select a different name and try again.",
    ),
    "BucketAlreadyOwnedByYou": (
        409,
        "Your previous request to create the named bucket succeeded and you already own it.",
    ),
    "BucketNotEmpty": (409, "The bucket you tried to delete is not empty"),
    "EntityTooLarge": (400, "Your proposed upload exceeds the maximum allowed size"),
    "EntityTooSmall": (400, "Your proposed upload is smaller than the minimum allowed size"),
    "IllegalLocationConstraintException": (
        400,
        "The unspecified location constraint is incompatible for the region specific endpoint this request was sent to.",
    ),
    "IllegalVersioningConfigurationException": (
        400,
        "The Versioning element must be specified",
    ),
    "IncompleteBody": (400, "You did not provide the number of bytes specified by the Content-Length HTTP header"),
    "InternalError": (500, "We encountered an internal error. Please try again."),
    "InvalidArgument": (400, "Invalid Argument"),
    "InvalidBucketName": (400, "The specified bucket is not valid."),
    "InvalidBucketState": (
        409,
        "An Object Lock configuration is present on this bucket, so the versioning state cannot be changed.",
    ),
    "InvalidDigest": (400, "The Content-MD5 you specified was invalid."),
    "InvalidEncryptionAlgorithmError": (400, "The encryption method specified is not supported"),
    "InvalidLocationConstraint": (400, "The specified location-constraint is not valid"),
    "InvalidPart": (
        400,
        "One or more of the specified parts could not be found.  The part may not have been uploaded, or the specified "
        "entity tag may not match the part's entity tag.",
    ),
    "InvalidPartNumber": (416, "The requested partnumber is not satisfiable"),
    "InvalidPartOrder": (400, "The list of parts was not in ascending order. Parts must be ordered by part number."),
    "InvalidRange": (416, "The requested range is not satisfiable"),
    "InvalidRequest": (400, "Invalid Request"),
    "InvalidStorageClass": (400, "The storage class you specified is not valid"),
    "InvalidTag": (400, "The tag provided was not a valid tag."),
    "InvalidURI": (400, "Couldn't parse the specified URI."),
    "KeyTooLongError": (400, "Your key is too long"),
    "MalformedACLError": (
        400,
        "The XML you provided was not well-formed or did not validate against our published schema",
    ),
    "MalformedPolicy": (400, "Policy has invalid syntax"),
    "MalformedXML": (400, "The XML you provided was not well-formed or did not validate against our published schema"),
    "MetadataTooLarge": (400, "Your metadata headers exceed the maximum allowed metadata size."),
    "MethodNotAllowed": (405, "The specified method is not allowed against this resource."),
    "MissingRequestBodyError": (400, "Request Body is empty"),
    "NoSuchBucket": (404, "The specified bucket does not exist"),
    "NoSuchBucketPolicy": (404, "The bucket policy does not exist"),
    "NoSuchCORSConfiguration": (404, "The CORS configuration does not exist"),
    "NoSuchKey": (404, "The specified key does not exist."),
    "NoSuchLifecycleConfiguration": (404, "The lifecycle configuration does not exist"),
    "NoSuchObjectLockConfiguration": (404, "The specified object does not have a ObjectLock configuration"),
    "NoSuchPublicAccessBlockConfiguration": (404, "The public access block configuration was not found"),
    "NoSuchTagSet": (404, "The TagSet does not exist"),
    "NoSuchUpload": (
        404,
        "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.",
    ),
    "NoSuchVersion": (404, "The specified version does not exist."),
    "NoSuchWebsiteConfiguration": (404, "The specified bucket does not have a website configuration"),
    "NotImplemented": (501, "A header you provided implies functionality that is not implemented"),
    "NotModified": (304, "Not Modified"),
    "ObjectLockConfigurationNotFoundError": (404, "Object Lock configuration does not exist for this bucket"),
    "OwnershipControlsNotFoundError": (404, "The bucket ownership controls were not found"),
    "PermanentRedirect": (
        301,
        "The bucket you are attempting to access must be addressed using the specified endpoint. "
        "Please send all future requests to this endpoint.",
    ),
    "PreconditionFailed": (412, "At least one of the pre-conditions you specified did not hold"),
    "ReplicationConfigurationNotFoundError": (404, "The replication configuration was not found"),
    "ServerSideEncryptionConfigurationNotFoundError": (404, "The server side encryption configuration was not found"),
    "SlowDown": (503, "Please reduce your request rate."),
    "ServiceUnavailable": (503, "Service is unable to handle request."),
    "TooManyBuckets": (400, "You have attempted to create more buckets than allowed"),
    "UnresolvableGrantByEmailAddress": (
        400,
        "The e-mail address you provided does not match any account on record.",
    ),
}
"""Status and message by code."""


def denied(message: str | None = None) -> S3Error:
    """The caller may not."""
    return S3Error("AccessDenied", message)


def not_implemented(what: str) -> S3Error:
    """What would have no effect here is refused, not stored."""
    return S3Error("NotImplemented", f"{what} is not available in this cloud.")


def malformed(message: str | None = None) -> S3Error:
    """A document that is not of its form."""
    return S3Error("MalformedXML", message)


@contextmanager
def told(name: str = "") -> Generator[None]:
    """Turns what the object store, or KMS for it, finds wrong into S3's errors.

    ``name`` is the ``bucket/key`` that is read, for the log: whoever looks after the cloud must learn which one is damaged.
    """
    try:
        yield
    except Damaged as error:
        _log.error("a damaged object", extra={"object": name, "blob": error.blob, "reason": error.reason})
        raise translated(error) from error
    except ObjectsError as error:
        raise translated(error) from error
    except KmsError as error:
        raise S3Error(f"KMS.{error.code}", error.message or error.code) from error


def _date(time: datetime) -> str:
    return format_datetime(time, usegmt=True)


def translated(error: ObjectsError) -> ServiceError:  # noqa: C901, PLR0911, PLR0912 - a table, a case a line
    """The S3 error for an error of the object store."""
    match error:
        case engine.NoSuchBucket():
            return S3Error("NoSuchBucket", fields={"BucketName": error.bucket})
        case engine.BucketNotEmpty():
            return S3Error("BucketNotEmpty", fields={"BucketName": error.bucket})
        case engine.VersioningRefused():
            return S3Error("InvalidBucketState")
        case engine.LockNotEnabled():
            return S3Error("InvalidRequest", "Bucket is missing Object Lock Configuration")
        case engine.InvalidKey():
            size = len(error.key.encode(errors="replace"))
            if size <= MAX_KEY:
                return S3Error("InvalidURI")
            return S3Error("KeyTooLongError", fields={"Size": size, "MaxSizeAllowed": MAX_KEY})
        case engine.NoSuchKey():
            headers = {}
            if error.delete_marker is not None:
                headers = {"x-amz-delete-marker": "true", "x-amz-version-id": error.delete_marker}
            return S3Error("NoSuchKey", fields={"Key": error.key}, headers=headers)
        case engine.NoSuchVersion():
            return S3Error("NoSuchVersion", fields={"Key": error.key, "VersionId": error.version_id})
        case engine.IsDeleteMarker():
            headers = {
                "x-amz-delete-marker": "true",
                "x-amz-version-id": error.version_id,
                "allow": "DELETE",
                "last-modified": _date(error.modified),
            }
            fields = {"Method": "GET", "ResourceType": "DeleteMarker"}
            return S3Error("MethodNotAllowed", fields=fields, headers=headers)
        case engine.PreconditionFailed():
            return S3Error("PreconditionFailed", fields={"Condition": error.condition})
        case engine.ObjectLocked():
            return denied("Access Denied because object protected by object lock.")
        case engine.DigestMismatch():
            if error.algorithm == "MD5":
                fields = {"ExpectedDigest": error.expected, "CalculatedDigest": error.calculated}
                return S3Error("BadDigest", fields=fields)
            return S3Error("BadDigest", f"The {error.algorithm} you specified did not match the calculated checksum.")
        case engine.LengthMismatch():
            return S3Error("IncompleteBody")
        case engine.TooLarge():
            fields = {"ProposedSize": error.size, "MaxSizeAllowed": error.limit}
            return S3Error("EntityTooLarge", fields=fields)
        case engine.NoSuchUpload():
            return S3Error("NoSuchUpload", fields={"UploadId": error.upload_id})
        case engine.InvalidPart():
            fields = {"UploadId": error.upload_id, "PartNumber": error.number, "ETag": error.etag}
            return S3Error("InvalidPart", fields=fields)
        case engine.InvalidPartOrder():
            return S3Error("InvalidPartOrder")
        case engine.PartTooSmall():
            fields = {"ProposedSize": error.size, "MinSizeAllowed": error.minimum, "PartNumber": error.number}
            return S3Error("EntityTooSmall", fields=fields)
        case engine.ChecksumRequired():
            return S3Error(
                "InvalidRequest",
                f"The upload was created using a {error.algorithm.lower()} checksum. The complete request must include "
                f"the checksum for each part. It was missing for part {error.number} in the request.",
            )
        case engine.ChecksumTypeMismatch():
            return S3Error(
                "InvalidRequest",
                f"Checksum Type mismatch occurred, expected checksum Type: {error.expected.lower() or 'null'}, "
                f"actual checksum Type: {error.actual.lower()}",
            )
        case engine.Damaged():
            return S3Error("InternalError")
        case engine.InvalidRange():
            fields = {"RangeRequested": f"bytes={error.first}-{error.last}", "ActualObjectSize": error.size}
            return S3Error("InvalidRange", fields=fields)
        case engine.WrongKey():
            return S3Error(
                "InvalidRequest", "The provided encryption parameters did not match the ones used originally."
            )
        case engine.StorageFull():
            return S3Error("SlowDown", "There is no room left to store this.", status=507)
        case engine.BlobsUnavailable():
            return S3Error("ServiceUnavailable")
        case _:
            raise error
