"""VPC endpoints: making, deleting and listing them. ``vpc_endpoints_parts`` has what they are made of."""

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from pileus.base.errors import ServiceError
from pileus.base.ids import new_id
from pileus.operations.context import Context
from pileus.operations.filters import constant
from pileus.operations.listing import Listing
from pileus.operations.tags import tag_set, tags_for
from pileus.records import NetworkInterface, SecurityGroup, VpcEndpoint
from pileus.records.endpoint_services import endpoint_dns_names
from pileus.services.ec2.endpoint_services import check_type, service_named
from pileus.services.ec2.errors import InvalidParameter, MissingParameter
from pileus.services.ec2.resources import VPC, VPC_ENDPOINT
from pileus.services.ec2.service import ec2
from pileus.services.ec2.vpc_endpoints_parts import (
    add_routes,
    add_subnets,
    check_dns_options,
    check_private_dns,
    endpoint_groups,
    endpoint_tables,
    remove_routes,
)
from pileus.services.ec2.vpc_endpoints_policy import EVERYTHING, checked_policy
from pileus.services.ec2.vpc_quotas import GATEWAY_ENDPOINTS, INTERFACE_ENDPOINTS_PER_VPC

if TYPE_CHECKING:
    from collections.abc import Sequence

    from types_boto3_ec2.type_defs import (
        CreateVpcEndpointRequestTypeDef,
        DeleteVpcEndpointsRequestTypeDef,
        DescribeVpcEndpointsRequestTypeDef,
    )

_ZONE_OF_NAMES = "Z7HUB22UULQXV"
"""The hosted zone of endpoints' own names."""
_GATEWAY_ONLY = {"RouteTableIds": "Route table IDs are only supported for Gateway type VPC Endpoint."}
_INTERFACE_ONLY = {
    "SubnetIds": "Subnet IDs are only supported for Interface type VPC Endpoint.",
    "SubnetConfigurations": "Subnet configurations are only supported for Interface type VPC Endpoint.",
    "SecurityGroupIds": "Security group IDs are only supported for Interface type VPC Endpoint.",
    "PrivateDnsEnabled": "Private DNS can only be enabled for Interface type VPC Endpoint.",
}


def draw_endpoint(context: Context, endpoint: VpcEndpoint) -> dict[str, Any]:
    """An endpoint as answers have it."""
    interface = endpoint.endpoint_type == "Interface"
    groups = (context.view.get(SecurityGroup, name) for name in endpoint.groups)
    return {
        "VpcEndpointId": endpoint.id,
        "VpcEndpointType": endpoint.endpoint_type,
        "VpcId": endpoint.vpc_id,
        "ServiceName": endpoint.service_name,
        "ServiceRegion": endpoint.region,
        "State": endpoint.state,
        "PolicyDocument": endpoint.policy or EVERYTHING,
        "RouteTableIds": list(endpoint.route_table_ids),
        "SubnetIds": list(endpoint.subnet_ids),
        "Groups": [{"GroupId": group.id, "GroupName": group.name} for group in groups if group],
        "IpAddressType": "ipv4",
        "DnsOptions": {"DnsRecordIpType": "ipv4" if interface else "service-defined"},
        "PrivateDnsEnabled": endpoint.private_dns,
        "RequesterManaged": False,
        "NetworkInterfaceIds": list(endpoint.interface_ids),
        "DnsEntries": _dns_entries(context, endpoint) if interface else [],
        "CreationTimestamp": endpoint.created,
        "OwnerId": endpoint.account,
        "Tags": tag_set(endpoint.tags),
    }


def _dns_entries(context: Context, endpoint: VpcEndpoint) -> "Sequence[dict[str, Any]]":
    service = service_named(context, endpoint.service_name)
    interfaces = (context.view.get(NetworkInterface, name) for name in endpoint.interface_ids)
    zones = [one.zone for one in interfaces if one is not None]
    own = endpoint_dns_names(service, endpoint.id, endpoint.region, zones)
    private = service.dns_names(endpoint.region) if endpoint.private_dns else ()
    return [{"DnsName": name, "HostedZoneId": _ZONE_OF_NAMES} for name in (*own, *private)]


VPC_ENDPOINTS = Listing(
    kind=VpcEndpoint,
    member="VpcEndpoints",
    draw=draw_endpoint,
    cached=False,
    ids="VpcEndpointIds",
    find=VPC_ENDPOINT.find,
    filters={
        "ip-address-type": constant("ipv4"),
        "service-name": lambda _, endpoint: endpoint.service_name,
        "service-region": lambda _, endpoint: endpoint.region,
        "vpc-endpoint-id": lambda _, endpoint: endpoint.id,
        "vpc-endpoint-state": lambda _, endpoint: endpoint.state,
        "vpc-endpoint-type": lambda _, endpoint: endpoint.endpoint_type,
        "vpc-id": lambda _, endpoint: endpoint.vpc_id,
    },
)


@ec2.reads("DescribeVpcEndpoints")
def describe_vpc_endpoints(context: Context, params: "DescribeVpcEndpointsRequestTypeDef") -> dict[str, Any]:
    """The caller's VPC endpoints."""
    return VPC_ENDPOINTS.answer(context, params)


@ec2.writes(
    "CreateVpcEndpoint",
    resources=(
        "vpc-endpoint:*",
        "vpc:VpcId",
        "route-table:RouteTableIds",
        "subnet:SubnetIds",
        "security-group:SecurityGroupIds",
    ),
    idempotent=True,
    taggable=("vpc-endpoint",),
)
def create_vpc_endpoint(context: Context, params: "CreateVpcEndpointRequestTypeDef") -> dict[str, Any]:
    """A way to a service: by routes of a VPC's tables (Gateway), or by interfaces in its subnets (Interface)."""
    vpc = VPC.one(context, params["VpcId"])
    name = params.get("ServiceName")
    if not name:
        raise MissingParameter("serviceName")
    service = service_named(context, name)
    endpoint_type = check_type(service, params.get("VpcEndpointType", "Gateway"))
    _check_parameters(context, params, endpoint_type)
    endpoint = VpcEndpoint(
        id=new_id("vpce"),
        account=context.account,
        region=context.region,
        tags=tags_for(params, "vpc-endpoint"),
        vpc_id=vpc.id,
        service_name=name,
        endpoint_type=endpoint_type,
        created=context.now,
        policy=checked_policy(params.get("PolicyDocument")),
    )
    if endpoint_type == "Gateway":
        present = context.tx.list(VpcEndpoint, account=context.account, region=context.region)
        GATEWAY_ENDPOINTS.check(sum(one.endpoint_type == "Gateway" for one in present))
        endpoint = add_routes(context, endpoint, endpoint_tables(context, vpc, params.get("RouteTableIds", ())))
    else:
        present = context.tx.list(VpcEndpoint, vpc_id=vpc.id)
        INTERFACE_ENDPOINTS_PER_VPC.check(sum(one.endpoint_type == "Interface" for one in present))
        private_dns = params.get("PrivateDnsEnabled", True)
        if private_dns:
            check_private_dns(context, vpc, endpoint)
        groups = endpoint_groups(context, vpc, params.get("SecurityGroupIds", ()))
        endpoint = replace(endpoint, groups=groups, private_dns=private_dns, state="pending")
        configurations = params.get("SubnetConfigurations", ())
        endpoint = add_subnets(context, endpoint, params.get("SubnetIds", ()), configurations)
    made = context.tx.put(endpoint)
    return {"VpcEndpoint": draw_endpoint(context, made), "ClientToken": params.get("ClientToken")}


def _check_parameters(context: Context, params: "CreateVpcEndpointRequestTypeDef", endpoint_type: str) -> None:
    """Raises for parameters of other types of endpoints, and for what this cloud does not have."""
    for name, message in (_INTERFACE_ONLY if endpoint_type == "Gateway" else _GATEWAY_ONLY).items():
        if params.get(name):
            raise InvalidParameter(message)
    for name in ("ServiceNetworkArn", "ResourceConfigurationArn"):
        if params.get(name):
            raise InvalidParameter(f"The parameter {name} is not supported for {endpoint_type} type VPC Endpoint.")
    if params.get("ServiceRegion", context.region) != context.region:
        raise InvalidParameter("The parameter ServiceRegion: endpoints of services of other regions are not available.")
    check_dns_options(params)


@ec2.writes("DeleteVpcEndpoints", resources=("vpc-endpoint:VpcEndpointIds",))
def delete_vpc_endpoints(context: Context, params: "DeleteVpcEndpointsRequestTypeDef") -> dict[str, Any]:
    """Deletes endpoints. Those that can't be are in the answer, with the reason; the others go all the same."""
    unsuccessful: list[dict[str, Any]] = []
    for id_ in dict.fromkeys(params["VpcEndpointIds"]):
        try:
            endpoint = VPC_ENDPOINT.one(context, id_)
        except ServiceError as error:
            code = error.code if error.code.endswith("Malformed") else "InvalidVpcEndpoint.NotFound"
            unsuccessful.append({"ResourceId": id_, "Error": {"Code": code, "Message": error.message}})
            continue
        remove_routes(context, endpoint, endpoint.route_table_ids)
        context.tx.put(replace(endpoint, route_table_ids=(), state="deleting"))
    return {"Unsuccessful": unsuccessful}
