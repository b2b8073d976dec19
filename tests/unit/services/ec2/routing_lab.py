"""What tests of routing have in common: networks in few words, and the controllers that settle what routes lead to."""

from pileus.controllers import routing
from pileus.testing.consistency_routing import routing_problems


def settle(cloud):
    """Lets the controllers of routing come to rest."""
    while routing.unsettled(cloud.store.view(), cloud.clock.now()):
        cloud.store.transact(lambda tx: routing.settle(tx, cloud.clock.now()))
    assert list(routing_problems(cloud.store.view())) == []


class Lab:
    """A VPC of one's own, without a way out, and what is put into it."""

    def __init__(self, cloud, vpc_id):
        self.cloud = cloud
        self.vpc_id = vpc_id

    @classmethod
    async def make(cls, cloud, cidr="10.0.0.0/16"):
        return cls(cloud, (await cloud.call("ec2", "CreateVpc", CidrBlock=cidr))["Vpc"]["VpcId"])

    async def call(self, operation, **params):
        return await self.cloud.call("ec2", operation, **params)

    async def refused(self, operation, **params):
        return (await self.cloud.refusal("ec2", operation, **params)).code

    async def table(self):
        return (await self.call("CreateRouteTable", VpcId=self.vpc_id))["RouteTable"]["RouteTableId"]

    async def main_table(self):
        found = await self.call("DescribeRouteTables", Filters=[{"Name": "vpc-id", "Values": [self.vpc_id]}])
        tables = found["RouteTables"]
        return next(one for one in tables if any(a["Main"] for a in one["Associations"]))

    async def subnet(self, cidr="10.0.0.0/24", zone="a"):
        zone = f"{self.cloud.region}{zone}"
        made = await self.call("CreateSubnet", VpcId=self.vpc_id, CidrBlock=cidr, AvailabilityZone=zone)
        return made["Subnet"]["SubnetId"]

    async def gateway(self, *, attached=True):
        made = (await self.call("CreateInternetGateway"))["InternetGateway"]["InternetGatewayId"]
        if attached:
            await self.call("AttachInternetGateway", InternetGatewayId=made, VpcId=self.vpc_id)
        return made

    async def elastic_ip(self):
        return (await self.call("AllocateAddress"))["AllocationId"]

    async def nat(self, subnet, **params):
        made = await self.call("CreateNatGateway", SubnetId=subnet, **{"ConnectivityType": "private", **params})
        settle(self.cloud)
        return made["NatGateway"]["NatGatewayId"]

    async def interface(self, subnet):
        made = await self.call("CreateNetworkInterface", SubnetId=subnet)
        return made["NetworkInterface"]["NetworkInterfaceId"]

    async def routes(self, table):
        """The routes of a table: (target, state) by destination."""
        (found,) = (await self.call("DescribeRouteTables", RouteTableIds=[table]))["RouteTables"]
        return {destination_of(route): (target_of(route), route["State"]) for route in found["Routes"]}


def destination_of(route):
    return next(value for name, value in route.items() if name.startswith("Destination"))


def target_of(route):
    names = ("GatewayId", "NatGatewayId", "EgressOnlyInternetGatewayId", "NetworkInterfaceId", "VpcPeeringConnectionId")
    return next(route[name] for name in names if name in route)
