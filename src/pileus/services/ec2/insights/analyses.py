"""Looking at a path: what Reachability Analyzer finds."""

import re
from typing import TYPE_CHECKING, Any, cast

from pileus.base.config import api_address, s3_address
from pileus.base.ids import new_id
from pileus.operations.context import Context
from pileus.operations.listing import Listing
from pileus.operations.tags import tag_set, tags_for
from pileus.records import InsightsAnalysis, InsightsPath
from pileus.records.paths import Cloud, Filter, Question, UnknownEnd, analyse
from pileus.services.ec2.arns import arn
from pileus.services.ec2.errors import InvalidParameterValue
from pileus.services.ec2.insights.drawing import Drawing
from pileus.services.ec2.resources import NETWORK_INSIGHTS_ANALYSIS, NETWORK_INSIGHTS_PATH
from pileus.services.ec2.service import ec2

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from types_boto3_ec2.type_defs import (
        DeleteNetworkInsightsAnalysisRequestTypeDef,
        DescribeNetworkInsightsAnalysesRequestTypeDef,
        StartNetworkInsightsAnalysisRequestTypeDef,
    )

_COMPONENT_ARN = re.compile(r"arn:aws[a-z-]*:ec2:[a-z0-9-]+:[0-9]{12}:[a-z-]+/([a-z]+-[0-9a-f]+)")


def _draw(_: Context, analysis: InsightsAnalysis) -> dict[str, Any]:
    return {
        **_begun(analysis),
        **analysis.result,
        "Status": analysis.status,
        "StatusMessage": analysis.status_message,
    }


def _begun(analysis: InsightsAnalysis) -> dict[str, Any]:
    """An analysis as it is shown while it runs."""
    return {
        "NetworkInsightsAnalysisId": analysis.id,
        "NetworkInsightsAnalysisArn": arn(analysis, "network-insights-analysis"),
        "NetworkInsightsPathId": analysis.path_id,
        "FilterInArns": list(analysis.filter_in_arns) or None,
        "FilterOutArns": list(analysis.filter_out_arns) or None,
        "StartDate": analysis.started,
        "Status": "running",
        "Tags": tag_set(analysis.tags),
    }


ANALYSES = Listing(
    kind=InsightsAnalysis,
    member="NetworkInsightsAnalyses",
    draw=_draw,
    ids="NetworkInsightsAnalysisIds",
    find=NETWORK_INSIGHTS_ANALYSIS.find,
    filters={
        "path-found": lambda _, analysis: analysis.result.get("NetworkPathFound"),
        "status": lambda _, analysis: analysis.status,
    },
)


@ec2.reads("DescribeNetworkInsightsAnalyses")
def describe_network_insights_analyses(
    context: Context, params: "DescribeNetworkInsightsAnalysesRequestTypeDef"
) -> dict[str, Any]:
    """The caller's analyses: all, of one path, or begun within a time."""
    path_id = params.get("NetworkInsightsPathId")
    if path_id:
        NETWORK_INSIGHTS_PATH.one(context, path_id)
    first = cast("datetime | None", params.get("AnalysisStartTime"))  # parsed by the protocol
    last = cast("datetime | None", params.get("AnalysisEndTime"))

    def keep(analysis: InsightsAnalysis) -> bool:
        begun = analysis.started
        of_path = path_id in {None, "", analysis.path_id}
        return of_path and (first is None or begun >= first) and (last is None or begun <= last)

    return ANALYSES.answer(context, params, keep)


@ec2.writes(
    "StartNetworkInsightsAnalysis",
    resources=("network-insights-analysis:*", "network-insights-path:NetworkInsightsPathId"),
    idempotent=True,
    taggable=("network-insights-analysis",),
)
def start_network_insights_analysis(
    context: Context, params: "StartNetworkInsightsAnalysisRequestTypeDef"
) -> dict[str, Any]:
    """Looks at a path as things are now. It is done when this has answered, but shown as begun."""
    path = NETWORK_INSIGHTS_PATH.one(context, params["NetworkInsightsPathId"])
    through, around = params.get("FilterInArns", ()), params.get("FilterOutArns", ())
    question = Question(
        account=context.account,
        source=path.source,
        destination=path.destination,
        protocol=path.protocol,
        at_source=_at_source(path),
        at_destination=_at_destination(path),
        through=tuple(_component("FilterInArns", value) for value in through),
        around=tuple(_component("FilterOutArns", value) for value in around),
    )
    analysis = InsightsAnalysis(
        id=new_id("nia"),
        account=context.account,
        region=context.region,
        tags=tags_for(params, "network-insights-analysis"),
        path_id=path.id,
        started=context.now,
        filter_in_arns=tuple(through),
        filter_out_arns=tuple(around),
        **_look(context, question),
    )
    return {"NetworkInsightsAnalysis": _begun(context.tx.put(analysis))}


@ec2.writes("DeleteNetworkInsightsAnalysis", resources=("network-insights-analysis:NetworkInsightsAnalysisId",))
def delete_network_insights_analysis(
    context: Context, params: "DeleteNetworkInsightsAnalysisRequestTypeDef"
) -> dict[str, Any]:
    """Removes what was found."""
    analysis = NETWORK_INSIGHTS_ANALYSIS.one(context, params["NetworkInsightsAnalysisId"])
    context.tx.delete(analysis)
    return {"NetworkInsightsAnalysisId": analysis.id}


def _look(context: Context, question: Question) -> dict[str, Any]:
    """The status and the result."""
    region = context.env.config.region(context.region)
    cloud = Cloud(
        region=context.region,
        pools=(*region.public_pool, *region.carrier_pool),
        services=(api_address(region), s3_address(region)),
    )
    try:
        answer = analyse(context.view, cloud, question)
    except UnknownEnd as missing:
        return {"status": "failed", "status_message": f"The resource {missing} has no network interface.", "result": {}}
    return {"status": "succeeded", "result": Drawing(context=context, question=question).draw(answer)}


def _at_source(path: InsightsPath) -> Filter:
    found = _filter(path.filter_at_source or {})
    ports = (path.destination_port, path.destination_port) if path.destination_port is not None else None
    return Filter(
        source=path.source_ip or found.source,
        destination=found.destination,
        source_ports=found.source_ports,
        destination_ports=ports or found.destination_ports,
    )


def _at_destination(path: InsightsPath) -> Filter:
    found = _filter(path.filter_at_destination or {})
    return Filter(
        source=found.source,
        destination=path.destination_ip or found.destination,
        source_ports=found.source_ports,
        destination_ports=found.destination_ports,
    )


def _filter(kept: "Mapping[str, Any]") -> Filter:
    def bounds(name: str) -> tuple[int, int] | None:
        ports = kept.get(name)
        return (ports["FromPort"], ports["ToPort"]) if ports else None

    return Filter(
        source=kept.get("SourceAddress"),
        destination=kept.get("DestinationAddress"),
        source_ports=bounds("SourcePortRange"),
        destination_ports=bounds("DestinationPortRange"),
    )


def _component(name: str, value: str) -> str:
    """The id in a component's ARN."""
    found = _COMPONENT_ARN.fullmatch(value)
    if found is None:
        raise InvalidParameterValue(f"Invalid value '{value}' for {name}. It must be the ARN of an EC2 resource.")
    return found.group(1)
