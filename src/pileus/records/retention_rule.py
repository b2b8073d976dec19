"""Retention rules of the recycle bin."""

from collections.abc import Mapping
from datetime import datetime
from typing import ClassVar, Literal

from pileus.records.tagged import Tagged


class RetentionRule(Tagged, frozen=True, kw_only=True):
    """Keeps deleted resources of one type for ``days``.

    ``resource_tags`` are (key, value) pairs one of which a resource must have, value None: any; none at all: it keeps all
    but those that have one of ``excluded_tags``.
    """

    kind: ClassVar[str] = "retention-rule"

    resource_type: Literal["EBS_SNAPSHOT", "EC2_IMAGE"]
    days: int
    created: datetime
    description: str = ""
    resource_tags: tuple[tuple[str, str | None], ...] = ()
    excluded_tags: tuple[tuple[str, str | None], ...] = ()
    unlock_delay: int | None = None
    unlocks: datetime | None = None

    def matches(self, tags: Mapping[str, str]) -> bool:
        """Whether a resource with these tags is kept."""
        if self.resource_tags:
            return _any(self.resource_tags, tags)
        return not _any(self.excluded_tags, tags)


def _any(wanted: tuple[tuple[str, str | None], ...], tags: Mapping[str, str]) -> bool:
    return any(key in tags and value in (None, tags[key]) for key, value in wanted)
