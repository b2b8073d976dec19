"""Elastic IPs are bound to private addresses of interfaces, and moved between them without the guests noticing."""

from typing import TYPE_CHECKING, Any

from pileus.base.errors import ServiceError
from pileus.operations.context import Context
from pileus.records import Address, CarrierGateway, Instance, InternetGateway, NetworkInterface, Subnet
from pileus.records.instance import State
from pileus.records.network_interface import PrivateAddress
from pileus.services.ec2.address_binding import bind_address, unbind_address
from pileus.services.ec2.addresses import one_address
from pileus.services.ec2.errors import (
    IncorrectInstanceState,
    InvalidParameterCombination,
    InvalidParameterValue,
    MissingParameter,
    NotAuthorized,
    NotFound,
)
from pileus.services.ec2.network_interfaces import only_interface
from pileus.services.ec2.regions import zone_of
from pileus.services.ec2.resources import INSTANCE, NETWORK_INTERFACE
from pileus.services.ec2.service import ec2

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import AssociateAddressRequestTypeDef, DisassociateAddressRequestTypeDef


class AlreadyAssociated(ServiceError):
    """The Elastic IP or the private address has an association, and AllowReassociation is off."""

    code = "Resource.AlreadyAssociated"


class GatewayNotAttached(ServiceError):
    """The VPC has no internet gateway, without which public addresses mean nothing."""

    code = "Gateway.NotAttached"


def _target(context: Context, params: "AssociateAddressRequestTypeDef") -> tuple[NetworkInterface, PrivateAddress]:
    """What AssociateAddress means: an address of the interface that it names, or of the instance's only one."""
    interface_id, instance_id = params.get("NetworkInterfaceId"), params.get("InstanceId")
    if interface_id and instance_id:
        raise InvalidParameterCombination(
            "You may specify instance id or network interface id, but not both in the same call"
        )
    if interface_id:
        interface = NETWORK_INTERFACE.one(context, interface_id)
    elif instance_id:
        interface = _interface_of(context, INSTANCE.one(context, instance_id))
    else:
        raise MissingParameter("InstanceId or NetworkInterfaceId")
    if interface.requester_id is not None:
        raise NotAuthorized("You do not have permission to access the specified resource.")
    wanted = params.get("PrivateIpAddress") or interface.private_address
    for one in interface.addresses:
        if one.address == wanted:
            return interface, one
    raise InvalidParameterValue(
        f"Value ({wanted}) for parameter privateIpAddress is invalid. It is not an address of {interface.id}"
    )


def _interface_of(context: Context, instance: Instance) -> NetworkInterface:
    if instance.state is State.PENDING:
        raise IncorrectInstanceState(
            f"The pending instance '{instance.id}' is not in a valid state for this operation.",
            code="InvalidInstanceID",
        )
    if not instance.live:
        raise IncorrectInstanceState(
            f"The instance '{instance.id}' is not in a valid state for this operation.", code="InvalidInstanceID"
        )
    return only_interface(context, instance)


@ec2.writes(
    "AssociateAddress",
    resources=("elastic-ip:AllocationId", "instance:InstanceId", "network-interface:NetworkInterfaceId"),
)
def associate_address(context: Context, params: "AssociateAddressRequestTypeDef") -> dict[str, Any]:
    """Binds an Elastic IP to a private address. It moves from where it was unless AllowReassociation is false."""
    address = one_address(context, params)
    interface, current = _target(context, params)
    if (address.interface_id, address.private_address) == (interface.id, current.address):
        return {"AssociationId": address.association_id}
    _check_not_managed(context, address)
    if address.association_id and params.get("AllowReassociation") is False:
        raise AlreadyAssociated(
            f"resource {address.id} is already associated with associate-id {address.association_id}"
        )
    if current.address_id and not params.get("AllowReassociation"):
        raise AlreadyAssociated(
            f"resource {interface.id} is already associated with associate-id {current.association_id}"
        )
    check_reachable(context, address, interface)
    return {"AssociationId": bind_address(context, address, interface, current.address)}


def check_reachable(context: Context, address: Address, interface: NetworkInterface) -> None:
    """Whether an Elastic IP can be at an interface.

    Raises:
        InvalidParameterValue: they are in different network border groups.
        GatewayNotAttached: the interface's VPC has no internet gateway (carrier gateway).
    """
    subnet = context.view.get(Subnet, interface.subnet_id)
    zone = zone_of(subnet) if subnet else None
    group = zone.network_border_group if zone else interface.region
    if group != address.border_group:
        raise InvalidParameterValue(
            f"The address {address.public_address} of the network border group {address.border_group} can't be "
            f"associated with '{interface.id}', which is in {group}."
        )
    if not context.view.list(CarrierGateway if address.carrier else InternetGateway, vpc_id=interface.vpc_id):
        kind = "carrier" if address.carrier else "internet"
        raise GatewayNotAttached(f"Network {interface.vpc_id} is not attached to any {kind} gateway")


def _check_not_managed(context: Context, address: Address) -> None:
    """Raises NotAuthorized where the Elastic IP is at an interface that the cloud manages (a NAT gateway's)."""
    interface = context.view.get(NetworkInterface, address.interface_id) if address.interface_id else None
    if interface is not None and interface.requester_id is not None:
        raise NotAuthorized("You do not have permission to access the specified resource.")


@ec2.writes("DisassociateAddress", resources=("elastic-ip:AssociationId",))
def disassociate_address(context: Context, params: "DisassociateAddressRequestTypeDef") -> dict[str, Any]:
    """Unbinds an Elastic IP. A running instance gets a public address of the pool again where it was launched with one."""
    address = _associated(context, params)
    if address.interface_id is None:
        return {}
    _check_not_managed(context, address)
    unbind_address(context, address)
    return {}


def _associated(context: Context, params: "DisassociateAddressRequestTypeDef") -> Address:
    association, public = params.get("AssociationId"), params.get("PublicIp")
    if association and public:
        raise InvalidParameterCombination("You may specify public IP or association id, but not both in the same call")
    if public:
        return one_address(context, {"PublicIp": public})
    if not association:
        raise MissingParameter("AssociationId")
    for address in context.view.list(Address, account=context.account, region=context.region):
        if address.association_id == association:
            return address
    raise NotFound(f"The association ID '{association}' does not exist", code="InvalidAssociationID.NotFound")
