"""Which groups of local and wavelength zones an account has opted in to."""

from typing import ClassVar

from pileus.base.record import Record


class ZoneGroupOptIn(Record, frozen=True, kw_only=True):
    """An account's opt-in to a zone group (``group``, e.g. ``us-west-2-lax-1``) of a region."""

    kind: ClassVar[str] = "zone-group-opt-in"

    group: str
