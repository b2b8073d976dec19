"""Attributes by name, as the Describe…Attribute operations take them."""

from collections.abc import Mapping
from typing import TypeVar

from pileus.services.ec2.errors import InvalidParameterValue

T = TypeVar("T")


def attribute(values: Mapping[str, T], name: str) -> T:
    """The value under an attribute's name. Raises InvalidParameterValue for a name that the resource does not have."""
    if name not in values:
        raise InvalidParameterValue(f"Value ({name}) for parameter attribute is invalid. Unknown attribute.")
    return values[name]
