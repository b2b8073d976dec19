"""What an account allows of the sharing of its images and snapshots, and which images it lets be used, by region."""

from typing import Any, ClassVar, Literal

from pileus.base.record import Record


def sharing_id(account: str, region: str) -> str:
    """The id of an account's record for a region."""
    return f"sharing/{account}/{region}"


class Sharing(Record, frozen=True, kw_only=True):
    """An account without this record allows everything.

    ``snapshots`` and ``images`` are the states of block public access. ``allowed_images`` is whether the images that match
    none of ``criteria`` (in the API's shape) are hidden and refused, or only told so.
    """

    kind: ClassVar[str] = "sharing"

    snapshots: Literal["unblocked", "block-new-sharing", "block-all-sharing"] = "unblocked"
    images: Literal["unblocked", "block-new-sharing"] = "unblocked"
    allowed_images: Literal["disabled", "enabled", "audit-mode"] = "disabled"
    criteria: tuple[dict[str, Any], ...] = ()
