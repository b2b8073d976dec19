"""Elastic IP addresses: allocated, listed, released."""

from typing import TYPE_CHECKING, Any

from pileus.base.errors import ServiceError
from pileus.base.ids import new_id
from pileus.operations.context import Context
from pileus.operations.filters import constant
from pileus.operations.listing import Listing
from pileus.operations.tags import tag_set, tags_for
from pileus.records import Address
from pileus.records.address import pool_scope
from pileus.services.ec2.address_binding import is_public, take_public_address
from pileus.services.ec2.errors import (
    InvalidParameterCombination,
    InvalidParameterValue,
    MissingParameter,
    NotFound,
    Unsupported,
)
from pileus.services.ec2.regions import configured_zones
from pileus.services.ec2.resources import ADDRESS
from pileus.services.ec2.service import ec2
from pileus.services.ec2.vpc_quotas import ELASTIC_IPS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from types_boto3_ec2.type_defs import (
        AllocateAddressRequestTypeDef,
        DescribeAddressesRequestTypeDef,
        ReleaseAddressRequestTypeDef,
    )


class AddressInUse(ServiceError):
    """The Elastic IP is associated."""

    code = "InvalidIPAddress.InUse"


class AddressLocked(ServiceError):
    """The Elastic IP has a reverse name, without which it has to be before it can be released."""

    code = "InvalidAddress.Locked"


def _draw(_: Context, address: Address) -> dict[str, Any]:
    public = "CarrierIp" if address.carrier else "PublicIp"
    return {
        "AllocationId": address.id,
        public: address.public_address,
        "PublicIpv4Pool": None if address.carrier else "amazon",
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


def one_address(context: Context, params: "Mapping[str, Any]") -> Address:
    """The Elastic IP that a call names by AllocationId or PublicIp.

    Raises:
        NotFound, MalformedId: it is not there. InvalidParameterCombination, MissingParameter: both or none is given.
    """
    allocation, public = params.get("AllocationId"), params.get("PublicIp")
    if allocation and public:
        raise InvalidParameterCombination("You may specify public IP or allocation id, but not both in the same call")
    if allocation:
        return ADDRESS.one(context, allocation)
    if public:
        return _find_by_address(context, [public])[0]
    raise MissingParameter("AllocationId")


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
    """A new Elastic IP, or a certain one of the pool. The border group of a wavelength zone gives a carrier's."""
    if params.get("Domain", "vpc") not in {"vpc", "standard"}:
        raise InvalidParameterValue(
            f"Invalid value '{params.get('Domain')}' for domain. Expecting 'vpc' or 'standard'."
        )
    pool = params.get("PublicIpv4Pool", "amazon")
    if pool != "amazon":
        raise NotFound(f"The pool ID '{pool}' does not exist", code="InvalidPublicIpv4PoolID.NotFound")
    for name in ("CustomerOwnedIpv4Pool", "IpamPoolId"):
        if params.get(name):
            raise Unsupported(f"The parameter {name} is not available in this cloud.")
    group, carrier = _border_group(context, params.get("NetworkBorderGroup", context.region))
    ELASTIC_IPS.check(len(context.view.list(Address, account=context.account, region=context.region)))
    id_ = new_id("eipalloc")
    address = context.tx.put(
        Address(
            id=id_,
            account=context.account,
            region=context.region,
            public_address=_take_wanted(context, params.get("Address"), id_, carrier=carrier),
            allocated=context.now,
            border_group=group,
            carrier=carrier,
            tags=tags_for(params, "elastic-ip"),
        )
    )
    result = {"AllocationId": address.id, "NetworkBorderGroup": group, "Domain": "vpc"}
    if carrier:
        return {**result, "CarrierIp": address.public_address}
    return {**result, "PublicIp": address.public_address, "PublicIpv4Pool": "amazon"}


def _border_group(context: Context, group: str) -> tuple[str, bool]:
    """A network border group that the caller can use, and whether its addresses are a carrier's."""
    if group == context.region:
        return group, False
    for zone in configured_zones(context):
        if zone.network_border_group == group:
            return group, zone.type == "wavelength-zone"
    raise InvalidParameterValue(
        f"Invalid value '{group}' for networkBorderGroup. It is no group of a zone in this region that you have opted in to."
    )


def _take_wanted(context: Context, wanted: str | None, holder: str, *, carrier: bool) -> str:
    if wanted is None:
        return take_public_address(context, context.tx, holder, carrier=carrier)
    try:
        inside = is_public(context.env.config.region(context.region), wanted, carrier=carrier)
    except ValueError as error:
        raise InvalidParameterValue(f"Value ({wanted}) for parameter address is invalid.") from error
    if not inside or context.tx.owner_of(pool_scope(context.region), wanted) is not None:
        raise NotFound(f"Address '{wanted}' not found.", code="InvalidAddress.NotFound")
    context.tx.claim(pool_scope(context.region), wanted, holder)
    return wanted


@ec2.writes("ReleaseAddress", resources=("elastic-ip:AllocationId",))
def release_address(context: Context, params: "ReleaseAddressRequestTypeDef") -> dict[str, Any]:
    """Gives an Elastic IP back to the pool. One with a reverse name keeps it until that is reset."""
    address = one_address(context, params)
    group = params.get("NetworkBorderGroup")
    if group and group != address.border_group:
        raise NotFound(
            f"Address '{address.public_address}' not found in the network border group '{group}'.",
            code="InvalidAddress.NotFound",
        )
    if address.association_id:
        raise AddressInUse(f"Address {address.public_address} is in use.")
    if address.ptr:
        raise AddressLocked(
            f"The address with allocation id {address.id} has the reverse name {address.ptr}: reset its domain-name "
            "attribute first."
        )
    context.tx.release(pool_scope(context.region), address.public_address)
    context.tx.delete(address)
    return {}
