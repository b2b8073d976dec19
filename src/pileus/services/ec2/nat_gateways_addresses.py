"""What NAT gateways send from: further Elastic IPs of public ones, further private addresses of private ones."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from pileus.operations.context import Context
from pileus.records import Address, NatGateway, NetworkInterface, Subnet
from pileus.records.subnet import subnet_scope
from pileus.services.ec2.address_binding import bind_address, detach_public_address
from pileus.services.ec2.errors import (
    IncorrectState,
    InvalidParameterCombination,
    InvalidParameterValue,
    MissingParameter,
    NotFound,
)
from pileus.services.ec2.interface_addresses import Wanted, count, distinct, ipv4, take_all
from pileus.services.ec2.internet_gateways import AlreadyAttached
from pileus.services.ec2.nat_gateways import addresses_of, check_addresses, check_size, draw_addresses
from pileus.services.ec2.resources import ADDRESS, NAT_GATEWAY
from pileus.services.ec2.service import ec2

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import (
        AssignPrivateNatGatewayAddressRequestTypeDef,
        AssociateNatGatewayAddressRequestTypeDef,
        DisassociateNatGatewayAddressRequestTypeDef,
        UnassignPrivateNatGatewayAddressRequestTypeDef,
    )

_LONGEST_DRAIN = 4000


def _available(context: Context, nat_id: str, connectivity: str) -> tuple[NatGateway, NetworkInterface]:
    """The gateway and its interface. Raises IncorrectState, InvalidParameterValue when it is not of this kind."""
    nat = NAT_GATEWAY.one(context, nat_id)
    if nat.connectivity != connectivity:
        raise InvalidParameterValue(
            f"Value ({nat_id}) for parameter natGatewayId is invalid. It is not a {connectivity} NAT gateway."
        )
    if nat.state != "available":
        raise IncorrectState(f"NatGateway {nat.id} is in the state {nat.state}; it must be available.")
    interface = context.tx.get(NetworkInterface, nat.interface_id)
    assert interface is not None, f"{nat.id} is available, but its interface is gone"
    return nat, interface


def _extend(context: Context, interface: NetworkInterface, wanted: Wanted) -> Sequence[str]:
    """Gives the interface further private addresses: those that are new."""
    subnet = context.tx.get(Subnet, interface.subnet_id)
    assert subnet is not None, f"{interface.id} is in a subnet that is gone"
    after = context.tx.put(take_all(context.tx, subnet, interface, wanted))
    known = {one.address for one in interface.addresses}
    return [one.address for one in after.addresses if one.address not in known]


def _answer(context: Context, nat: NatGateway, changed: Sequence[str], status: str) -> dict[str, Any]:
    """Writes down what the interface has now; the answer says what becomes of the ``changed`` private addresses."""
    after = context.tx.put(replace(nat, addresses=addresses_of(context, nat.interface_id)))
    shown = {one.private_address: one for one in (*nat.addresses, *after.addresses)}
    named = replace(nat, addresses=tuple(shown[address] for address in changed))
    return {"NatGatewayId": nat.id, "NatGatewayAddresses": draw_addresses(named, status)}


@ec2.writes("AssociateNatGatewayAddress", resources=("natgateway:NatGatewayId", "elastic-ip:AllocationIds"))
def associate_nat_gateway_address(
    context: Context, params: "AssociateNatGatewayAddressRequestTypeDef"
) -> dict[str, Any]:
    """Gives a public gateway further Elastic IPs, each with a private address of its own."""
    nat, interface = _available(context, params["NatGatewayId"], "public")
    addresses: list[Address] = ADDRESS.find(context, distinct(params["AllocationIds"], "allocationIds"))
    if not addresses:
        raise MissingParameter("allocationIds")
    named = distinct([ipv4(one) for one in params.get("PrivateIpAddresses", ())], "privateIpAddresses")
    if len(named) > len(addresses):
        raise InvalidParameterCombination("There are more privateIpAddresses than allocationIds.")
    for address in addresses:
        if address.association_id:
            raise AlreadyAttached(f"Elastic IP address [{address.id}] is already associated")
    check_size(len(nat.addresses) + len(addresses))
    subnet = context.tx.get(Subnet, nat.subnet_id)
    assert subnet is not None, f"{nat.id} is in a subnet that is gone"
    check_addresses(addresses, subnet)
    wanted = Wanted(secondary=named, secondary_count=len(addresses) - len(named))
    private = _extend(context, interface, wanted)
    for one, address in zip(private, addresses, strict=True):
        bind_address(context, address, interface, one)
    return _answer(context, nat, private, "associating")


def _drain(params: Any) -> None:
    seconds = params.get("MaxDrainDurationSeconds")
    if seconds is not None and not 1 <= seconds <= _LONGEST_DRAIN:
        raise InvalidParameterValue(
            f"Value ({seconds}) for parameter maxDrainDurationSeconds is invalid. "
            f"It must be between 1 and {_LONGEST_DRAIN}."
        )


def _drop(context: Context, nat: NatGateway, interface: NetworkInterface, leaving: Sequence[str], status: str) -> Any:
    """Takes private addresses and their Elastic IPs from a gateway. Raises InvalidParameterValue: one is the primary."""
    if interface.private_address in leaving:
        raise InvalidParameterValue(
            f"The primary address {interface.private_address} can't be taken from the NAT gateway '{nat.id}'."
        )
    for private in leaving:
        interface = detach_public_address(context.tx, interface, private)
        context.tx.release(subnet_scope(interface.subnet_id), private)
    left = tuple(one for one in interface.addresses if one.address not in leaving)
    context.tx.put(replace(interface, addresses=left))
    return _answer(context, nat, leaving, status)


@ec2.writes("DisassociateNatGatewayAddress", resources=("natgateway:NatGatewayId",))
def disassociate_nat_gateway_address(
    context: Context, params: "DisassociateNatGatewayAddressRequestTypeDef"
) -> dict[str, Any]:
    """Takes Elastic IPs from a public gateway, all but the primary one."""
    nat, interface = _available(context, params["NatGatewayId"], "public")
    _drain(params)
    by_association = {one.association_id: one.private_address for one in nat.addresses}
    wanted = distinct(params["AssociationIds"], "associationIds")
    if not wanted:
        raise MissingParameter("associationIds")
    for association in wanted:
        if association not in by_association:
            raise NotFound(f"The association ID '{association}' does not exist", code="InvalidAssociationID.NotFound")
    return _drop(context, nat, interface, [by_association[one] for one in wanted], "disassociating")


@ec2.writes("AssignPrivateNatGatewayAddress", resources=("natgateway:NatGatewayId",))
def assign_private_nat_gateway_address(
    context: Context, params: "AssignPrivateNatGatewayAddressRequestTypeDef"
) -> dict[str, Any]:
    """Gives a private gateway further addresses of its subnet."""
    nat, interface = _available(context, params["NatGatewayId"], "private")
    named = distinct([ipv4(one) for one in params.get("PrivateIpAddresses", ())], "privateIpAddresses")
    more = count(params, "PrivateIpAddressCount")
    if named and more:
        raise InvalidParameterCombination(
            "The parameters privateIpAddresses and privateIpAddressCount cannot be used together."
        )
    if not named and not more:
        raise MissingParameter("privateIpAddresses or privateIpAddressCount")
    check_size(len(nat.addresses) + len(named) + more)
    private = _extend(context, interface, Wanted(secondary=named, secondary_count=more))
    return _answer(context, nat, private, "assigning")


@ec2.writes("UnassignPrivateNatGatewayAddress", resources=("natgateway:NatGatewayId",))
def unassign_private_nat_gateway_address(
    context: Context, params: "UnassignPrivateNatGatewayAddressRequestTypeDef"
) -> dict[str, Any]:
    """Takes addresses from a private gateway, all but the primary one."""
    nat, interface = _available(context, params["NatGatewayId"], "private")
    _drain(params)
    leaving = distinct([ipv4(one) for one in params["PrivateIpAddresses"]], "privateIpAddresses")
    if not leaving:
        raise MissingParameter("privateIpAddresses")
    known = {one.private_address for one in nat.addresses}
    for private in leaving:
        if private not in known:
            raise InvalidParameterValue(
                f"Value ({private}) for parameter privateIpAddresses is invalid. It is not an address of '{nat.id}'."
            )
    return _drop(context, nat, interface, leaving, "unassigning")
