"""CIDR reservations of subnets: addresses that are given out only when they are asked for."""

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TYPE_CHECKING, Any

from pileus.base.errors import ServiceError
from pileus.base.ids import new_id
from pileus.operations.context import Context
from pileus.operations.listing import Listing
from pileus.operations.tags import tag_set, tags_for
from pileus.records import Subnet, SubnetReservation
from pileus.services.ec2.cidr_rules import parse_ipv4, parse_ipv6
from pileus.services.ec2.errors import InvalidParameterValue
from pileus.services.ec2.resources import SUBNET, SUBNET_RESERVATION
from pileus.services.ec2.service import ec2

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import (
        CreateSubnetCidrReservationRequestTypeDef,
        DeleteSubnetCidrReservationRequestTypeDef,
        GetSubnetCidrReservationsRequestTypeDef,
    )

_USES = ("prefix", "explicit")


class OverlapsReservation(ServiceError):
    """The CIDR is reserved already, in part or whole."""

    code = "InvalidCidrReservation.Conflict"


def _draw(_: Context, reservation: SubnetReservation) -> dict[str, Any]:
    return {
        "SubnetCidrReservationId": reservation.id,
        "SubnetId": reservation.subnet_id,
        "Cidr": reservation.cidr,
        "ReservationType": reservation.use,
        "OwnerId": reservation.account,
        "Description": reservation.description,
        "Tags": tag_set(reservation.tags),
    }


@ec2.writes("CreateSubnetCidrReservation", resources=("subnet:SubnetId",), taggable=("subnet-cidr-reservation",))
def create_subnet_cidr_reservation(
    context: Context, params: "CreateSubnetCidrReservationRequestTypeDef"
) -> dict[str, Any]:
    """Reserves a CIDR of a subnet. Addresses of it that are in use stay in use."""
    subnet = SUBNET.one(context, params["SubnetId"])
    use = params["ReservationType"]
    if use not in _USES:
        raise InvalidParameterValue(f"Value ({use}) for parameter reservationType is invalid.")
    cidr = _cidr(subnet, params["Cidr"])
    for other in context.view.list(SubnetReservation, subnet_id=subnet.id):
        if ip_network(other.cidr).overlaps(cidr):
            raise OverlapsReservation(f"CIDR {cidr} overlaps existing CIDR reservation")
    reservation = context.tx.put(
        SubnetReservation(
            id=new_id("scr"),
            account=context.account,
            region=context.region,
            tags=tags_for(params, "subnet-cidr-reservation"),
            subnet_id=subnet.id,
            cidr=str(cidr),
            use=use,
            description=params.get("Description"),
        )
    )
    return {"SubnetCidrReservation": _draw(context, reservation)}


def _cidr(subnet: Subnet, text: str) -> IPv4Network | IPv6Network:
    if ":" in text:
        cidr = parse_ipv6(text, "cidr")
        inside = subnet.ipv6_block is not None and cidr.subnet_of(IPv6Network(subnet.ipv6_block.cidr))
    else:
        cidr = parse_ipv4(text, "cidr")
        inside = cidr.subnet_of(IPv4Network(subnet.cidr))
    if not inside:
        raise InvalidParameterValue(
            f"Value ({text}) for parameter cidr is invalid. It is not within a CIDR block of subnet '{subnet.id}'."
        )
    return cidr


@ec2.writes("DeleteSubnetCidrReservation", resources=("subnet-cidr-reservation:SubnetCidrReservationId",))
def delete_subnet_cidr_reservation(
    context: Context, params: "DeleteSubnetCidrReservationRequestTypeDef"
) -> dict[str, Any]:
    """Ends a reservation."""
    reservation = SUBNET_RESERVATION.one(context, params["SubnetCidrReservationId"])
    context.tx.delete(reservation)
    return {"DeletedSubnetCidrReservation": _draw(context, reservation)}


_RESERVATIONS = Listing(
    kind=SubnetReservation,
    member="Reservations",
    draw=_draw,
    filters={
        "reservationType": lambda _, reservation: reservation.use,
        "subnet-id": lambda _, reservation: reservation.subnet_id,
    },
)


@ec2.reads("GetSubnetCidrReservations", resources=("subnet:SubnetId",))
def get_subnet_cidr_reservations(context: Context, params: "GetSubnetCidrReservationsRequestTypeDef") -> dict[str, Any]:
    """The reservations of a subnet, by address family."""
    subnet = SUBNET.one(context, params["SubnetId"])
    found, token = _RESERVATIONS.select(context, params, lambda one: one.subnet_id == subnet.id)
    return {
        "SubnetIpv4CidrReservations": [_draw(context, one) for one in found if ":" not in one.cidr],
        "SubnetIpv6CidrReservations": [_draw(context, one) for one in found if ":" in one.cidr],
        "NextToken": token,
    }
