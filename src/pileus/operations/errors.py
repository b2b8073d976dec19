"""Errors that any operation may give."""

from pileus.base.errors import ServiceError


class DryRunOperation(ServiceError):
    """The answer to a dry run that would have been allowed."""

    code = "DryRunOperation"
    status = 412


class OperationNotAvailable(ServiceError):
    """The service's model knows the operation; this cloud does not have it yet."""

    code = "UnsupportedOperation"


class IdempotentParameterMismatch(ServiceError):
    """The client token was used before with other parameters."""

    code = "IdempotentParameterMismatch"
