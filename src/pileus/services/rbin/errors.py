"""The errors of Recycle Bin, as its model declares them: a class each, and a reason."""

from pileus.base.errors import ServiceError


class ValidationException(ServiceError):
    """A parameter that can't be."""

    code = "ValidationException"

    def __init__(self, message: str) -> None:
        super().__init__(message, fields={"Message": message, "Reason": "INVALID_PARAMETER_VALUE"})


class ResourceNotFoundException(ServiceError):
    """There is no such rule."""

    code = "ResourceNotFoundException"
    status = 404

    def __init__(self, message: str) -> None:
        super().__init__(message, fields={"Message": message, "Reason": "RULE_NOT_FOUND"})


class ConflictException(ServiceError):
    """The rule is locked, or is not."""

    code = "ConflictException"
    status = 409

    def __init__(self, message: str) -> None:
        super().__init__(message, fields={"Message": message, "Reason": "INVALID_RULE_STATE"})


class ServiceQuotaExceededException(ServiceError):
    """The account has as many rules as it may have."""

    code = "ServiceQuotaExceededException"
    status = 402

    def __init__(self, message: str) -> None:
        super().__init__(message, fields={"Message": message, "Reason": "SERVICE_QUOTA_EXCEEDED"})
