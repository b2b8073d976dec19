"""NAT gateways: made and deleted. What they send from is in ``nat_gateways_addresses``; ``controllers`` settle them."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from pileus.base.ids import new_id
from pileus.operations.context import Context
from pileus.operations.listing import Listing
from pileus.operations.tags import tag_set, tags_for
from pileus.records import Address, InternetGateway, NatGateway, NetworkInterface, Subnet
from pileus.records.nat_gateway import NatAddress
from pileus.services.ec2.address_binding import bind_address
from pileus.services.ec2.errors import (
    InsufficientFreeAddressesInSubnet,
    InvalidParameterCombination,
    InvalidParameterValue,
    LimitExceeded,
    MissingParameter,
    Unsupported,
)
from pileus.services.ec2.interface_addresses import Wanted, count, distinct, ipv4
from pileus.services.ec2.interface_creation import AMAZON, make_interface
from pileus.services.ec2.resources import ADDRESS, NAT_GATEWAY, SUBNET
from pileus.services.ec2.service import ec2
from pileus.services.ec2.vpc_quotas import NAT_GATEWAYS_PER_ZONE

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import (
        CreateNatGatewayRequestTypeDef,
        DeleteNatGatewayRequestTypeDef,
        DescribeNatGatewaysRequestTypeDef,
    )

MOST_ADDRESSES = 8
"""Addresses that a NAT gateway sends from, at most."""


class _Failure(msgspec.Struct, frozen=True):
    """Why a gateway can't be had: it is shown as failed, with this."""

    code: str
    message: str


def draw_addresses(nat: NatGateway, status: str | None = None) -> list[dict[str, Any]]:
    """A gateway's addresses as answers have them."""
    done = status or ("succeeded" if nat.state in {"available", "deleting", "deleted"} else None)
    return [
        {
            "AllocationId": one.allocation_id,
            "AssociationId": one.association_id,
            "PublicIp": one.public_address,
            "PrivateIp": one.private_address or None,
            "NetworkInterfaceId": nat.interface_id if one.private_address else None,
            "IsPrimary": one.primary,
            "Status": done or ("failed" if nat.state == "failed" else _pending(nat)),
        }
        for one in nat.addresses
    ]


def _pending(nat: NatGateway) -> str:
    return "associating" if nat.connectivity == "public" else "assigning"


def _draw(_: Context, nat: NatGateway) -> dict[str, Any]:
    failed = nat.state == "failed"
    return {
        "NatGatewayId": nat.id,
        "VpcId": nat.vpc_id,
        "SubnetId": nat.subnet_id,
        "State": nat.state,
        "ConnectivityType": nat.connectivity,
        "AvailabilityMode": "zonal",
        "CreateTime": nat.created,
        "DeleteTime": nat.deleted,
        "FailureCode": nat.failure_code if failed else None,
        "FailureMessage": nat.failure_message if failed else None,
        "NatGatewayAddresses": draw_addresses(nat),
        "Tags": tag_set(nat.tags),
    }


NAT_GATEWAYS = Listing(
    kind=NatGateway,
    member="NatGateways",
    draw=_draw,
    ids="NatGatewayIds",
    find=NAT_GATEWAY.find,
    filters={
        "nat-gateway-id": lambda _, nat: nat.id,
        "state": lambda _, nat: nat.state,
        "subnet-id": lambda _, nat: nat.subnet_id,
        "vpc-id": lambda _, nat: nat.vpc_id,
    },
)


@ec2.reads("DescribeNatGateways")
def describe_nat_gateways(context: Context, params: "DescribeNatGatewaysRequestTypeDef") -> dict[str, Any]:
    """The caller's NAT gateways; deleted and failed ones for an hour."""
    return NAT_GATEWAYS.answer(context, {**params, "Filters": params.get("Filter", ())})


@ec2.writes(
    "CreateNatGateway",
    resources=("natgateway:*", "subnet:SubnetId", "elastic-ip:AllocationId"),
    idempotent=True,
    taggable=("natgateway",),
)
def create_nat_gateway(context: Context, params: "CreateNatGatewayRequestTypeDef") -> dict[str, Any]:
    """A gateway in a subnet, which is pending at first. What is wrong with its VPC or its address makes it fail then."""
    public = _is_public(params)
    subnet_id = params.get("SubnetId")
    if not subnet_id:
        raise MissingParameter("SubnetId")
    subnet = SUBNET.one(context, subnet_id)
    wanted = _wanted(params, public=public)
    named = [allocation for name in ("AllocationId",) if (allocation := params.get(name))]
    named += params.get("SecondaryAllocationIds", ())
    addresses: list[Address] = ADDRESS.find(context, distinct(named, "secondaryAllocationIds"))
    check_addresses(addresses, subnet)
    _check_quota(context, subnet)
    nat = NatGateway(
        id=new_id("nat"),
        account=context.account,
        region=context.region,
        tags=tags_for(params, "natgateway"),
        vpc_id=subnet.vpc_id,
        subnet_id=subnet.id,
        interface_id=new_id("eni"),
        connectivity="public" if public else "private",
        addresses=(),
        created=context.now,
    )
    failure = _failure(context, subnet, addresses) if public else None
    made = _fail(nat, failure, addresses) if failure else _equip(context, nat, subnet, wanted, addresses)
    return {"NatGateway": _draw(context, context.tx.put(made)), "ClientToken": params.get("ClientToken")}


def _is_public(params: "CreateNatGatewayRequestTypeDef") -> bool:
    """Whether a public gateway is asked for. Raises for parameters that do not go together."""
    if params.get("AvailabilityMode", "zonal") != "zonal" or params.get("AvailabilityZoneAddresses"):
        raise Unsupported("The parameter availabilityMode: NAT gateways are zonal in this cloud.")
    if params.get("VpcId"):
        raise InvalidParameterCombination("The parameter vpcId can only be used with the availabilityMode regional.")
    connectivity = params.get("ConnectivityType", "public")
    if connectivity not in {"public", "private"}:
        raise InvalidParameterValue(
            f"Value ({connectivity}) for parameter connectivityType is invalid. Valid values: public, private."
        )
    public = connectivity == "public"
    if public and not params.get("AllocationId"):
        raise MissingParameter("AllocationId")
    alien = ("SecondaryPrivateIpAddressCount",) if public else ("AllocationId", "SecondaryAllocationIds")
    for name in alien:
        if params.get(name):
            raise InvalidParameterCombination(
                f"The parameter {name} cannot be used with the connectivityType {connectivity}."
            )
    return public


def _wanted(params: Mapping[str, Any], *, public: bool) -> Wanted:
    """The private addresses that are asked for: a public gateway has one for each Elastic IP."""
    primary = params.get("PrivateIpAddress")
    named = distinct(
        [ipv4(one) for one in params.get("SecondaryPrivateIpAddresses", ())], "SecondaryPrivateIpAddresses"
    )
    more = count(params, "SecondaryPrivateIpAddressCount")
    if named and more:
        raise InvalidParameterCombination(
            "The parameters SecondaryPrivateIpAddresses and SecondaryPrivateIpAddressCount cannot be used together."
        )
    if public:
        more = len(params.get("SecondaryAllocationIds", ())) - len(named)
        if more < 0:
            raise InvalidParameterCombination("There are more SecondaryPrivateIpAddresses than SecondaryAllocationIds.")
    check_size(1 + len(named) + more)
    return Wanted(primary=ipv4(primary) if primary else None, secondary=named, secondary_count=more)


def check_size(addresses: int) -> None:
    """Raises LimitExceeded for more addresses than a gateway may have."""
    if addresses > MOST_ADDRESSES:
        raise LimitExceeded(
            f"The NAT gateway would have {addresses} addresses, more than {MOST_ADDRESSES}.",
            code="PrivateIpAddressLimitExceeded",
        )


def check_addresses(addresses: Sequence[Address], subnet: Subnet) -> None:
    """Raises InvalidParameterValue for Elastic IPs that are not of the network border group of the subnet."""
    for address in addresses:
        if address.carrier:
            raise InvalidParameterValue(
                f"The address '{address.id}' of the network border group {address.border_group} can't be used in the "
                f"subnet '{subnet.id}'."
            )


def _check_quota(context: Context, subnet: Subnet) -> None:
    subnets = [one.id for one in context.tx.list(Subnet, account=context.account, zone=subnet.zone)]
    present = [nat for one in subnets for nat in context.tx.list(NatGateway, subnet_id=one)]
    NAT_GATEWAYS_PER_ZONE.check(sum(nat.state in {"pending", "available", "deleting"} for nat in present))


def _failure(context: Context, subnet: Subnet, addresses: Sequence[Address]) -> _Failure | None:
    """Why this gateway can't be had; the codes are those of NatGateway.FailureCode."""
    if not context.view.list(InternetGateway, vpc_id=subnet.vpc_id):
        return _Failure("Gateway.NotAttached", f"Network {subnet.vpc_id} has no Internet gateway attached")
    for address in addresses:
        if address.association_id:
            return _Failure("Resource.AlreadyAssociated", f"Elastic IP address [{address.id}] is already associated")
    return None


def _fail(nat: NatGateway, failure: _Failure, addresses: Sequence[Address]) -> NatGateway:
    """A gateway that is going to fail; it has nothing but the names of what was asked for."""
    named = tuple(
        NatAddress(private_address="", allocation_id=address.id, primary=place == 0)
        for place, address in enumerate(addresses)
    )
    return replace(nat, addresses=named, failure_code=failure.code, failure_message=failure.message)


def _equip(
    context: Context, nat: NatGateway, subnet: Subnet, wanted: Wanted, addresses: Sequence[Address]
) -> NatGateway:
    """The gateway with its interface, private addresses, and its Elastic IPs bound to those."""
    try:
        interface = make_interface(
            context,
            subnet,
            wanted=wanted,
            description=f"Interface for NAT Gateway {nat.id}",
            interface_type="nat_gateway",
            requester_id=AMAZON,
            source_dest_check=False,
        )
    except InsufficientFreeAddressesInSubnet:
        failure = _Failure(
            "InsufficientFreeAddressesInSubnet",
            f"Subnet {subnet.id} has insufficient free addresses to create this NAT gateway",
        )
        return _fail(nat, failure, addresses)
    for private, address in zip(interface.addresses, addresses, strict=False):
        bind_address(context, address, interface, private.address)
    return replace(nat, interface_id=interface.id, addresses=addresses_of(context, interface.id))


def addresses_of(context: Context, interface_id: str) -> tuple[NatAddress, ...]:
    """What the interface of a gateway has now, as the gateway's addresses."""
    interface = context.view.get(NetworkInterface, interface_id)
    assert interface is not None, f"{interface_id} was just there"
    return tuple(
        NatAddress(
            private_address=one.address,
            public_address=one.public,
            allocation_id=one.address_id,
            association_id=one.association_id,
            primary=place == 0,
        )
        for place, one in enumerate(interface.addresses)
    )


@ec2.writes("DeleteNatGateway", resources=("natgateway:NatGatewayId",))
def delete_nat_gateway(context: Context, params: "DeleteNatGatewayRequestTypeDef") -> dict[str, Any]:
    """Lets a gateway go, which frees its addresses. Routes that lead to it become black holes at once."""
    nat = NAT_GATEWAY.one(context, params["NatGatewayId"])
    if nat.state == "deleted":
        raise NAT_GATEWAY.not_found([nat.id])
    if nat.state != "deleting":
        context.tx.put(replace(nat, state="deleting"))
    return {"NatGatewayId": nat.id}
