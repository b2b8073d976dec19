"""Which groups of local and wavelength zones an account has opted in to."""

from typing import ClassVar

from pileus.base.record import Record


class ZoneGroupOptIn(Record, frozen=True, kw_only=True):
    """An account's opt-in to a zone group (``group``, e.g. ``us-west-2-lax-1``) of a region."""

    kind: ClassVar[str] = "zone-group-opt-in"

    group: str


def opt_in_id(account: str, group: str) -> str:
    """The id of an account's opt-in to a group; group names begin with their region's, so they are unique."""
    return f"{account}/{group}"
