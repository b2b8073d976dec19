"""The registry that the modules declare their operations in."""

from pileus.operations.registry import Service

ebs = Service("ebs")
"""By botocore's name."""
