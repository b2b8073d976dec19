"""Flow logs: making, listing and deleting them. ``flow_delivery`` brings what they record to their buckets."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from msgspec.structs import replace

from pileus.base.ids import new_id
from pileus.operations.context import Context
from pileus.operations.filters import absent, constant
from pileus.operations.idempotency import perform_once
from pileus.operations.listing import Listing
from pileus.operations.paging import Page
from pileus.operations.tags import tag_set, tags_for
from pileus.records import FlowBatch, FlowLog, NetworkInterface, Subnet, Vpc
from pileus.records.flow_log import DEFAULT_FORMAT, bucket_and_prefix, fields_of
from pileus.services.ec2.errors import (
    Duplicate,
    InvalidParameter,
    InvalidParameterValue,
    MissingParameter,
    Unsupported,
)
from pileus.services.ec2.flow_delivery import refusal
from pileus.services.ec2.resources import FLOW_LOG, NETWORK_INTERFACE, SUBNET, VPC, Resource
from pileus.services.ec2.service import ec2
from pileus.services.ec2.vpc_quotas import FLOW_LOGS_PER_RESOURCE

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import (
        CreateFlowLogsRequestTypeDef,
        DeleteFlowLogsRequestTypeDef,
        DescribeFlowLogsRequestTypeDef,
    )

MAX_RESOURCES = 300
_RESOURCES: Mapping[str, "Resource[Vpc] | Resource[Subnet] | Resource[NetworkInterface]"] = {
    "VPC": VPC,
    "Subnet": SUBNET,
    "NetworkInterface": NETWORK_INTERFACE,
}
_INTERVALS = frozenset({60, 600})


@ec2.waits(
    "CreateFlowLogs",
    resources=("vpc-flow-log:*", "vpc:ResourceIds", "subnet:ResourceIds", "network-interface:ResourceIds"),
    idempotent=True,
    taggable=("vpc-flow-log",),
)
async def create_flow_logs(context: Context, params: "CreateFlowLogsRequestTypeDef") -> dict[str, Any]:
    """A flow log of each of some resources, delivered to a bucket. None is made when the bucket can't be written to."""
    wanted = _parsed(context, params)
    refused = await refusal(context.env, context.view, context.account, context.region, wanted.destination)

    def make(inner: Context, params: Mapping[str, Any]) -> dict[str, Any]:
        return _create(inner, params, wanted, refused)

    operation = replace(ec2.operations["CreateFlowLogs"], handler=make, mode="write")
    return dict(await context.submit(lambda tx: perform_once(operation, Context(context.call, context.env, tx, tx))))


def _create(context: Context, params: Mapping[str, Any], wanted: FlowLog, refused: str | None) -> dict[str, Any]:
    ids = list(dict.fromkeys(params["ResourceIds"]))
    _RESOURCES[params["ResourceType"]].find(context, ids)
    if refused is not None:
        failed = [{"ResourceId": id_, "Error": {"Code": "400", "Message": refused}} for id_ in ids]
        return {"ClientToken": params.get("ClientToken"), "FlowLogIds": [], "Unsuccessful": failed}
    made: list[str] = []
    for id_ in ids:
        present = context.view.list(FlowLog, resource_id=id_)
        if any(_alike(one, wanted) for one in present):
            raise Duplicate(
                "Error. There is an existing Flow Log with the same configuration and log destination.",
                code="FlowLogAlreadyExists",
            )
        FLOW_LOGS_PER_RESOURCE.check(len(present))
        made.append(context.tx.put(replace(wanted, id=new_id("fl"), resource_id=id_)).id)
    return {"ClientToken": params.get("ClientToken"), "FlowLogIds": made, "Unsuccessful": []}


def _alike(one: FlowLog, other: FlowLog) -> bool:
    return (one.destination, one.traffic) == (other.destination, other.traffic)


def _parsed(context: Context, params: Mapping[str, Any]) -> FlowLog:
    """The flow log that a call describes, of no resource yet.

    Raises:
        MissingParameter, InvalidParameter, InvalidParameterValue: it is not one that EC2 takes.
        Unsupported: it is one that this cloud does not have.
    """
    _check_resources(params)
    _check_type(params)
    interval = params.get("MaxAggregationInterval", 600)
    if interval not in _INTERVALS:
        raise InvalidParameter("Invalid Flow Log Max Aggregation Interval")
    options: Mapping[str, Any] = params.get("DestinationOptions") or {}
    return FlowLog(
        id="",
        account=context.account,
        region=context.region,
        resource_id="",
        traffic=_traffic(params),
        destination=_destination(params),
        format=_format(params),
        created=context.now,
        interval=interval,
        file_format=_file_format(options),
        hourly=bool(options.get("PerHourPartition")),
        hive=bool(options.get("HiveCompatiblePartitions")),
        tags=tags_for(params, "vpc-flow-log"),
    )


def _check_resources(params: Mapping[str, Any]) -> None:
    kind = params["ResourceType"]
    if kind.startswith(("TransitGateway", "CoreNetwork")) or kind == "RegionalNatGateway":
        raise Unsupported(f"Flow logs of the resource type {kind} are not available in this cloud.")
    if kind not in _RESOURCES:
        raise InvalidParameterValue(f"Value ({kind}) for parameter ResourceType is invalid.")
    if not params["ResourceIds"]:
        raise MissingParameter("ResourceIds")
    if len(params["ResourceIds"]) > MAX_RESOURCES:
        raise InvalidParameterValue(f"The parameter ResourceIds has more than {MAX_RESOURCES} members.")


def _check_type(params: Mapping[str, Any]) -> None:
    kind = params.get("LogDestinationType") or "cloud-watch-logs"
    if kind in {"cloud-watch-logs", "kinesis-data-firehose"}:
        raise Unsupported(f"The log destination type {kind} is not available in this cloud. Use s3.")
    if kind != "s3":
        raise InvalidParameterValue(f"Value ({kind}) for parameter LogDestinationType is invalid.")
    if params.get("LogGroupName"):
        raise InvalidParameter("LogDestination type must be cloud-watch-logs if LogGroupName is provided.")
    for name in ("DeliverLogsPermissionArn", "DeliverCrossAccountRole"):
        if params.get(name):
            raise InvalidParameter(f"{name} is not applicable for s3 delivery")
    if params.get("TagFieldSpecifications"):
        raise Unsupported("Fields of tags are not available in this cloud.")


def _traffic(params: Mapping[str, Any]) -> Literal["ACCEPT", "REJECT", "ALL"]:
    traffic = params.get("TrafficType")
    if not traffic:
        raise MissingParameter("TrafficType")
    if traffic not in {"ACCEPT", "REJECT", "ALL"}:
        raise InvalidParameterValue(f"Value ({traffic}) for parameter TrafficType is invalid.")
    return traffic


def _destination(params: Mapping[str, Any]) -> str:
    destination = params.get("LogDestination")
    if not destination:
        raise InvalidParameter("LogDestination can't be empty if LogGroupName is not provided.")
    try:
        bucket_and_prefix(destination)
    except ValueError as error:
        raise InvalidParameter(f"Invalid LogDestination: {destination}") from error
    return destination


def _format(params: Mapping[str, Any]) -> str:
    format_ = params.get("LogFormat")
    if format_ is None:
        return DEFAULT_FORMAT
    try:
        fields_of(format_)
    except ValueError as error:
        raise InvalidParameter(f"Invalid LogFormat: {format_}") from error
    return format_


def _file_format(options: Mapping[str, Any]) -> Literal["plain-text"]:
    format_ = options.get("FileFormat") or "plain-text"
    if format_ == "parquet":
        raise Unsupported("The file format parquet is not available in this cloud. Use plain-text.")
    if format_ != "plain-text":
        raise InvalidParameterValue(f"Value ({format_}) for parameter FileFormat is invalid.")
    return format_


def _draw(_: Context, flow_log: FlowLog) -> dict[str, Any]:
    return {
        "CreationTime": flow_log.created,
        "DeliverLogsErrorMessage": flow_log.error,
        "DeliverLogsStatus": _status(flow_log),
        "FlowLogId": flow_log.id,
        "FlowLogStatus": "ACTIVE",
        "ResourceId": flow_log.resource_id,
        "TrafficType": flow_log.traffic,
        "LogDestinationType": "s3",
        "LogDestination": flow_log.destination,
        "LogFormat": flow_log.format,
        "Tags": tag_set(flow_log.tags),
        "MaxAggregationInterval": flow_log.interval,
        "DestinationOptions": {
            "FileFormat": flow_log.file_format,
            "HiveCompatiblePartitions": flow_log.hive,
            "PerHourPartition": flow_log.hourly,
        },
    }


def _status(flow_log: FlowLog) -> str:
    return flow_log.delivered or "SUCCESS"


FLOW_LOGS = Listing(
    kind=FlowLog,
    member="FlowLogs",
    draw=_draw,
    ids="FlowLogIds",
    find=FLOW_LOG.find,
    filters={
        "deliver-log-status": lambda _, flow_log: _status(flow_log),
        "log-destination-type": constant("s3"),
        "flow-log-id": lambda _, flow_log: flow_log.id,
        "log-group-name": absent,
        "resource-id": lambda _, flow_log: flow_log.resource_id,
        "traffic-type": lambda _, flow_log: flow_log.traffic,
    },
    page=Page(least=1),
)


@ec2.reads("DescribeFlowLogs")
def describe_flow_logs(context: Context, params: "DescribeFlowLogsRequestTypeDef") -> dict[str, Any]:
    """The caller's flow logs."""
    filters: Sequence[Any] = params.get("Filter", ())
    return FLOW_LOGS.answer(context, {**params, "Filters": filters})


@ec2.writes("DeleteFlowLogs", resources=("vpc-flow-log:FlowLogIds",))
def delete_flow_logs(context: Context, params: "DeleteFlowLogsRequestTypeDef") -> dict[str, Any]:
    """Ends flow logs, and what they have not delivered yet is forgotten. Objects that were delivered stay."""
    for flow_log in FLOW_LOG.find(context, list(dict.fromkeys(params["FlowLogIds"]))):
        for batch in context.view.list(FlowBatch, flow_log_id=flow_log.id):
            context.tx.delete(batch)
        context.tx.delete(flow_log)
    return {"Unsuccessful": []}
