"""The registry that S3's modules declare their operations in."""

from collections.abc import Mapping
from typing import Any

from pileus.operations.registry import Service

Params = Mapping[str, Any]
"""A request's parameters in botocore's shapes."""

s3 = Service("s3", public=True)


def part(document: Params, name: str) -> Params:
    """A structure within a document; empty where it is not given."""
    value = document.get(name)
    return value if value else {}
