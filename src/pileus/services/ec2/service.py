"""The registry that EC2's modules declare their operations in."""

from pileus.operations.registry import Service

ec2 = Service("ec2")
