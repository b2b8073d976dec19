"""Networks to look at, made by calls of EC2, and the questions of Reachability Analyzer in one call."""

from collections.abc import Awaitable, Callable
from typing import Any

from pileus.controllers import nat_gateways, vpc_endpoints
from pileus.records import NatGateway, VpcEndpoint
from pileus.records.instance import State
from pileus.testing.in_process import DirectCloud

Call = Callable[..., Awaitable[dict[str, Any]]]


class Lab:
    """Makes VPCs and what is in them. Everything is named by its id."""

    def __init__(self, cloud: DirectCloud) -> None:
        self.cloud = cloud
        self.image = cloud.add_image()

    async def call(self, operation: str, **params: Any) -> dict[str, Any]:
        """An operation of EC2."""
        return await self.cloud.call("ec2", operation, **params)

    async def vpc(self, cidr: str = "10.0.0.0/16") -> str:
        return (await self.call("CreateVpc", CidrBlock=cidr))["Vpc"]["VpcId"]

    async def subnet(self, vpc: str, cidr: str) -> str:
        return (await self.call("CreateSubnet", VpcId=vpc, CidrBlock=cidr))["Subnet"]["SubnetId"]

    async def gateway(self, vpc: str) -> str:
        """An internet gateway that is attached."""
        made = (await self.call("CreateInternetGateway"))["InternetGateway"]["InternetGatewayId"]
        await self.call("AttachInternetGateway", InternetGatewayId=made, VpcId=vpc)
        return made

    async def main_table(self, vpc: str) -> str:
        filters = [{"Name": "vpc-id", "Values": [vpc]}, {"Name": "association.main", "Values": ["true"]}]
        return (await self.call("DescribeRouteTables", Filters=filters))["RouteTables"][0]["RouteTableId"]

    async def table(self, vpc: str, *subnets: str) -> str:
        """A route table for these subnets."""
        made = (await self.call("CreateRouteTable", VpcId=vpc))["RouteTable"]["RouteTableId"]
        for subnet in subnets:
            await self.call("AssociateRouteTable", RouteTableId=made, SubnetId=subnet)
        return made

    async def route(self, table: str, destination: str, target: str) -> None:
        names = {
            "igw": "GatewayId",
            "nat": "NatGatewayId",
            "eni": "NetworkInterfaceId",
            "pcx": "VpcPeeringConnectionId",
        }
        name = names[target.partition("-")[0]]
        await self.call("CreateRoute", RouteTableId=table, DestinationCidrBlock=destination, **{name: target})

    async def group(self, vpc: str, *ingress: dict[str, Any], egress: tuple[dict[str, Any], ...] | None = None) -> str:
        """A security group. ``egress`` None: everything may leave."""
        number = len((await self.call("DescribeSecurityGroups"))["SecurityGroups"])
        made = (await self.call("CreateSecurityGroup", GroupName=f"group-{number}", Description="x", VpcId=vpc))[
            "GroupId"
        ]
        if ingress:
            await self.call("AuthorizeSecurityGroupIngress", GroupId=made, IpPermissions=list(ingress))
        if egress is not None:
            anything = [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]
            await self.call("RevokeSecurityGroupEgress", GroupId=made, IpPermissions=anything)
            if egress:
                await self.call("AuthorizeSecurityGroupEgress", GroupId=made, IpPermissions=list(egress))
        return made

    async def acl(self, vpc: str, subnet: str, *entries: dict[str, Any]) -> str:
        """A network ACL for a subnet; it denies what its entries do not allow."""
        made = (await self.call("CreateNetworkAcl", VpcId=vpc))["NetworkAcl"]["NetworkAclId"]
        for number, entry in enumerate(entries, 1):
            await self.call("CreateNetworkAclEntry", NetworkAclId=made, RuleNumber=number, **entry)
        described = await self.call(
            "DescribeNetworkAcls", Filters=[{"Name": "association.subnet-id", "Values": [subnet]}]
        )
        (old,) = [one for one in described["NetworkAcls"][0]["Associations"] if one["SubnetId"] == subnet]
        await self.call("ReplaceNetworkAclAssociation", AssociationId=old["NetworkAclAssociationId"], NetworkAclId=made)
        return made

    async def launch(self, subnet: str, *groups: str, public: bool = False) -> tuple[str, str, str]:
        """A running instance: its id, its interface and its private address."""
        nic = {
            "DeviceIndex": 0,
            "SubnetId": subnet,
            "Groups": list(groups),
            "AssociatePublicIpAddress": public,
        }
        made = await self.call(
            "RunInstances",
            ImageId=self.image.id,
            InstanceType="t3.micro",
            MinCount=1,
            MaxCount=1,
            NetworkInterfaces=[nic],
        )
        instance = made["Instances"][0]["InstanceId"]
        self.cloud.enter(instance, State.RUNNING)
        drawn = (await self.call("DescribeInstances", InstanceIds=[instance]))["Reservations"][0]["Instances"][0]
        (interface,) = drawn["NetworkInterfaces"]
        return instance, interface["NetworkInterfaceId"], interface["PrivateIpAddress"]

    async def public_address(self, interface: str) -> str:
        drawn = await self.call("DescribeNetworkInterfaces", NetworkInterfaceIds=[interface])
        return drawn["NetworkInterfaces"][0]["Association"]["PublicIp"]

    async def nat(self, subnet: str) -> str:
        """A public NAT gateway that works."""
        allocation = (await self.call("AllocateAddress", Domain="vpc"))["AllocationId"]
        made = await self.call("CreateNatGateway", SubnetId=subnet, AllocationId=allocation)
        self.settle()
        return made["NatGateway"]["NatGatewayId"]

    async def private_nat(self, subnet: str) -> str:
        """A private NAT gateway that works."""
        made = await self.call("CreateNatGateway", SubnetId=subnet, ConnectivityType="private")
        self.settle()
        return made["NatGateway"]["NatGatewayId"]

    async def peering(self, vpc: str, other: str, *, accept: bool = True) -> str:
        made = await self.call("CreateVpcPeeringConnection", VpcId=vpc, PeerVpcId=other)
        id_ = made["VpcPeeringConnection"]["VpcPeeringConnectionId"]
        if accept:
            await self.call("AcceptVpcPeeringConnection", VpcPeeringConnectionId=id_)
        return id_

    async def endpoint(self, vpc: str, **params: Any) -> str:
        made = await self.call("CreateVpcEndpoint", VpcId=vpc, **params)
        self.settle()
        return made["VpcEndpoint"]["VpcEndpointId"]

    def settle(self) -> None:
        """Plays the controller: what is pending becomes available."""

        def work(tx: Any) -> None:
            nat_gateways.settle(tx, self.cloud.clock.now())
            vpc_endpoints.settle(tx)

        self.cloud.store.transact(work)
        view = self.cloud.store.view()
        assert all(one.state == "available" for kind in (NatGateway, VpcEndpoint) for one in view.list(kind))

    async def look(
        self, source: str, destination: str | None = None, port: int | None = None, protocol: str = "tcp", **params: Any
    ) -> dict[str, Any]:
        """What Reachability Analyzer finds."""
        if destination is not None:
            params["Destination"] = destination
        if port is not None:
            params["DestinationPort"] = port
        analysis = {name: params.pop(name) for name in ("FilterInArns", "FilterOutArns") if name in params}
        path = (await self.call("CreateNetworkInsightsPath", Source=source, Protocol=protocol, **params))[
            "NetworkInsightsPath"
        ]["NetworkInsightsPathId"]
        begun = (await self.call("StartNetworkInsightsAnalysis", NetworkInsightsPathId=path, **analysis))[
            "NetworkInsightsAnalysis"
        ]
        ids = [begun["NetworkInsightsAnalysisId"]]
        (found,) = (await self.call("DescribeNetworkInsightsAnalyses", NetworkInsightsAnalysisIds=ids))[
            "NetworkInsightsAnalyses"
        ]
        assert found["Status"] == "succeeded"
        return found


def allow(
    protocol: str = "tcp", port: int | None = None, *, cidr: str | None = None, group: str | None = None
) -> dict[str, Any]:
    """A permission of a security group."""
    peer = {"UserIdGroupPairs": [{"GroupId": group}]} if group else {"IpRanges": [{"CidrIp": cidr or "0.0.0.0/0"}]}
    ports = {"FromPort": port or 0, "ToPort": 65535 if port is None else port} if protocol != "-1" else {}
    return {"IpProtocol": protocol, **ports, **peer}


def entry(
    action: str = "allow",
    *,
    egress: bool,
    protocol: str = "-1",
    cidr: str = "0.0.0.0/0",
    ports: tuple[int, int] | None = None,
) -> dict[str, Any]:
    """An entry of a network ACL."""
    made: dict[str, Any] = {"Egress": egress, "RuleAction": action, "Protocol": protocol, "CidrBlock": cidr}
    if ports is not None or protocol != "-1":
        ports = ports or (0, 65535)
        made["PortRange"] = {"From": ports[0], "To": ports[1]}
    return made


def codes(found: dict[str, Any]) -> list[tuple[str, str | None]]:
    """Explanation codes with their direction."""
    return [(one["ExplanationCode"], one.get("Direction")) for one in found.get("Explanations", ())]


def way(components: list[dict[str, Any]]) -> list[str]:
    """The ids' prefixes along a path."""
    assert [one["SequenceNumber"] for one in components] == list(range(1, len(components) + 1))
    return [one["Component"]["Id"].partition("-")[0] for one in components]
