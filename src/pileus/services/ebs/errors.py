"""The errors of the EBS direct APIs, as their model declares them: a class each, and a reason."""

from pileus.base.errors import ServiceError


class _WithReason(ServiceError):
    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message[:256], fields={"Reason": reason})


class ValidationException(_WithReason):
    """A parameter that can't be, or a state that forbids the call."""

    code = "ValidationException"


class ResourceNotFoundException(_WithReason):
    """There is no such snapshot (for the caller), or no such key."""

    code = "ResourceNotFoundException"
    status = 404


class AccessDeniedException(_WithReason):
    """The snapshot is another account's, or its key is not for the caller."""

    code = "AccessDeniedException"
    status = 403


class ConcurrentLimitExceededException(ServiceError):
    """Too many snapshots are being written."""

    code = "ConcurrentLimitExceededException"


class ConflictException(ServiceError):
    """The client token came before, with other parameters."""

    code = "ConflictException"
    status = 409


class InternalServerException(ServiceError):
    """It is our fault: the block store does not answer, or a block is damaged."""

    code = "InternalServerException"
    status = 500


def invalid(message: str) -> ValidationException:
    """A parameter's value that can't be."""
    return ValidationException(message, "INVALID_PARAMETER_VALUE")
