"""The base of records that carry tags."""

from collections.abc import Mapping

import msgspec

from pileus.base.record import Record


class Tagged(Record, frozen=True, kw_only=True):
    """``tags`` in the order in which they were set."""

    tags: Mapping[str, str] = msgspec.field(default_factory=dict[str, str])
