"""Whether route tables, gateways, NAT gateways and endpoints fit together. Part of ``consistency``."""

from collections import Counter
from collections.abc import Iterator

from pileus.records import (
    InternetGateway,
    NatGateway,
    NetworkInterface,
    PrefixList,
    RouteTable,
    Subnet,
    Vpc,
    VpcEndpoint,
)
from pileus.records.routing import routes_of
from pileus.store import View

_EQUIPPED = frozenset({"pending", "available", "deleting"})


def routing_problems(view: View) -> Iterator[str]:
    """What contradicts itself."""
    yield from _tables(view)
    yield from _routes(view)
    yield from _nat_gateways(view)
    yield from _endpoints(view)
    yield from _managed(view)
    attached = Counter(gateway.vpc_id for gateway in view.list(InternetGateway) if gateway.vpc_id)
    yield from (f"{vpc_id} has {count} internet gateways" for vpc_id, count in attached.items() if count > 1)


def _tables(view: View) -> Iterator[str]:
    """Each VPC has one main table, each subnet one table of its own at most."""
    tables = view.list(RouteTable)
    associations = [(table, one) for table in tables for one in table.associations]
    mains = Counter(table.vpc_id for table, one in associations if one.main)
    for vpc in view.list(Vpc):
        if mains[vpc.id] != 1:
            yield f"{vpc.id} has {mains[vpc.id]} main route tables"
    for id_, count in Counter(one.subnet_id for _, one in associations if one.subnet_id).items():
        if count > 1:
            yield f"{id_} has {count} route tables"
    for table, one in associations:
        subnet = view.get(Subnet, one.subnet_id) if one.subnet_id else None
        if one.subnet_id and (subnet is None or subnet.vpc_id != table.vpc_id):
            yield f"{table.id} holds for {one.subnet_id}, which is gone or of another VPC"
    for table in tables:
        if view.get(Vpc, table.vpc_id) is None:
            yield f"{table.id} is of {table.vpc_id}, which is gone"


def _routes(view: View) -> Iterator[str]:
    for table in view.list(RouteTable):
        routes = routes_of(view, table)
        for destination, count in Counter(route.destination for route in routes).items():
            if count > 1:
                yield f"{table.id} has {count} routes for {destination}"
        for route in routes:
            if route.destination.startswith("pl-") and view.get(PrefixList, route.destination) is None:
                yield f"{table.id} has a route for {route.destination}, which is gone"
            endpoint = view.get(VpcEndpoint, route.target)
            if route.target.startswith("vpce-") and (endpoint is None or table.id not in endpoint.route_table_ids):
                yield f"{table.id} has a route to {route.target}, which does not know it"


def _nat_gateways(view: View) -> Iterator[str]:
    for nat in view.list(NatGateway):
        interface = view.get(NetworkInterface, nat.interface_id)
        if nat.state not in _EQUIPPED or nat.failure_code is not None:
            if interface is not None:
                yield f"{nat.id} ({nat.state}) has the interface {interface.id}"
            continue
        has = [(one.address, one.public, one.address_id) for one in interface.addresses] if interface else []
        shows = [(one.private_address, one.public_address, one.allocation_id) for one in nat.addresses]
        if not has or has != shows:
            yield f"{nat.id} ({nat.state}) shows the addresses {shows}, its interface has {has}"


def _endpoints(view: View) -> Iterator[str]:
    for endpoint in view.list(VpcEndpoint):
        tables = (view.get(RouteTable, name) for name in endpoint.route_table_ids)
        if not all(table is not None and endpoint.id in table.targets for table in tables):
            yield f"{endpoint.id} names the route tables {endpoint.route_table_ids}, which do not lead to it"
        if endpoint.state == "deleting":
            continue
        found = (view.get(NetworkInterface, name) for name in endpoint.interface_ids)
        interfaces = [one for one in found if one is not None]
        covered = {one.subnet_id for one in interfaces}
        if len(interfaces) < len(endpoint.interface_ids) or not covered.issuperset(endpoint.subnet_ids):
            yield f"{endpoint.id} is in {endpoint.subnet_ids}, its interfaces are in {sorted(covered)}"
        if any(set(one.groups) != set(endpoint.groups) for one in interfaces):
            yield f"{endpoint.id} is in the groups {endpoint.groups}, not all of its interfaces are"


def _managed(view: View) -> Iterator[str]:
    """Interfaces that the cloud made belong to something."""
    users = {nat.interface_id for nat in view.list(NatGateway)}
    users |= {name for endpoint in view.list(VpcEndpoint) for name in endpoint.interface_ids}
    for interface in view.list(NetworkInterface):
        if interface.requester_id is not None and interface.id not in users:
            yield f"{interface.id} is managed by {interface.requester_id} for nothing"
