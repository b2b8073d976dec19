"""The registry that SSM's modules declare their operations in."""

from pileus.operations.registry import Service

ssm = Service("ssm")
