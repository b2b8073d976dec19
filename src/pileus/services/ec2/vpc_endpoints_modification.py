"""ModifyVpcEndpoint."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from pileus.operations.context import Context
from pileus.records import Vpc, VpcEndpoint
from pileus.services.ec2.errors import IncorrectState, InvalidParameter, InvalidParameterCombination
from pileus.services.ec2.resources import VPC_ENDPOINT
from pileus.services.ec2.service import ec2
from pileus.services.ec2.vpc_endpoints_parts import (
    add_routes,
    add_subnets,
    check_dns_options,
    check_private_dns,
    endpoint_groups,
    endpoint_tables,
    remove_routes,
    set_groups,
)
from pileus.services.ec2.vpc_endpoints_policy import checked_policy

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import ModifyVpcEndpointRequestTypeDef

_GATEWAY = ("AddRouteTableIds", "RemoveRouteTableIds")
_INTERFACE = (
    "AddSubnetIds",
    "RemoveSubnetIds",
    "AddSecurityGroupIds",
    "RemoveSecurityGroupIds",
    "SubnetConfigurations",
    "PrivateDnsEnabled",
)


@ec2.writes(
    "ModifyVpcEndpoint",
    resources=(
        "vpc-endpoint:VpcEndpointId",
        "route-table:AddRouteTableIds",
        "subnet:AddSubnetIds",
        "security-group:AddSecurityGroupIds",
    ),
)
def modify_vpc_endpoint(context: Context, params: "ModifyVpcEndpointRequestTypeDef") -> dict[str, Any]:
    """Changes an endpoint's policy, and its tables, or its subnets, groups and names. All or nothing."""
    endpoint = VPC_ENDPOINT.one(context, params["VpcEndpointId"])
    if endpoint.state == "deleting":
        raise IncorrectState(f"The VPC endpoint {endpoint.id} is being deleted.")
    vpc = context.tx.get(Vpc, endpoint.vpc_id)
    assert vpc is not None, f"{endpoint.id} is of a VPC that is gone"
    for name in _INTERFACE if endpoint.endpoint_type == "Gateway" else _GATEWAY:
        if params.get(name):
            raise InvalidParameter(
                f"The parameter {name} is not supported for {endpoint.endpoint_type} type VPC Endpoint."
            )
    check_dns_options(params)
    endpoint = _with_policy(endpoint, params)
    if endpoint.endpoint_type == "Gateway":
        endpoint = _with_tables(context, vpc, endpoint, params)
    else:
        endpoint = _with_subnets(context, endpoint, params)
        endpoint = _with_groups(context, vpc, endpoint, params)
        private_dns = params.get("PrivateDnsEnabled", endpoint.private_dns)
        if private_dns and not endpoint.private_dns:
            check_private_dns(context, vpc, endpoint)
        endpoint = replace(endpoint, private_dns=private_dns)
    context.tx.put(endpoint)
    return {"Return": True}


def _with_policy(endpoint: VpcEndpoint, params: "ModifyVpcEndpointRequestTypeDef") -> VpcEndpoint:
    policy = checked_policy(params.get("PolicyDocument"))
    if params.get("ResetPolicy"):
        if policy is not None:
            raise InvalidParameterCombination(
                "The parameter policyDocument cannot be used with the parameter resetPolicy"
            )
        return replace(endpoint, policy=None)
    return replace(endpoint, policy=policy) if policy is not None else endpoint


def _check_present(ids: Sequence[str], present: Sequence[str], endpoint: VpcEndpoint, what: str) -> None:
    for id_ in ids:
        if id_ not in present:
            raise InvalidParameter(f"The {what} {id_} is not associated with the VPC endpoint {endpoint.id}")


def _with_tables(
    context: Context, vpc: Vpc, endpoint: VpcEndpoint, params: "ModifyVpcEndpointRequestTypeDef"
) -> VpcEndpoint:
    removed = params.get("RemoveRouteTableIds", ())
    _check_present(removed, endpoint.route_table_ids, endpoint, "route table")
    added = [id_ for id_ in params.get("AddRouteTableIds", ()) if id_ not in endpoint.route_table_ids]
    endpoint = remove_routes(context, endpoint, removed)
    return add_routes(context, endpoint, endpoint_tables(context, vpc, added))


def _with_subnets(context: Context, endpoint: VpcEndpoint, params: "ModifyVpcEndpointRequestTypeDef") -> VpcEndpoint:
    """Interfaces of subnets that are removed go a little later: the controllers remove them."""
    removed = params.get("RemoveSubnetIds", ())
    _check_present(removed, endpoint.subnet_ids, endpoint, "subnet")
    left = tuple(id_ for id_ in endpoint.subnet_ids if id_ not in removed)
    endpoint = replace(endpoint, subnet_ids=left)
    return add_subnets(context, endpoint, params.get("AddSubnetIds", ()), params.get("SubnetConfigurations", ()))


def _with_groups(
    context: Context, vpc: Vpc, endpoint: VpcEndpoint, params: "ModifyVpcEndpointRequestTypeDef"
) -> VpcEndpoint:
    removed, added = params.get("RemoveSecurityGroupIds", ()), params.get("AddSecurityGroupIds", ())
    if not removed and not added:
        return endpoint
    _check_present(removed, endpoint.groups, endpoint, "security group")
    left = [id_ for id_ in endpoint.groups if id_ not in removed]
    if not left and not added:
        raise InvalidParameter(f"The VPC endpoint {endpoint.id} must have at least one security group")
    return set_groups(context, endpoint, endpoint_groups(context, vpc, [*left, *added]))
