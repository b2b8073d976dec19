"""The network driver alone: interfaces by the hundred, and one rule changed beside many."""

import asyncio
import statistics
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from bench.measure import OURS, Aim, Row
from pileus.drivers.network.linux.network import LinuxNetwork
from pileus.hostapi.network_spec import (
    AclEntrySpec,
    AclSpec,
    AddressSpec,
    DhcpSpec,
    GroupSpec,
    InterfaceSpec,
    NetworkSpec,
    PoolSpec,
    RouteSpec,
    RouteTableSpec,
    RuleSpec,
    SubnetSpec,
    VpcSpec,
)

Result = TypeVar("Result")

_BARE = "taps by ip"
_INTERFACES, _RULES = 200, 1000
_ROUNDS, _CHANGES = 3, 15
_GROUPS_EACH = 5
"""Security groups of an interface: EC2's quota."""


def measure() -> Iterator[Row]:
    """All rows, one after the other."""
    yield from asyncio.run(_with_network(_made_and_removed))
    for groups in (_RULES // 50, 1):
        yield asyncio.run(_with_network(lambda network, groups=groups: _rule_added(network, groups)))


async def _with_network(work: Callable[[LinuxNetwork], Awaitable[Result]]) -> Result:
    with tempfile.TemporaryDirectory(prefix="bench-net-", dir="/run") as directory:
        root = Path(directory)
        root.chmod(0o755)  # dnsmasq's user goes through it
        network = LinuxNetwork(root / "net", "bench")
        await network.open()
        try:
            return await work(network)
        finally:
            await network.destroy()


async def _made_and_removed(network: LinuxNetwork) -> list[Row]:
    """In turns: interfaces made and removed by the driver, and as many taps with a route each by ip."""
    times: dict[str, tuple[list[float], list[float]]] = {"made": ([], []), "removed": ([], [])}
    for turn in range(_ROUNDS):
        await network.apply(_spec(turn, 1, groups=1, rules=50))
        for what, count, words in (("made", _INTERFACES, _bare_taps()), ("removed", 1, _no_bare_taps())):
            ours, bare = times[what]
            ours.append(await _applied(network, _spec(turn, count, groups=1, rules=50)))
            begin = time.perf_counter()
            subprocess.run(["ip", "-batch", "-"], input=words, text=True, check=True)
            bare.append(time.perf_counter() - begin)
    return [
        Row(
            what=f"{_INTERFACES} interfaces {what}",
            unit="s",
            medians={OURS: statistics.median(ours), _BARE: statistics.median(bare)},
        )
        for what, (ours, bare) in times.items()
    ]


async def _rule_added(network: LinuxNetwork, groups: int) -> Row:
    """One rule more beside so many, each time in another group."""
    await network.apply(_spec(0, _INTERFACES, groups=groups, rules=_RULES))
    found = [
        await _applied(network, _spec(0, _INTERFACES, groups=groups, rules=_RULES, added=added))
        for added in range(1, _CHANGES + 1)
    ]
    where = "one group" if groups == 1 else f"{groups} groups"
    return Row(
        what=f"one rule added to {_RULES:,} in {where}, {_INTERFACES} interfaces",
        unit="ms",
        medians={OURS: 1000 * statistics.median(found)},
        aim=Aim("at most", 100),
    )


async def _applied(network: LinuxNetwork, spec: NetworkSpec) -> float:
    """Seconds to apply it, decoded as the agent has it from the controller."""
    message = msgspec.json.encode(spec)
    begin = time.perf_counter()
    await network.apply(msgspec.json.decode(message, type=NetworkSpec))
    return time.perf_counter() - begin


def _bare_taps() -> str:
    lines: list[str] = []
    for number in range(_INTERFACES):
        address, name = f"10.98.{number // 200}.{number % 200 + 10}", f"bare{number}"
        lines += [f"tuntap add {name} mode tap", f"link set {name} up", f"route add {address} dev {name}"]
    return "\n".join(lines) + "\n"


def _no_bare_taps() -> str:
    return "".join(f"link delete bare{number}\n" for number in range(_INTERFACES))


def _spec(turn: int, count: int, *, groups: int, rules: int, added: int = 0) -> NetworkSpec:
    """One VPC with interfaces in a subnet, each in up to five groups, which have so many rules together.

    The interfaces of another turn are others. ``added``: so many more rules, each in another group as long as there are.
    """
    made = [_group(number, rules // groups, len(range(number, added, groups))) for number in range(groups)]
    vpc = VpcSpec(
        vpc_id="vpc-1",
        cidrs=("10.0.0.0/16",),
        domain="ec2.internal",
        dhcp=DhcpSpec(domain="ec2.internal"),
        subnets=(SubnetSpec(subnet_id="subnet-1", cidr="10.0.0.0/20", route_table="rtb-1", acl="acl-1"),),
        route_tables=(
            RouteTableSpec(route_table_id="rtb-1", routes=(RouteSpec(destination="10.0.0.0/16", kind="local"),)),
        ),
        acls=(AclSpec(acl_id="acl-1", ingress=(_ANYTHING,), egress=(_ANYTHING,)),),
        groups=tuple(made),
        interfaces=tuple(_interface(turn, number, made) for number in range(count)),
    )
    return NetworkSpec(pools=(PoolSpec(cidr="203.0.113.0/24"),), vpcs=(vpc,))


_ANYTHING = AclEntrySpec(allow=True, protocol="-1", cidr="0.0.0.0/0")


def _group(number: int, rules: int, added: int) -> GroupSpec:
    ports = [*range(8000, 8000 + rules), *range(20000, 20000 + added)]
    return GroupSpec(
        group_id=f"sg-{number:017x}",
        ingress=tuple(
            RuleSpec(protocol="tcp", from_port=port, to_port=port, cidr=f"10.{number}.{port % 250}.0/24")
            for port in ports
        ),
        egress=(RuleSpec(protocol="-1", cidr="0.0.0.0/0"),),
    )


def _interface(turn: int, number: int, groups: Sequence[GroupSpec]) -> InterfaceSpec:
    return InterfaceSpec(
        interface_id=f"eni-{turn:04x}{number:013x}",
        mac=f"0a:00:00:{turn:02x}:{number >> 8:02x}:{number & 255:02x}",
        subnet="subnet-1",
        addresses=(AddressSpec(address=f"10.0.{number // 200 + 1}.{number % 200 + 10}"),),
        groups=tuple(groups[(number + step) % len(groups)].group_id for step in range(min(len(groups), _GROUPS_EACH))),
        hostname=f"ip-{number}",
    )
