"""What is wrong with a request before any service has seen it. One class per code family of AWS's protocols."""

from pileus.base.errors import ServiceError

_LONGEST = 200
_MOST = 50  # a list of many items may break a limit with each of them


class MalformedQueryString(ServiceError):
    """ec2, query: the form can't be read at all (not UTF-8, contradictory keys)."""

    code = "MalformedQueryString"


class MissingParameter(ServiceError):
    """ec2: a required parameter is absent."""

    code = "MissingParameter"

    def __init__(self, name: str) -> None:
        super().__init__(f"The request must contain the parameter {name}")


class UnknownParameter(ServiceError):
    """ec2: a parameter that the operation doesn't have."""

    code = "UnknownParameter"

    def __init__(self, name: str) -> None:
        super().__init__(f"The parameter {name[:_LONGEST]} is not recognized")


class InvalidParameterValue(ServiceError):
    """ec2: text that is no value of the parameter's type."""

    code = "InvalidParameterValue"

    def __init__(self, name: str, value: str, expected: str) -> None:
        super().__init__(f"Invalid value '{value[:_LONGEST]}' for {name}. Must be {expected}.")


class MalformedInput(ServiceError):
    """query: text that is no value of the parameter's type."""

    code = "MalformedInput"


class SerializationException(ServiceError):
    """json, rest-json, cbor: a body that can't be read, or a value of another type than the model's."""

    code = "SerializationException"


class NestedTooDeeply(SerializationException):
    """A body whose structures contain one another more often than can be followed."""

    def __init__(self) -> None:
        super().__init__("The request is nested too deeply")


class ConstraintViolation(ServiceError):
    """query, json, rest-json, cbor: values outside the limits of the model, told in one message."""

    def __init__(self, code: str, violations: list[str]) -> None:
        count = len(violations)
        noun = "error" if count == 1 else "errors"
        super().__init__(f"{count} validation {noun} detected: {'; '.join(violations[:_MOST])}", code=code)


class MalformedXML(ServiceError):
    """rest-xml: a body that is no XML, or not of the model's form."""

    code = "MalformedXML"


class InvalidArgument(ServiceError):
    """rest-xml: a header or query parameter that is no value of its type."""

    code = "InvalidArgument"


class UnknownOperation(ServiceError):
    """No such operation; the code and the status are the protocol's."""
