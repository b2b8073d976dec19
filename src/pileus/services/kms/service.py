"""The registry that KMS's modules declare their operations in."""

from pileus.operations.registry import Service

kms = Service("kms", dry_runs=False)
