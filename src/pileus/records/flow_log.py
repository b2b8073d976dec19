"""Flow logs, and what they have recorded and not delivered yet."""

import re
from collections.abc import Iterable, Mapping
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

    def wants(self, *, accepted: bool) -> bool:
        """Whether it records traffic that was accepted, or that was not."""
        return self.traffic == "ALL" or (self.traffic == "ACCEPT") == accepted


class FlowBatch(Record, frozen=True, kw_only=True):
    """Lines of one flow log that wait for their delivery as one object. ``lines`` are as the file has them."""

    kind: ClassVar[str] = "flow-batch"
    indexes: ClassVar[tuple[str, ...]] = ("flow_log_id",)

    flow_log_id: str
    begun: datetime
    lines: tuple[str, ...]


_BY_VERSION: Mapping[int, str] = {
    2: "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status",
    3: "vpc-id subnet-id instance-id tcp-flags type pkt-srcaddr pkt-dstaddr",
    4: "region az-id sublocation-type sublocation-id",
    5: "pkt-src-aws-service pkt-dst-aws-service flow-direction traffic-path",
    7: "ecs-cluster-arn ecs-cluster-name ecs-container-instance-arn ecs-container-instance-id ecs-container-id "
    "ecs-second-container-id ecs-service-name ecs-task-definition-arn ecs-task-arn ecs-task-id",
    8: "reject-reason",
}
FIELDS: Mapping[str, int] = {name: version for version, names in _BY_VERSION.items() for name in names.split()}
"""The fields of a record, each with the version of flow logs that brought it.

Source: https://docs.aws.amazon.com/vpc/latest/userguide/flow-log-records.html.
"""
DEFAULT_FORMAT = " ".join(f"${{{name}}}" for name in _BY_VERSION[2].split())

_WORD = re.compile(r"\$\{([a-z-]+)\}")


def fields_of(format_: str) -> tuple[str, ...]:
    """The names of the fields in a format, in its order. Raises ValueError for what is none, and without any."""
    words = format_.split()
    found = [_WORD.fullmatch(word) for word in words]
    names = tuple(match[1] for match in found if match is not None)
    if not words or len(names) < len(words) or not all(name in FIELDS for name in names):
        raise ValueError(format_)
    return names


def version_of(fields: Iterable[str]) -> int:
    """The version that lines with these fields say: the newest one's, and at least 2."""
    return max((FIELDS[name] for name in fields), default=2)


def bucket_and_prefix(destination: str) -> tuple[str, str]:
    """The bucket of a destination, and its folder: empty, or ending in a slash. Raises ValueError when it is no such ARN."""
    arn, slash, folder = destination.partition("/")
    if not re.fullmatch(r"arn:aws:s3:::[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", arn):
        raise ValueError(destination)
    folder = folder.strip("/")
    if slash and folder.partition("/")[0] == "AWSLogs":
        raise ValueError(destination)
    return arn.rpartition(":")[2], f"{folder}/" if folder else ""
