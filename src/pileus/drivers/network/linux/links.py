"""Links, addresses, neighbours, routes and routing rules of a namespace as values, and the ``ip`` commands from one state
to another.

Addresses and destinations of both families are written as ``ip`` prints them: without /32 or /128, and ``default``,
except that of IPv6, which is ``::/0``.
"""

from collections.abc import Callable, Iterable, Iterator
from ipaddress import ip_network
from typing import Any, NamedTuple

import msgspec

from pileus.drivers.network.linux.names import MTU
from pileus.drivers.network.linux.namespace import Namespace

MAIN = 254
"""The number of the routing table ``main``."""
_DOOMED = 1
_KERNELS_RULES = frozenset({0, 32766, 32767})
_LINK_LOCAL = "fe80:"


class Link(NamedTuple):
    """A link that is up. ``alias`` is kept by the kernel: the id of the resource that it belongs to."""

    name: str
    mac: str
    alias: str


class Address(NamedTuple):
    """An address on a link: alone, but those of IPv6 on other links than lo are of a /64, which DHCPv6 has to know.

    Of these only the link-local ones make a route.
    """

    address: str
    link: str


class Neighbour(NamedTuple):
    """A permanent entry: what ARP or neighbour discovery would otherwise have to ask."""

    address: str
    link: str
    mac: str


class Route(NamedTuple):
    """A route. ``via`` is taken as on-link. Without a link it is a black hole, or ``thrown``: the next rule decides."""

    destination: str
    link: str
    via: str = ""
    table: int = MAIN
    thrown: bool = False


class Rule(NamedTuple):
    """Which table is asked, in the order of priorities. ``selector`` is in ip-rule's words, e.g. ``fwmark 0x3e9``."""

    priority: int
    selector: str
    table: int
    ipv6: bool = False


class State(msgspec.Struct, frozen=True, kw_only=True):
    """What a namespace has, or must have. Only links of the kinds that the driver makes, and what is on them and on lo."""

    links: frozenset[Link] = frozenset()
    addresses: frozenset[Address] = frozenset()
    neighbours: frozenset[Neighbour] = frozenset()
    routes: frozenset[Route] = frozenset()
    rules: frozenset[Rule] = frozenset()

    def link_names(self) -> frozenset[str]:
        """The names of the links."""
        return frozenset(link.name for link in self.links)

    def bare(self) -> "State":
        """What is left once the links are gone: what is on lo, black holes and rules."""
        return State(
            addresses=frozenset(address for address in self.addresses if address.link == "lo"),
            routes=frozenset(route for route in self.routes if not route.link),
            rules=self.rules,
        )


def destination(cidr: str) -> str:
    """A CIDR or an address of either family as routes have it. Raises ValueError."""
    network = ip_network(cidr)
    if network.prefixlen == network.max_prefixlen:
        return str(network.network_address)
    return "default" if str(network) == "0.0.0.0/0" else str(network)


async def observe(namespace: Namespace, is_ours: Callable[[str], bool]) -> State:
    """Asks the kernel. Links for which ``is_ours(name)`` is false, and what is on them, are left out.

    Black holes, rules and the addresses of lo are listed too, except in the host's namespace, where they are not ours.
    A link that is down appears without its MAC, so that it differs from any wanted one.
    """
    is_host = namespace.name is None
    common = set[str]() if is_host else {"lo", ""}
    links, addresses, routes, neighbours, rules = await namespace.show(
        "link show", "address show", "route show table all", "neighbour show nud permanent", "rule show"
    )
    rules6 = [] if is_host else (await namespace.show("rule show", ipv6=True))[0]
    present = [entry for entry in links if is_ours(entry["ifname"])]
    names = {entry["ifname"] for entry in present}
    return State(
        links=frozenset(_link(entry) for entry in present),
        addresses=frozenset(
            Address(address["local"], entry["ifname"])
            for entry in addresses
            if entry["ifname"] in names | common
            for address in entry["addr_info"]
            if address["local"] not in ("127.0.0.1", "::1")
        ),
        neighbours=frozenset(
            Neighbour(entry["dst"], entry["dev"], entry["lladdr"])
            for entry in neighbours
            if entry["dev"] in names and "lladdr" in entry
        ),
        routes=frozenset(
            route
            for entry in routes
            if entry.get("table") != "local" and entry.get("protocol") != "kernel"
            if (route := _route(entry)).link in names | common
        ),
        rules=frozenset()
        if is_host
        else frozenset(
            _rule(entry, ipv6=ipv6)
            for ipv6, entries in ((False, rules), (True, rules6))
            for entry in entries
            if entry["priority"] not in _KERNELS_RULES
        ),
    )


def missing(found: State, wanted: State) -> list[Link]:
    """The links that have to be made before ``change`` is performed."""
    have = found.link_names()
    return sorted(link for link in wanted.links if link.name not in have)


def change(found: State, wanted: State) -> list[str]:
    """The ``ip`` commands that turn ``found`` into ``wanted``: [] when they are equal.

    A link that is in both stays up throughout, and a route that moves is exchanged, never absent: links go last.
    """
    return list(_changes(found, wanted))


def delete_together(names: Iterable[str]) -> list[str]:
    """The commands that delete links as one group: the kernel needs some 25 ms for a deletion, of however many."""
    commands = [f"link set {name} group {_DOOMED}" for name in sorted(names)]
    return [*commands, f"link delete group {_DOOMED}"] if commands else []


def _changes(found: State, wanted: State) -> Iterator[str]:
    gone = found.link_names() - wanted.link_names()
    for link in sorted(wanted.links - found.links):
        alias = f" alias {link.alias}" if link.alias else ""
        yield f"link set {link.name} address {link.mac} mtu {MTU}{alias} up"
    yield from _address_changes(found, wanted, gone)
    yield from _neighbour_changes(found, wanted, gone)
    yield from _route_changes(found, wanted, gone)
    for rule in sorted(wanted.rules - found.rules):
        yield _rule_command("add", rule)
    for rule in sorted(found.rules - wanted.rules):
        yield _rule_command("delete", rule)
    yield from delete_together(gone)


def _address_changes(found: State, wanted: State, gone: frozenset[str]) -> Iterator[str]:
    for address in sorted(found.addresses - wanted.addresses):
        if address.link not in gone:
            yield f"address delete {_with_length(address)} dev {address.link}"
    for address in sorted(wanted.addresses - found.addresses):
        yield f"address replace {_with_length(address)} dev {address.link}{_flags(address)}"


def _neighbour_changes(found: State, wanted: State, gone: frozenset[str]) -> Iterator[str]:
    keep = {(entry.address, entry.link) for entry in wanted.neighbours}
    for entry in sorted(found.neighbours):
        if entry.link not in gone and (entry.address, entry.link) not in keep:
            yield f"neighbour delete {entry.address} dev {entry.link}"
    for entry in sorted(wanted.neighbours - found.neighbours):
        yield f"neighbour replace {entry.address} lladdr {entry.mac} nud permanent dev {entry.link}"


def _route_changes(found: State, wanted: State, gone: frozenset[str]) -> Iterator[str]:
    for route in sorted(wanted.routes - found.routes):
        via = f" via {route.via} onlink" if route.via else ""
        device = f" dev {route.link}" if route.link else ""
        yield f"route replace {_where(route, via + device)}"
    keep = {(route.destination, route.table) for route in wanted.routes}
    for route in sorted(found.routes):
        if route.link not in gone and (route.destination, route.table) not in keep:
            yield f"route delete {_where(route)}"


def _where(route: Route, way: str = "") -> str:
    kind = "throw " if route.thrown else "" if route.link else "blackhole "
    table = f" table {route.table}" if route.table != MAIN else ""
    return f"{kind}{route.destination}{way}{table}"


def _rule_command(verb: str, rule: Rule) -> str:
    family = "-6 " if rule.ipv6 else ""
    return f"{family}rule {verb} {rule.selector} lookup {rule.table} priority {rule.priority}"


def _with_length(address: Address) -> str:
    if ":" not in address.address:
        return f"{address.address}/32"
    return f"{address.address}/{128 if address.link == 'lo' else 64}"


def _flags(address: Address) -> str:
    if ":" not in address.address:
        return ""
    return " nodad" if address.address.startswith(_LINK_LOCAL) or address.link == "lo" else " nodad noprefixroute"


def _link(entry: dict[str, Any]) -> Link:
    is_up = "UP" in entry["flags"] and entry["mtu"] == MTU
    return Link(entry["ifname"], entry["address"] if is_up else "", entry.get("ifalias", ""))


def _route(entry: dict[str, Any]) -> Route:
    """Black holes of IPv6 are said to be on lo; only routes of IPv6 have a preference."""
    leads = entry.get("type", "unicast") == "unicast"
    where = "::/0" if entry["dst"] == "default" and "pref" in entry else entry["dst"]
    return Route(
        where,
        entry.get("dev", "") if leads else "",
        entry.get("gateway", ""),
        _table(entry.get("table", "main")),
        entry.get("type") == "throw",
    )


def _rule(entry: dict[str, Any], *, ipv6: bool) -> Rule:
    if "fwmark" in entry:
        selector = f"fwmark {entry['fwmark']}"
    elif "iif" in entry:
        selector = f"iif {entry['iif']}"
    else:
        selector = f"from {entry['src']}" + (f"/{entry['srclen']}" if "srclen" in entry else "")
    return Rule(entry["priority"], selector, _table(entry["table"]), ipv6)


def _table(name: str) -> int:
    return MAIN if name == "main" else int(name) if name.isdecimal() else 0
