"""Random networks made by calls: Reachability Analyzer says what the hosts' specification lets pass, and nothing else.

The one reads records, the other is a model of what hosts do, which is itself tried with real packets.
"""

import random
from itertools import product

import pytest
from insights_lab import Lab, allow, entry

from pileus.base.config import Config, RegionConfig
from pileus.controllers.network_spec import network_spec
from pileus.controllers.reading import Reading
from pileus.drivers.network.reachability import allows
from pileus.testing.in_process import HOST, DirectCloud

REGION = RegionConfig(name="us-east-1", zones=("a",), public_pool=("203.0.113.0/24",))
OUTSIDE = ("8.8.8.8", "203.0.113.77")
PORTS = (80, 443)
CIDRS = (
    "0.0.0.0/0",
    "0.0.0.0/0",
    "0.0.0.0/0",
    "10.0.0.0/16",
    "10.1.0.0/16",
    "10.0.0.0/24",
    "203.0.113.0/24",
    "8.0.0.0/8",
)


class Network:
    """A random network: ``interfaces`` are (id, private address, public address or None)."""

    def __init__(self, cloud: DirectCloud, seed: int) -> None:
        self.lab = Lab(cloud)
        self.draw = random.Random(seed)
        self.interfaces: list[tuple[str, str, str | None]] = []
        self.gateways: dict[str, str] = {}
        """Internet gateways, by interface."""

    async def build(self) -> None:
        vpcs = [await self._vpc(number) for number in range(self.draw.randint(1, 3))]
        pairs = [(one, other) for place, one in enumerate(vpcs) for other in vpcs[place + 1 :]]
        for (one, cidr, tables), (other, far, far_tables) in pairs:
            if cidr != far and self._chance(0.7):
                peering = await self.lab.peering(one, other)
                for table in tables:
                    await self._maybe_route(table, self.draw.choice((far, far.replace("/16", "/17"))), peering)
                for table in far_tables:
                    await self._maybe_route(table, cidr, peering)

    async def _vpc(self, number: int) -> tuple[str, str, list[str]]:
        """A VPC with its CIDR and its route tables. The third has the first one's addresses."""
        lab, cidr = self.lab, ("10.0.0.0/16", "10.1.0.0/16", "10.0.0.0/16")[number]
        vpc = await lab.vpc(cidr)
        gateway = await lab.gateway(vpc) if self._chance(0.8) else None
        subnets = [await lab.subnet(vpc, cidr.replace("0.0/16", f"{third}.0/24")) for third in range(3)]
        tables = [await lab.table(vpc, subnet) for subnet in subnets]
        groups = [await self._group(vpc) for _ in range(3)]
        for subnet in subnets:
            if self._chance(0.4):
                anything = [entry(egress=egress) for egress in (True, False) if self._chance(0.8)]
                await lab.acl(vpc, subnet, *[self._entry() for _ in range(self.draw.randint(1, 4))], *anything)
        made = [await self._instance(vpc, gateway, subnet, groups) for subnet in (*subnets, subnets[0])]
        nat = None
        if self._chance(0.6):
            public = gateway is not None and self._chance(0.7)
            nat = await (lab.nat if public else lab.private_nat)(subnets[2])
        for place, table in enumerate(tables):
            ways = [gateway, gateway, nat if place != 2 else None, self.draw.choice(made)]
            target = self.draw.choice([way for way in ways if way] or [None])
            if target:
                await self._maybe_route(table, self.draw.choice(("0.0.0.0/0", "0.0.0.0/0", "8.0.0.0/8")), target)
            if self._chance(0.2):
                await self._maybe_route(table, self.draw.choice(("8.8.0.0/16", "203.0.113.0/25")), made[-1])
        return vpc, cidr, tables

    async def _instance(self, vpc: str, gateway: str | None, subnet: str, groups: list[str]) -> str:
        chosen = self.draw.sample(groups, self.draw.randint(1, 2))
        _, interface, address = await self.lab.launch(subnet, *chosen, public=self._chance(0.6))
        if self._chance(0.3):
            await self.lab.call(
                "ModifyNetworkInterfaceAttribute", NetworkInterfaceId=interface, SourceDestCheck={"Value": False}
            )
        drawn = await self.lab.call("DescribeNetworkInterfaces", NetworkInterfaceIds=[interface])
        public = drawn["NetworkInterfaces"][0].get("Association", {}).get("PublicIp")
        self.interfaces.append((interface, address, public))
        if gateway:
            self.gateways[interface] = gateway
        return interface

    async def _group(self, vpc: str) -> str:
        return await self.lab.group(
            vpc,
            *{str(rule): rule for rule in [self._permission() for _ in range(self.draw.randint(1, 4))]}.values(),
            egress=None if self._chance(0.7) else (self._permission(),),
        )

    def _permission(self) -> dict[str, object]:
        port = self.draw.choice((None, *PORTS))
        return allow(self.draw.choice(("-1", "-1", "tcp", "tcp", "udp")), port, cidr=self.draw.choice(CIDRS))

    def _entry(self) -> dict[str, object]:
        ports = self.draw.choice((None, None, (80, 80), (1024, 65535), (0, 1023)))
        return entry(
            "allow" if self._chance(0.6) else "deny",
            egress=self._chance(0.5),
            protocol="6" if ports else self.draw.choice(("-1", "6")),
            cidr=self.draw.choice(CIDRS),
            ports=ports,
        )

    async def _maybe_route(self, table: str, destination: str, target: str) -> None:
        if self._chance(0.9):
            drawn = await self.lab.call("DescribeRouteTables", RouteTableIds=[table])
            if destination not in {route["DestinationCidrBlock"] for route in drawn["RouteTables"][0]["Routes"]}:
                await self.lab.route(table, destination, target)

    def _chance(self, share: float) -> bool:
        return self.draw.random() < share


async def disagreements(cloud: DirectCloud, seed: int) -> tuple[list[tuple[object, ...]], list[bool]]:
    """Where the two differ about a random network, and what the model says of every path in it."""
    network = Network(cloud, seed)
    await network.build()
    spec = network_spec(Reading(cloud.store.view()), HOST, cloud.config)
    wrong: list[tuple[object, ...]] = []
    verdicts: list[bool] = []

    async def compare(source: str, destination: str, port: int, /, **question: object) -> None:
        answer = await network.lab.look(**question)
        expected = allows(spec, source, destination, "tcp", port)
        verdicts.append(expected)
        if answer["NetworkPathFound"] != expected:
            codes = [one["ExplanationCode"] for one in answer.get("Explanations", ())]
            wrong.append((seed, source, destination, port, expected, codes))
        assert answer["NetworkPathFound"] == ("Explanations" not in answer)

    ends = {address for _, private, public in network.interfaces for address in (private, public) if address}
    for (source, *_), destination, port in product(network.interfaces, sorted(ends | set(OUTSIDE)), PORTS):
        ports = {"FromPort": port, "ToPort": port}
        at_source = {"DestinationAddress": destination, "DestinationPortRange": ports}
        await compare(source, destination, port, source=source, FilterAtSource=at_source)
    for (interface, _, public), sender, port in product(network.interfaces, ("8.8.8.8", "198.51.100.9"), PORTS):
        if public is not None and interface in network.gateways:
            gateway = network.gateways[interface]
            question = {"source": gateway, "destination": interface, "port": port, "SourceIp": sender}
            await compare(sender, public, port, **question)
    return wrong, verdicts


@pytest.mark.slow
async def test_the_analysis_agrees_with_what_hosts_do(tmp_path):
    verdicts: list[bool] = []
    for seed in range(20):
        directory = tmp_path / str(seed)
        directory.mkdir()
        cloud = DirectCloud.open(directory, Config(regions=(REGION,)))
        try:
            wrong, found = await disagreements(cloud, seed)
        finally:
            cloud.close()
        assert not wrong
        verdicts += found
    assert 0.1 < sum(verdicts) / len(verdicts) < 0.9  # else it would be too easy to be right
