"""The paths that Reachability Analyzer is to look at."""

import re
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any

from pileus.base.errors import ServiceError
from pileus.base.ids import new_id
from pileus.operations.context import Context
from pileus.operations.filters import Field
from pileus.operations.listing import Listing
from pileus.operations.tags import tag_set, tags_for
from pileus.records import InsightsAnalysis, InsightsPath, Peering
from pileus.services.ec2.arns import arn
from pileus.services.ec2.errors import InvalidParameterCombination, InvalidParameterValue, MissingParameter
from pileus.services.ec2.resources import (
    INSTANCE,
    INTERNET_GATEWAY,
    NETWORK_INSIGHTS_PATH,
    NETWORK_INTERFACE,
    PEERING,
    VPC_ENDPOINT,
    Resource,
)
from pileus.services.ec2.service import ec2

if TYPE_CHECKING:
    from collections.abc import Mapping

    from types_boto3_ec2.type_defs import (
        CreateNetworkInsightsPathRequestTypeDef,
        DeleteNetworkInsightsPathRequestTypeDef,
        DescribeNetworkInsightsPathsRequestTypeDef,
    )

_ENDS: "tuple[Resource[Any], ...]" = (INSTANCE, NETWORK_INTERFACE, INTERNET_GATEWAY, PEERING, VPC_ENDPOINT)
_ARN = re.compile(r"arn:aws[a-z-]*:ec2:([a-z0-9-]+):([0-9]{12}):([a-z-]+)/(.+)")


class AnalysisExists(ServiceError):
    """The path has analyses, which have to go first."""

    code = "AnalysisExistsForNetworkInsightsPath"


class MissingDestination(ServiceError):
    """Neither a destination nor an address to filter by."""

    code = "MissingParameter"


def _ports(end: str, member: str) -> Field[InsightsPath]:
    def field(_: Context, path: InsightsPath) -> str | None:
        ports = _filter_of(path, end).get(member)
        return f"{ports['FromPort']}-{ports['ToPort']}" if ports else None

    return field


def _address(end: str, member: str) -> Field[InsightsPath]:
    def field(_: Context, path: InsightsPath) -> str | None:
        return _filter_of(path, end).get(member)

    return field


def _filter_of(path: InsightsPath, end: str) -> "Mapping[str, Any]":
    return (path.filter_at_source if end == "source" else path.filter_at_destination) or {}


def _draw(context: Context, path: InsightsPath) -> dict[str, Any]:
    return {
        "NetworkInsightsPathId": path.id,
        "NetworkInsightsPathArn": arn(path, "network-insights-path"),
        "CreatedDate": path.created,
        "Source": path.source,
        "SourceArn": end_arn(context, path.source),
        "Destination": path.destination,
        "DestinationArn": end_arn(context, path.destination) if path.destination else None,
        "SourceIp": path.source_ip,
        "DestinationIp": path.destination_ip,
        "Protocol": path.protocol,
        "DestinationPort": path.destination_port,
        "FilterAtSource": path.filter_at_source,
        "FilterAtDestination": path.filter_at_destination,
        "Tags": tag_set(path.tags),
    }


def end_arn(context: Context, id_: str) -> str:
    """The ARN of a path's end, which may be gone by now."""
    for resource in _ENDS:
        if id_.startswith(f"{resource.prefix}-"):
            return f"arn:aws:ec2:{context.region}:{context.account}:{resource.type}/{id_}"
    raise AssertionError(f"{id_} is no end of a path")


PATHS = Listing(
    kind=InsightsPath,
    member="NetworkInsightsPaths",
    draw=_draw,
    ids="NetworkInsightsPathIds",
    find=NETWORK_INSIGHTS_PATH.find,
    filters={
        "destination": lambda _, path: path.destination,
        "filter-at-destination.destination-address": _address("destination", "DestinationAddress"),
        "filter-at-destination.destination-port-range": _ports("destination", "DestinationPortRange"),
        "filter-at-destination.source-address": _address("destination", "SourceAddress"),
        "filter-at-destination.source-port-range": _ports("destination", "SourcePortRange"),
        "filter-at-source.destination-address": _address("source", "DestinationAddress"),
        "filter-at-source.destination-port-range": _ports("source", "DestinationPortRange"),
        "filter-at-source.source-address": _address("source", "SourceAddress"),
        "filter-at-source.source-port-range": _ports("source", "SourcePortRange"),
        "protocol": lambda _, path: path.protocol,
        "source": lambda _, path: path.source,
    },
)


@ec2.reads("DescribeNetworkInsightsPaths")
def describe_network_insights_paths(
    context: Context, params: "DescribeNetworkInsightsPathsRequestTypeDef"
) -> dict[str, Any]:
    """The caller's paths."""
    return PATHS.answer(context, params)


@ec2.writes(
    "CreateNetworkInsightsPath",
    resources=("network-insights-path:*",),
    idempotent=True,
    taggable=("network-insights-path",),
)
def create_network_insights_path(context: Context, params: "CreateNetworkInsightsPathRequestTypeDef") -> dict[str, Any]:
    """A path to look at. Nothing is looked at yet."""
    if params["Protocol"] not in {"tcp", "udp"}:
        raise InvalidParameterValue(f"Invalid value '{params['Protocol']}' for Protocol. Expecting 'tcp' or 'udp'.")
    at_source = _checked_filter("FilterAtSource", params.get("FilterAtSource"))
    at_destination = _checked_filter("FilterAtDestination", params.get("FilterAtDestination"))
    for name in ("SourceIp", "DestinationPort"):
        if at_source and params.get(name) is not None:
            raise InvalidParameterCombination(f"The parameter FilterAtSource cannot be used with the parameter {name}")
    if at_destination and params.get("DestinationIp") is not None:
        raise InvalidParameterCombination(
            "The parameter FilterAtDestination cannot be used with the parameter DestinationIp"
        )
    destination = params.get("Destination")
    if not destination and not (at_source or {}).get("DestinationAddress"):
        raise MissingDestination(
            "The request must include either the Destination parameter or the FilterAtSource.DestinationAddress "
            "parameter. Add the required parameter and retry the request."
        )
    source_id = _end(context, "Source", params["Source"])
    destination_id = _end(context, "Destination", destination) if destination else None
    if source_id == destination_id:
        raise InvalidParameterValue("Invalid value for Destination: it must not be the same resource as Source.")
    path = InsightsPath(
        id=new_id("nip"),
        account=context.account,
        region=context.region,
        tags=tags_for(params, "network-insights-path"),
        source=source_id,
        destination=destination_id,
        protocol="tcp" if params["Protocol"] == "tcp" else "udp",
        created=context.now,
        source_ip=_checked_address("SourceIp", params.get("SourceIp")),
        destination_ip=_checked_address("DestinationIp", params.get("DestinationIp")),
        destination_port=_checked_port("DestinationPort", params.get("DestinationPort")),
        filter_at_source=at_source,
        filter_at_destination=at_destination,
    )
    return {"NetworkInsightsPath": _draw(context, context.tx.put(path))}


@ec2.writes("DeleteNetworkInsightsPath", resources=("network-insights-path:NetworkInsightsPathId",))
def delete_network_insights_path(context: Context, params: "DeleteNetworkInsightsPathRequestTypeDef") -> dict[str, Any]:
    """Removes a path that has no analyses."""
    path = NETWORK_INSIGHTS_PATH.one(context, params["NetworkInsightsPathId"])
    if context.view.list(InsightsAnalysis, path_id=path.id):
        raise AnalysisExists(f"The network insights path '{path.id}' has analyses. Delete them first.")
    context.tx.delete(path)
    return {"NetworkInsightsPathId": path.id}


def _end(context: Context, parameter: str, value: str) -> str:
    """The id of the resource that an end names by its id or ARN.

    Raises:
        InvalidParameterValue: it is of a kind that can't be an end of a path. NotFound, MalformedId: it is not there.
    """
    found = _ARN.fullmatch(value)
    id_ = found.group(4) if found else value
    for resource in _ENDS:
        if not id_.startswith(f"{resource.prefix}-"):
            continue
        if found and found.groups()[:3] != (context.region, context.account, resource.type):
            raise resource.not_found([id_])
        if resource is PEERING:
            _check_peering(context, id_)
        else:
            resource.one(context, id_)
        return id_
    raise InvalidParameterValue(
        f"Invalid value '{value}' for {parameter}. It must be the ID or ARN of an instance, a network interface, an "
        "internet gateway, a VPC peering connection or a VPC endpoint."
    )


def _check_peering(context: Context, id_: str) -> None:
    """A peering is seen from both its sides."""
    PEERING.check(id_)
    peering = context.view.get(Peering, id_)
    sides = (peering.requester, peering.accepter) if peering is not None else ()
    if not any((side.account, side.region) == (context.account, context.region) for side in sides):
        raise PEERING.not_found([id_])


def _checked_filter(name: str, given: "Mapping[str, Any] | None") -> "Mapping[str, Any] | None":
    """A filter as it is kept: whole port ranges, addresses of IPv4."""
    if not given:
        return None
    kept: dict[str, Any] = {}
    for member in ("SourceAddress", "DestinationAddress"):
        if (address := _checked_address(f"{name}.{member}", given.get(member))) is not None:
            kept[member] = address
    for member in ("SourcePortRange", "DestinationPortRange"):
        ports = given.get(member)
        if not ports:
            continue
        low = _checked_port(f"{name}.{member}.FromPort", ports.get("FromPort"))
        high = _checked_port(f"{name}.{member}.ToPort", ports.get("ToPort"))
        if low is None or high is None:
            raise MissingParameter(f"{name}.{member}.{'FromPort' if low is None else 'ToPort'}")
        if low > high:
            raise InvalidParameterValue(f"Invalid value for {name}.{member}: FromPort is greater than ToPort.")
        kept[member] = {"FromPort": low, "ToPort": high}
    return kept or None


def _checked_address(name: str, value: str | None) -> str | None:
    if not value:
        return None
    try:
        return str(IPv4Address(value))
    except ValueError as error:
        raise InvalidParameterValue(f"Invalid value '{value}' for {name}. It must be an IPv4 address.") from error


def _checked_port(name: str, value: int | None) -> int | None:
    if value is not None and not 0 <= value <= 65535:
        raise InvalidParameterValue(f"Invalid value '{value}' for {name}. It must be between 0 and 65535.")
    return value
