"""The registry that the modules declare their operations in."""

from pileus.operations.registry import Service

rbin = Service("rbin")
"""By botocore's name."""
