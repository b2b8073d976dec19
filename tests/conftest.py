"""Fixtures that tests of every directory may use."""

from hypothesis import HealthCheck, settings

from postgresql import database_url, postgresql

__all__ = ["database_url", "postgresql"]

# Two busy cores: how long an example takes says nothing of the code.
settings.register_profile("pileus", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("pileus")
