"""AWS Systems Manager: the public parameters that name AMIs. Importing the package declares all of its operations."""

from pileus.services.ssm import parameters
from pileus.services.ssm.parameters import resolve_parameter
from pileus.services.ssm.service import ssm

__all__ = ["parameters", "resolve_parameter", "ssm"]
