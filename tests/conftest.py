"""Fixtures that tests of every directory may use."""

from postgresql import database_url, postgresql

__all__ = ["database_url", "postgresql"]
