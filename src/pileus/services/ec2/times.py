"""Moments as text, for the answers and filters that EC2 declares as strings."""

from datetime import datetime


def iso(moment: datetime) -> str:
    """ISO 8601 in UTC with milliseconds, e.g. ``2026-11-23T17:04:05.000Z``."""
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"
