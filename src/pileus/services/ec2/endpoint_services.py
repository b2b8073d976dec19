"""The services of this cloud that VPCs can have endpoints for: DescribeVpcEndpointServices."""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from pileus.base.errors import ServiceError
from pileus.operations.context import Context
from pileus.operations.filters import Field, absent, compile_filters, constant
from pileus.operations.paging import Page, paginate
from pileus.records.endpoint_services import SERVICES, EndpointService, named
from pileus.services.ec2.errors import InvalidParameter, InvalidParameterValue
from pileus.services.ec2.regions import configured_zones
from pileus.services.ec2.service import ec2

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import DescribeVpcEndpointServicesRequestTypeDef

EndpointType = Literal["Gateway", "Interface"]


class InvalidServiceName(ServiceError):
    """There is no such service."""

    code = "InvalidServiceName"


class Offer(msgspec.Struct, frozen=True):
    """A service by one type of endpoint."""

    service: EndpointService
    type: EndpointType


def service_named(context: Context, name: str) -> EndpointService:
    """The service of this name in the call's region. Raises InvalidServiceName."""
    service = named(name, context.region)
    if service is None:
        raise InvalidServiceName(f"The Vpc Endpoint Service '{name}' does not exist")
    return service


def types_of(service: EndpointService) -> tuple[EndpointType, ...]:
    """The types of endpoints that a service can be had by."""
    return ("Gateway", "Interface") if service.gateway else ("Interface",)


def check_type(service: EndpointService, endpoint_type: str) -> EndpointType:
    """The type. Raises InvalidParameter when the service can't be had by it."""
    for one in types_of(service):
        if one == endpoint_type:
            return one
    raise InvalidParameter(
        f"Endpoint type ({endpoint_type}) does not match available service types ([{', '.join(types_of(service))}])."
    )


def _draw(context: Context, offer: Offer) -> dict[str, Any]:
    service, region = offer.service, context.region
    name = service.service_name(region)
    zones = [zone for zone in configured_zones(context) if zone.type == "availability-zone"]
    digest = sha256(f"{name}/{offer.type}".encode()).hexdigest()[:16]
    drawn: dict[str, Any] = {
        "ServiceName": name,
        "ServiceId": f"vpce-svc-0{digest}",
        "ServiceType": [{"ServiceType": offer.type}],
        "ServiceRegion": region,
        "AvailabilityZones": [zone.name for zone in zones],
        "AvailabilityZoneIds": [zone.id for zone in zones],
        "Owner": "amazon",
        "BaseEndpointDnsNames": [service.base_dns_name(region)],
        "VpcEndpointPolicySupported": True,
        "AcceptanceRequired": False,
        "ManagesVpcEndpoints": False,
        "SupportedIpAddressTypes": ["ipv4"],
        "Tags": [],
    }
    if offer.type == "Interface":
        names = service.dns_names(region)
        drawn["PrivateDnsName"] = names[0]
        drawn["PrivateDnsNames"] = [{"PrivateDnsName": one} for one in names]
        drawn["PrivateDnsNameVerificationState"] = "verified"
    else:
        drawn["BaseEndpointDnsNames"] = [service.dns_names(region)[0]]
    return drawn


_FILTERS: Mapping[str, Field[Offer]] = {
    "owner": constant("amazon"),
    "service-name": lambda context, offer: offer.service.service_name(context.region),
    "service-region": lambda context, _: context.region,
    "service-type": lambda _, offer: offer.type,
    "supported-ip-address-types": constant("ipv4"),
    "tag-key": absent,
}


def _fields(filters: Sequence[Mapping[str, Any]]) -> Mapping[str, Field[Offer]]:
    """The filters' fields; the cloud's own services have no tags."""
    names = (str(entry.get("Name", "")) for entry in filters)
    return {**_FILTERS, **{name: absent for name in names if name.startswith("tag:")}}


@ec2.reads("DescribeVpcEndpointServices")
def describe_vpc_endpoint_services(
    context: Context, params: "DescribeVpcEndpointServicesRequestTypeDef"
) -> dict[str, Any]:
    """The services that there are, each by every type of endpoint that it can be had by."""
    filters = params.get("Filters", ())
    predicates = compile_filters(filters, _fields(filters), tags=False)
    for region in params.get("ServiceRegions", ()):
        if region != context.region:
            raise InvalidParameterValue(
                f"Value ({region}) for parameter serviceRegions is invalid. Services of other regions are not offered."
            )
    names = params.get("ServiceNames") or [one.service_name(context.region) for one in SERVICES.values()]
    services = [service_named(context, name) for name in dict.fromkeys(names)]
    offers = [Offer(service, type_) for service in services for type_ in types_of(service)]
    found = [offer for offer in offers if all(holds(context, offer) for holds in predicates)]
    page, token = paginate(context, params, found, Page(least=1), lambda offer: f"{offer.service.name}/{offer.type}")
    return {
        "ServiceNames": list(dict.fromkeys(offer.service.service_name(context.region) for offer in page)),
        "ServiceDetails": [_draw(context, offer) for offer in page],
        "NextToken": token,
    }
