"""Errors that any operation may give."""

from pileus.base.errors import ServiceError


class DryRunOperation(ServiceError):
    """The answer to a dry run that would have been allowed."""

    code = "DryRunOperation"
    status = 412


class OperationNotAvailable(ServiceError):
    """The service's model knows the operation; this cloud does not have it yet."""

    code = "UnsupportedOperation"


class InvalidClientToken(ServiceError):
    """The client token is longer than 64 characters, or not ASCII."""

    code = "InvalidClientToken"


class IdempotentParameterMismatch(ServiceError):
    """The client token was used before with other parameters."""

    code = "IdempotentParameterMismatch"
