"""The exceptions that a service's model knows, found by the code that the service raised."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import msgspec

from pileus.aws.models import ServiceModel, Shape


class Fault(msgspec.Struct, frozen=True):
    """An error answer before it takes a protocol's form.

    Attributes:
        code: as the query protocols name it. name: the shape's name, which the others use; the code where none is modelled.
        members: of the modelled shape, the message among them; just ``message`` where none is modelled.
        shape: the modelled exception, if it is one.
    """

    code: str
    name: str
    message: str
    status: int
    members: Mapping[str, Any]
    shape: Shape | None

    @property
    def type(self) -> str:
        """Whose fault it is: ``Sender`` or ``Receiver``."""
        return "Sender" if self.status < 500 else "Receiver"


class Faults:
    """Finds the modelled exception for a code."""

    def __init__(self, model: ServiceModel) -> None:
        self._model = model

    @cached_property
    def _shapes(self) -> dict[str, Shape]:
        """By the shape's name, and by the code of the query protocols where that differs."""
        refs = {ref.shape: ref for operation in self._model.operations() for ref in operation.errors}
        shapes = {name: self._model.shape(ref) for name, ref in refs.items()}
        by_code = {shape.error.code: shape for shape in shapes.values() if shape.error and shape.error.code}
        return by_code | shapes

    def find(self, code: str, message: str, status: int, fields: Mapping[str, Any]) -> Fault:
        """The fault for a code, which may be the shape's name or its code in the query protocols."""
        shape = self._shapes.get(code)
        if shape is None:
            return Fault(code, code, message, status, {"message": message, **fields}, None)
        wire_code = (shape.error.code if shape.error else None) or shape.shape
        own_name = next((name for name in shape.members if name.lower() == "message"), None)
        members = {own_name: message, **fields} if own_name else fields
        return Fault(wire_code, shape.shape, message, status, members, shape)
