"""What naming a prefix list costs: a route or rule with one counts as many as the list may have entries."""

from pileus.operations.context import Context
from pileus.records import PrefixList, RouteTable, SecurityGroup
from pileus.records.routing import LOCAL
from pileus.records.security_group import rule_weight
from pileus.services.ec2.vpc_quotas import ROUTES_PER_TABLE, RULES_PER_GROUP


def weight(context: Context, destination: str) -> int:
    """How much a route of this destination counts."""
    found = context.view.get(PrefixList, destination)
    return found.max_entries if found is not None else 1


def route_weights(context: Context, table: RouteTable, family: str) -> int:
    """What the routes of one address family in a table count, local ones excepted."""
    return sum(
        weight(context, route.destination)
        for route in table.routes
        if route.target != LOCAL and destination_family(context, route.destination) == family
    )


def destination_family(context: Context, destination: str) -> str:
    """``IPv4`` or ``IPv6``: the address family of a route's destination."""
    prefix_list = context.view.get(PrefixList, destination)
    if prefix_list is not None:
        return prefix_list.address_family
    return "IPv6" if ":" in destination else "IPv4"


def check_growth(context: Context, prefix_list: PrefixList, max_entries: int) -> None:
    """Raises LimitExceeded where a table or group that names the list would be too full if it had more entries."""
    more = max_entries - prefix_list.max_entries
    for table in context.tx.list(RouteTable, prefix_lists=prefix_list.id):
        times = table.prefix_lists.count(prefix_list.id)
        ROUTES_PER_TABLE.check(route_weights(context, table, prefix_list.address_family), more * times)
    family = 4 if prefix_list.address_family == "IPv4" else 6
    for group in context.tx.list(SecurityGroup, prefix_lists=prefix_list.id):
        for egress in (True, False):
            rules = [rule for rule in group.rules if rule.egress == egress]
            times = sum(rule.prefix_list_id == prefix_list.id for rule in rules)
            if times:
                RULES_PER_GROUP.check(sum(rule_weight(context.view, rule, family) for rule in rules), more * times)
