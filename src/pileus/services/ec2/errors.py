"""EC2's errors, one class per family of codes.

See https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html.
"""

from pileus.base.errors import ServiceError


class InvalidParameterValue(ServiceError):
    """A parameter's value is not one that EC2 takes; the message names the parameter."""

    code = "InvalidParameterValue"


class InvalidParameterCombination(ServiceError):
    """Parameters that exclude one another."""

    code = "InvalidParameterCombination"


class InvalidParameter(ServiceError):
    """A parameter that does not go with the resource."""

    code = "InvalidParameter"


class InvalidBlockDeviceMapping(ServiceError):
    """A mapping that the image, the instance or the volume type does not allow."""

    code = "InvalidBlockDeviceMapping"


class MissingParameter(ServiceError):
    """A parameter that is needed is not there."""

    code = "MissingParameter"

    def __init__(self, name: str) -> None:
        super().__init__(f"The request must contain the parameter {name}")


class NotFound(ServiceError):
    """A resource that is not there, or is not the caller's. The code is the resource's own."""


class MalformedId(ServiceError):
    """Something that is no id of the resource. The code is the resource's own."""


class Duplicate(ServiceError):
    """A name that is taken. The code is the resource's own."""


class DependencyViolation(ServiceError):
    """Something still uses the resource."""

    code = "DependencyViolation"


class NotAuthorized(ServiceError):
    """The resource is visible to the caller, but is another account's."""

    code = "AuthFailure"


class OperationNotPermitted(ServiceError):
    """A protection is on, or the resource is of a kind that does not allow it."""

    code = "OperationNotPermitted"


class IncorrectState(ServiceError):
    """A volume, snapshot or other resource is in a state in which this can't be done."""

    code = "IncorrectState"


class IncorrectInstanceState(ServiceError):
    """The instance is in a state in which this can't be done."""

    code = "IncorrectInstanceState"


class LimitExceeded(ServiceError):
    """A quota is reached. The code is the resource's own."""


class InsufficientInstanceCapacity(ServiceError):
    """No host has room."""

    code = "InsufficientInstanceCapacity"
    status = 500


class InsufficientFreeAddressesInSubnet(ServiceError):
    """The subnet has no free address."""

    code = "InsufficientFreeAddressesInSubnet"


class InsufficientAddressCapacity(ServiceError):
    """The pool of public addresses is empty."""

    code = "InsufficientAddressCapacity"
    status = 503


class UnsupportedOperation(ServiceError):
    """Not with this resource."""

    code = "UnsupportedOperation"


class Unsupported(ServiceError):
    """A combination that the platform does not have."""

    code = "Unsupported"
