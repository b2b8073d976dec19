"""Elastic IP addresses, and the public addresses that interfaces get by themselves."""

from typing import TYPE_CHECKING, Any

from pileus.base.errors import ServiceError
from pileus.base.ids import new_id
from pileus.operations.context import Context
from pileus.operations.filters import constant
from pileus.operations.listing import Listing
from pileus.operations.tags import tag_set, tags_for
from pileus.records import Address, Instance, NetworkInterface
from pileus.records.address import pool_scope
from pileus.services.ec2.address_binding import bind_address, is_public, take_public_address, unbind_address
from pileus.services.ec2.errors import (
    IncorrectInstanceState,
    InvalidParameterCombination,
    InvalidParameterValue,
    MissingParameter,
    NotFound,
)
from pileus.services.ec2.network_interfaces import only_interface
from pileus.services.ec2.resources import ADDRESS, INSTANCE, NETWORK_INTERFACE
from pileus.services.ec2.service import ec2
from pileus.services.ec2.vpc_quotas import ELASTIC_IPS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from types_boto3_ec2.type_defs import (
        AllocateAddressRequestTypeDef,
        AssociateAddressRequestTypeDef,
        DescribeAddressesRequestTypeDef,
        DisassociateAddressRequestTypeDef,
        ReleaseAddressRequestTypeDef,
    )


class AddressInUse(ServiceError):
    """The Elastic IP is associated."""

    code = "InvalidIPAddress.InUse"


class AlreadyAssociated(ServiceError):
    """The Elastic IP or the interface has an association, and AllowReassociation is off."""

    code = "Resource.AlreadyAssociated"


def _draw(_: Context, address: Address) -> dict[str, Any]:
    return {
        "AllocationId": address.id,
        "PublicIp": address.public_address,
        "PublicIpv4Pool": "amazon",
        "Domain": "vpc",
        "NetworkBorderGroup": address.border_group,
        "AssociationId": address.association_id,
        "InstanceId": address.instance_id or ("" if address.association_id else None),
        "NetworkInterfaceId": address.interface_id,
        "NetworkInterfaceOwnerId": address.interface_account,
        "PrivateIpAddress": address.private_address,
        "Tags": tag_set(address.tags),
    }


def _find_by_address(context: Context, addresses: "Sequence[str]") -> list[Address]:
    found: list[Address] = []
    for public in addresses:
        held = context.view.list(Address, account=context.account, region=context.region, public_address=public)
        if not held:
            raise NotFound(f"Address '{public}' not found.", code="InvalidAddress.NotFound")
        found.extend(held)
    return found


ADDRESSES = Listing(
    kind=Address,
    member="Addresses",
    draw=_draw,
    ids="AllocationIds",
    find=ADDRESS.find,
    page=None,
    filters={
        "allocation-id": lambda _, address: address.id,
        "association-id": lambda _, address: address.association_id,
        "domain": constant("vpc"),
        "instance-id": lambda _, address: address.instance_id,
        "network-border-group": lambda _, address: address.border_group,
        "network-interface-id": lambda _, address: address.interface_id,
        "network-interface-owner-id": lambda _, address: address.interface_account,
        "private-ip-address": lambda _, address: address.private_address,
        "public-ip": lambda _, address: address.public_address,
    },
)


@ec2.reads("DescribeAddresses")
def describe_addresses(context: Context, params: "DescribeAddressesRequestTypeDef") -> dict[str, Any]:
    """The caller's Elastic IPs."""
    named = [address.id for address in _find_by_address(context, params.get("PublicIps", ()))]
    return ADDRESSES.answer(context, {**params, "AllocationIds": [*params.get("AllocationIds", ()), *named]})


@ec2.writes("AllocateAddress", resources=("elastic-ip:*",), taggable=("elastic-ip",))
def allocate_address(context: Context, params: "AllocateAddressRequestTypeDef") -> dict[str, Any]:
    """A new Elastic IP, or a certain one of the pool."""
    if params.get("Domain", "vpc") not in {"vpc", "standard"}:
        raise InvalidParameterValue(
            f"Invalid value '{params.get('Domain')}' for domain. Expecting 'vpc' or 'standard'."
        )
    group = params.get("NetworkBorderGroup", context.region)
    if group != context.region:
        raise InvalidParameterValue(
            f"Invalid value '{group}' for networkBorderGroup. It is not a group of this region."
        )
    pool = params.get("PublicIpv4Pool", "amazon")
    if pool != "amazon":
        raise NotFound(f"The pool ID '{pool}' does not exist", code="InvalidPublicIpv4PoolID.NotFound")
    ELASTIC_IPS.check(len(context.view.list(Address, account=context.account, region=context.region)))
    id_ = new_id("eipalloc")
    public = _take_wanted(context, params.get("Address"), id_)
    address = context.tx.put(
        Address(
            id=id_,
            account=context.account,
            region=context.region,
            public_address=public,
            allocated=context.now,
            border_group=group,
            tags=tags_for(params, "elastic-ip"),
        )
    )
    return {
        "AllocationId": address.id,
        "PublicIp": address.public_address,
        "PublicIpv4Pool": "amazon",
        "NetworkBorderGroup": group,
        "Domain": "vpc",
    }


def _take_wanted(context: Context, wanted: str | None, holder: str) -> str:
    if wanted is None:
        return take_public_address(context, context.tx, holder)
    try:
        inside = is_public(context.env.config.region(context.region), wanted)
    except ValueError as error:
        raise InvalidParameterValue(f"Value ({wanted}) for parameter address is invalid.") from error
    if not inside or context.tx.owner_of(pool_scope(context.region), wanted) is not None:
        raise NotFound(f"Address '{wanted}' not found.", code="InvalidAddress.NotFound")
    context.tx.claim(pool_scope(context.region), wanted, holder)
    return wanted


def _one(context: Context, params: "Any") -> Address:
    """The Elastic IP that a call names by AllocationId or PublicIp."""
    allocation, public = params.get("AllocationId"), params.get("PublicIp")
    if allocation and public:
        raise InvalidParameterCombination("You may specify public IP or allocation id, but not both in the same call")
    if allocation:
        return ADDRESS.one(context, allocation)
    if public:
        return _find_by_address(context, [public])[0]
    raise MissingParameter("AllocationId")


@ec2.writes("ReleaseAddress", resources=("elastic-ip:AllocationId",))
def release_address(context: Context, params: "ReleaseAddressRequestTypeDef") -> dict[str, Any]:
    """Gives an Elastic IP back to the pool."""
    address = _one(context, params)
    if address.association_id:
        raise AddressInUse(f"Address {address.public_address} is in use.")
    context.tx.release(pool_scope(context.region), address.public_address)
    context.tx.delete(address)
    return {}


def _target(context: Context, params: "AssociateAddressRequestTypeDef") -> NetworkInterface:
    """The interface that AssociateAddress means: named itself, or the instance's only one."""
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
    wanted = params.get("PrivateIpAddress")
    if wanted and wanted != interface.private_address:
        raise InvalidParameterValue(
            f"Value ({wanted}) for parameter privateIpAddress is invalid. It is not an address of {interface.id}"
        )
    return interface


def _interface_of(context: Context, instance: Instance) -> NetworkInterface:
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
    """Binds an Elastic IP to an interface. In a VPC it moves from where it was unless AllowReassociation is false."""
    address = _one(context, params)
    interface = _target(context, params)
    if address.interface_id == interface.id:
        return {"AssociationId": address.association_id}
    if address.association_id and params.get("AllowReassociation") is False:
        raise AlreadyAssociated(
            f"resource {address.id} is already associated with associate-id {address.association_id}"
        )
    current = interface.primary
    if current.address_id and not params.get("AllowReassociation"):
        raise AlreadyAssociated(
            f"resource {interface.id} is already associated with associate-id {current.association_id}"
        )
    return {"AssociationId": bind_address(context, address, interface, current.address)}


@ec2.writes("DisassociateAddress", resources=("elastic-ip:AssociationId",))
def disassociate_address(context: Context, params: "DisassociateAddressRequestTypeDef") -> dict[str, Any]:
    """Unbinds an Elastic IP. A running instance gets a public address of the pool again where its subnet gives one."""
    address = _associated(context, params)
    if address is None or address.interface_id is None:
        return {}
    unbind_address(context, address)
    return {}


def _associated(context: Context, params: "DisassociateAddressRequestTypeDef") -> Address | None:
    association, public = params.get("AssociationId"), params.get("PublicIp")
    if association and public:
        raise InvalidParameterCombination("You may specify public IP or association id, but not both in the same call")
    if public:
        return _find_by_address(context, [public])[0]
    if not association:
        raise MissingParameter("AssociationId")
    for address in context.view.list(Address, account=context.account, region=context.region):
        if address.association_id == association:
            return address
    raise NotFound(f"The association ID '{association}' does not exist", code="InvalidAssociationID.NotFound")
