"""AWS Security Token Service. Importing the package declares all of its operations."""

from pileus.services.sts import identity
from pileus.services.sts.service import sts

__all__ = ["identity", "sts"]
