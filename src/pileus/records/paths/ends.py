"""Where paths begin and end: what the ids of a question stand for."""

from collections.abc import Sequence
from typing import Literal

import msgspec

from pileus.records.gateways import InternetGateway
from pileus.records.network_interface import NetworkInterface
from pileus.records.paths.model import Question
from pileus.records.peering import Peering
from pileus.records.routing import Lookup
from pileus.records.vpc_endpoint import VpcEndpoint


class End(msgspec.Struct, frozen=True, kw_only=True):
    """An end of a path.

    ``interfaces``: those of an instance, of an interface endpoint, or the one itself. ``gateway``: the id of the internet
    gateway, peering or gateway endpoint. ``address``: nothing but an address. ``vpc_id``: on whose side it is.
    """

    kind: Literal["interface", "internet", "peering", "endpoint", "address"]
    interfaces: tuple[NetworkInterface, ...] = ()
    gateway: str | None = None
    vpc_id: str | None = None


class UnknownEnd(Exception):
    """There is nothing with this id."""


def end_of(view: Lookup, id_: str) -> End:
    """What an id stands for. Raises UnknownEnd."""
    match id_.partition("-")[0]:
        case "i":
            found = sorted(view.list(NetworkInterface, instance_id=id_), key=lambda one: one.device_index)
            if found:
                return End(kind="interface", interfaces=tuple(found), vpc_id=found[0].vpc_id)
        case "eni":
            interface = view.get(NetworkInterface, id_)
            if interface is not None:
                return End(kind="interface", interfaces=(interface,), vpc_id=interface.vpc_id)
        case "igw":
            gateway = view.get(InternetGateway, id_)
            if gateway is not None:
                return End(kind="internet", gateway=id_, vpc_id=gateway.vpc_id)
        case "pcx":
            if view.get(Peering, id_) is not None:
                return End(kind="peering", gateway=id_)
        case "vpce":
            endpoint = view.get(VpcEndpoint, id_)
            if endpoint is not None and endpoint.endpoint_type == "Gateway":
                return End(kind="endpoint", gateway=id_, vpc_id=endpoint.vpc_id)
            if endpoint is not None:
                found = [
                    one for name in endpoint.interface_ids if (one := view.get(NetworkInterface, name)) is not None
                ]
                return End(kind="interface", interfaces=tuple(found), vpc_id=endpoint.vpc_id)
        case _:
            pass
    raise UnknownEnd(id_)


def destination_of(view: Lookup, question: Question) -> End:
    """Where the question leads to. Raises UnknownEnd."""
    if question.destination is None:
        return End(kind="address")
    return end_of(view, question.destination)


def addresses_of(interfaces: Sequence[NetworkInterface], *, public_first: bool) -> tuple[str, ...]:
    """The addresses under which interfaces are reached."""
    private = [one.address for nic in interfaces for one in nic.addresses]
    public = [one.public for nic in interfaces for one in nic.addresses if one.public]
    return (*public, *private) if public_first else (*private, *public)
