"""KMS's errors, as its model declares them. Those of keys themselves are in ``pileus.operations.keys``."""

from pileus.base.errors import ServiceError


class ValidationException(ServiceError):
    """Parameters that KMS does not take."""

    code = "ValidationException"


class UnsupportedOperationException(ServiceError):
    """The key is of a kind that does not have the operation, or this cloud does not have the feature."""

    code = "UnsupportedOperationException"


class AlreadyExistsException(ServiceError):
    """The alias is taken."""

    code = "AlreadyExistsException"


class InvalidAliasNameException(ServiceError):
    """No name for an alias."""

    code = "InvalidAliasNameException"


class NotAuthorizedException(ServiceError):
    """Names that begin with ``alias/aws/`` are not for customers."""

    code = "NotAuthorizedException"


class LimitExceededException(ServiceError):
    """A quota is reached."""

    code = "LimitExceededException"


class InvalidMarkerException(ServiceError):
    """The marker is not one of ours, or was given for other parameters."""

    code = "InvalidMarkerException"


class IncorrectKeyException(ServiceError):
    """The ciphertext was encrypted under another key than the named one."""

    code = "IncorrectKeyException"

    def __init__(self) -> None:
        super().__init__("The key ID in the request does not identify a CMK that can perform this operation.")


class KMSInvalidSignatureException(ServiceError):
    """The signature is not one of this message by this key."""

    code = "KMSInvalidSignatureException"

    def __init__(self) -> None:
        super().__init__("")


class KMSInvalidMacException(ServiceError):
    """The MAC is not one of this message by this key."""

    code = "KMSInvalidMacException"

    def __init__(self) -> None:
        super().__init__("")


class DryRunOperationException(ServiceError):
    """The answer to a dry run that would have been allowed."""

    code = "DryRunOperationException"
    status = 412


class MalformedPolicyDocumentException(ServiceError):
    """No policy, or one that would shut everybody out."""

    code = "MalformedPolicyDocumentException"


class TagException(ServiceError):
    """A tag that KMS does not take."""

    code = "TagException"


class InvalidArnException(ServiceError):
    """No ARN of a principal."""

    code = "InvalidArnException"


class InvalidGrantIdException(ServiceError):
    """No id of a grant."""

    code = "InvalidGrantIdException"


class InvalidImportTokenException(ServiceError):
    """The import token is not one for this key."""

    code = "InvalidImportTokenException"


class ExpiredImportTokenException(ServiceError):
    """The import token is older than a day."""

    code = "ExpiredImportTokenException"


class IncorrectKeyMaterialException(ServiceError):
    """What is imported is not the material that the key had."""

    code = "IncorrectKeyMaterialException"
