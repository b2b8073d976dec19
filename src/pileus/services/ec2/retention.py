"""The recycle bin: what is deleted stays restorable for as long as a retention rule says.

The rules are made by the ``rbin`` service; see https://docs.aws.amazon.com/ebs/latest/userguide/recycle-bin.html.
"""

from datetime import timedelta
from typing import TypeVar

from msgspec.structs import replace

from pileus.operations.context import Context
from pileus.records import Image, RetentionRule, Snapshot

B = TypeVar("B", Snapshot, Image)

_TYPES = {Snapshot: "EBS_SNAPSHOT", Image: "EC2_IMAGE"}


def into_bin(context: Context, record: B) -> B | None:
    """The record as it lies in the recycle bin; None where no rule keeps it: it is to be deleted for good.

    Of several rules that match, those that name tags come first, and of these the longest.
    """
    rules = context.view.list(RetentionRule, account=record.account, region=record.region)
    matching = [rule for rule in rules if rule.resource_type == _TYPES[type(record)] and rule.matches(record.tags)]
    if not matching:
        return None
    best = max(matching, key=lambda rule: (bool(rule.resource_tags), rule.days))
    return replace(record, binned=context.now, bin_until=context.now + timedelta(days=best.days))
