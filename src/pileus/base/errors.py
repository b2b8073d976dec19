"""Errors that a client sees. Raised where the fact is known; turned into the wire form in one place, the gateway.

A family of AWS error codes is a class; services add theirs as subclasses in ``services/<name>/errors.py``.
"""

from collections.abc import Mapping


class ServiceError(Exception):
    """An answer other than success, with AWS's code, message and HTTP status.

    Attributes:
        code: AWS's error code, e.g. ``InvalidInstanceID.NotFound``.
        message: what the client reads; names the parameter at fault.
        status: the HTTP status.
        fields: further members of the modelled error shape, where it has some.
        headers: further headers of the answer.
    """

    status: int = 400
    code: str = "ValidationError"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        status: int | None = None,
        fields: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = type(self).code if code is None else code
        self.status = type(self).status if status is None else status
        self.fields: Mapping[str, object] = fields or {}
        self.headers: Mapping[str, str] = headers or {}

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"
