"""Hosts belong to zones: instances run where their zone is, and nowhere else."""

import pytest
from awaitable_client import Awaitable

from pileus.base.config import Config, RegionConfig
from pileus.records import Host, Instance
from pileus.testing.cloud import SimulatedCloud

EDGE = "us-west-2-lax-1a"
CONFIG = Config(
    regions=(
        RegionConfig(name="us-west-2", zones=("a", "b"), local_zones=(EDGE,)),
        RegionConfig(name="us-east-1", zones=("a",), public_pool=("198.51.100.0/27",)),
    )
)


@pytest.fixture
async def cloud(directory, clock):
    served = [("us-west-2a",), (EDGE, "us-east-1a")]
    async with SimulatedCloud(directory, config=CONFIG, zones=served, clock=clock) as running:
        yield running


@pytest.fixture
def subnet(ec2):
    """``await subnet(zone)``: the id of a new one there, in the default VPC."""

    async def make(zone):
        (vpc,) = (await ec2.describe_vpcs())["Vpcs"]
        used = {"us-west-2b": "172.31.96.0/24", EDGE: "172.31.97.0/24"}
        made = await ec2.create_subnet(VpcId=vpc["VpcId"], CidrBlock=used[zone], AvailabilityZone=zone)
        return made["Subnet"]["SubnetId"]

    return make


def host_of(cloud, instance_id):
    return cloud.store.view().get(Instance, instance_id).host_id


async def test_hosts_say_which_zones_they_serve(cloud):
    told = {host.id: host.zones for host in cloud.store.view().list(Host)}
    assert told == {"host-0": ("us-west-2a",), "host-1": (EDGE, "us-east-1a")}


async def test_an_instance_runs_on_a_host_of_its_zone(cloud, ec2, launch, subnet):
    for _ in range(3):
        (instance,) = await launch(Placement={"AvailabilityZone": "us-west-2a"})
        assert host_of(cloud, instance) == "host-0"
    await ec2.modify_availability_zone_group(GroupName="us-west-2-lax-1", OptInStatus="opted-in")
    (instance,) = await launch(SubnetId=await subnet(EDGE))
    assert host_of(cloud, instance) == "host-1"
    volume = (await ec2.create_volume(Size=1, AvailabilityZone=EDGE))["VolumeId"]
    await cloud.settled()
    await ec2.attach_volume(VolumeId=volume, InstanceId=instance, Device="/dev/sdf")
    await cloud.settled()
    (attached,) = (await ec2.describe_volumes(VolumeIds=[volume]))["Volumes"]
    assert attached["State"] == "in-use"


async def test_a_launch_that_leaves_it_open_goes_where_a_host_is(cloud, launch):
    (instance,) = await launch()
    assert host_of(cloud, instance) == "host-0"


async def test_a_zone_without_a_host_has_no_capacity(cloud, ec2, subnet):
    wish = {"ImageId": cloud.image("tiny"), "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1}
    error = await ec2.refusal("run_instances", **wish, SubnetId=await subnet("us-west-2b"))
    assert error == ("InsufficientInstanceCapacity", 500)


async def test_regions_have_their_own(cloud, ec2):
    east = Awaitable(cloud.client("ec2", region="us-east-1"))
    (vpc,) = (await ec2.describe_vpcs())["Vpcs"]
    (theirs,) = (await east.describe_vpcs())["Vpcs"]
    assert vpc["VpcId"] != theirs["VpcId"]
    assert [zone["ZoneName"] for zone in (await east.describe_availability_zones())["AvailabilityZones"]] == [
        "us-east-1a"
    ]
