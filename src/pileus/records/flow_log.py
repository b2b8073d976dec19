"""Flow logs, and what they have recorded and not delivered yet."""

from datetime import datetime
from typing import ClassVar, Literal

from pileus.base.record import Record
from pileus.records.tagged import Tagged


class FlowLog(Tagged, frozen=True, kw_only=True):
    """A flow log of a VPC, a subnet or an interface, delivered to a bucket.

    ``destination`` is the bucket's ARN, with a folder where one is given. ``interval`` is in seconds, 60 or 600. ``format``
    is a line of ``${field}`` words. ``hourly`` and ``hive`` are the DestinationOptions of that kind.
    """

    kind: ClassVar[str] = "flow-log"
    indexes: ClassVar[tuple[str, ...]] = ("resource_id",)

    resource_id: str
    traffic: Literal["ACCEPT", "REJECT", "ALL"]
    destination: str
    format: str
    created: datetime
    interval: int = 600
    file_format: Literal["plain-text", "parquet"] = "plain-text"
    hourly: bool = False
    hive: bool = False
    delivered: Literal["", "SUCCESS", "FAILED"] = ""
    error: str | None = None


class FlowBatch(Record, frozen=True, kw_only=True):
    """Lines of one flow log that wait for their delivery as one object. ``lines`` are as the file has them."""

    kind: ClassVar[str] = "flow-batch"
    indexes: ClassVar[tuple[str, ...]] = ("flow_log_id",)

    flow_log_id: str
    begun: datetime
    lines: tuple[str, ...]
