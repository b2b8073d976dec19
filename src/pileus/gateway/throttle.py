"""Request throttling by token buckets per account, region and action, as EC2 documents it. Off unless ``cmd`` gives one.

Every request takes one token of its action's bucket; launches, starts, stops and terminations also take one for each
instance. Nothing is taken when anything is lacking.
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from pileus.base.clock import Clock
from pileus.base.errors import ServiceError
from pileus.gateway import limits
from pileus.gateway.limits import Limits, Rate
from pileus.operations.call import Call

CONSOLE = "app/pileus-console"
"""The application id in the user agent of the console's SDK. It only chooses between two buckets of the same size."""
_READING = ("Describe", "List", "Search", "Get")
_NARROWING = ("Filters", "MaxResults", "NextToken")
_Key = tuple[str, str, str, str]


class RequestLimitExceeded(ServiceError):
    """The bucket is empty; SDKs wait and try again."""

    code = "RequestLimitExceeded"
    status = 503

    def __init__(self) -> None:
        super().__init__("Request limit exceeded.")


class _Bucket:
    """Tokens that flow in steadily, counted when somebody looks."""

    __slots__ = ("at", "tokens")

    def __init__(self, tokens: float, at: float) -> None:
        self.tokens = tokens
        self.at = at


class Throttle:
    """The buckets of one process. Memory is bounded: the bucket unused for longest is forgotten first, which refills it."""

    def __init__(self, clock: Clock, table: Limits = limits.EC2, *, kept: int = 50_000) -> None:
        self._clock = clock
        self._table = table
        self._kept = kept
        self._buckets: OrderedDict[_Key, _Bucket] = OrderedDict()

    def admit(self, call: Call) -> None:
        """Takes the call's tokens. Calls to services other than EC2 are free.

        Raises:
            RequestLimitExceeded: there are not enough; then none is taken.
        """
        if call.service != "ec2":
            return
        kind, rate = self._category(call)
        wanted = [(self._bucket((call.identity.account, call.region, call.operation, kind), rate), 1)]
        per_resource = self._table.resources.get(call.operation)
        if per_resource is not None:
            bucket = self._bucket((call.identity.account, call.region, call.operation, "resources"), per_resource)
            wanted.append((bucket, _instances(call.params)))
        if any(bucket.tokens < tokens for bucket, tokens in wanted):
            raise RequestLimitExceeded
        for bucket, tokens in wanted:
            bucket.tokens -= tokens

    def _category(self, call: Call) -> tuple[str, Rate]:
        table, action = self._table, call.operation
        if action in table.own:
            return "own", table.own[action]
        if not action.startswith(_READING):
            return (
                "mutating",
                table.resource_intensive if action in table.resource_intensive_actions else table.mutating,
            )
        if action in table.unfiltered_actions and not any(name in call.params for name in _NARROWING):
            return "unfiltered", table.unfiltered
        if CONSOLE in call.user_agent:
            return "console", table.console
        return "non-mutating", table.non_mutating

    def _bucket(self, key: _Key, rate: Rate) -> _Bucket:
        """The bucket as it is now."""
        now = self._clock.monotonic()
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = _Bucket(rate.capacity, now)
            if len(self._buckets) > self._kept:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(key)
            bucket.tokens = min(rate.capacity, bucket.tokens + (now - bucket.at) * rate.refill)
            bucket.at = now
        return bucket


def _instances(params: Mapping[str, Any]) -> int:
    """How many instances a call is about: those it names, or the most it would launch."""
    named = params.get("InstanceIds")
    return len(named) if named else max(1, params.get("MaxCount", 1))
