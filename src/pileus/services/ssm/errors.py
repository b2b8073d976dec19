"""SSM's errors, as its model declares them."""

from pileus.base.errors import ServiceError


class ParameterNotFound(ServiceError):
    """There is no parameter of this name."""

    code = "ParameterNotFound"


class ParameterVersionNotFound(ServiceError):
    """The parameter has no such version or label."""

    code = "ParameterVersionNotFound"


class ValidationException(ServiceError):
    """A name or path that no parameter can have."""

    code = "ValidationException"


class InvalidFilterKey(ServiceError):
    """A key that parameters can't be filtered by here."""

    code = "InvalidFilterKey"


class InvalidFilterOption(ServiceError):
    """A comparison that the filter does not have."""

    code = "InvalidFilterOption"


class InvalidFilterValue(ServiceError):
    """A filter without values."""

    code = "InvalidFilterValue"


class InvalidNextToken(ServiceError):
    """The token is not one of ours, or was given for other parameters."""

    code = "InvalidNextToken"
