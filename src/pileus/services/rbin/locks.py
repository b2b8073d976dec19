"""Locks of rules: a locked rule can't be changed or deleted until some days after it was unlocked."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from msgspec.structs import replace

from pileus.operations.context import Context
from pileus.services.rbin.errors import ConflictException, ValidationException
from pileus.services.rbin.rules import check_unlocked, delay_of, draw_rule, find_rule, lock_state
from pileus.services.rbin.service import rbin


@rbin.writes("LockRule")
def lock_rule(context: Context, params: Mapping[str, Any]) -> dict[str, Any]:
    """Locks a rule for all resources of its type."""
    rule = find_rule(context, params["Identifier"])
    check_unlocked(context, rule)
    if rule.resource_tags or rule.excluded_tags:
        raise ValidationException("Only a rule for all resources can be locked.")
    locked = replace(rule, unlock_delay=delay_of(params["LockConfiguration"]), unlocks=None)
    drawn = draw_rule(context, context.tx.put(locked))
    del drawn["LockEndTime"]
    return drawn


@rbin.writes("UnlockRule")
def unlock_rule(context: Context, params: Mapping[str, Any]) -> dict[str, Any]:
    """Unlocks a rule; it stays locked for its delay."""
    rule = find_rule(context, params["Identifier"])
    if lock_state(context, rule) != "locked" or rule.unlock_delay is None:
        raise ConflictException(f"The rule {rule.id} is not locked.")
    ends = context.now + timedelta(days=rule.unlock_delay)
    return draw_rule(context, context.tx.put(replace(rule, unlocks=ends)))
