"""The registry that STS's modules declare their operations in."""

from pileus.operations.registry import Service

sts = Service("sts")
