"""Local and wavelength zones: opt-in, what is bound to them, carrier gateways."""

import pytest

from pileus.base.config import Config, RegionConfig
from pileus.testing.in_process import DirectCloud

LOCAL, OTHER_LOCAL, WAVELENGTH = "us-west-2-lax-1a", "us-west-2-phx-2a", "us-west-2-wl1-las-wlz-1"
EDGE = Config(
    regions=(
        RegionConfig(
            name="us-west-2",
            zones=("a", "b"),
            local_zones=(LOCAL, OTHER_LOCAL),
            wavelength_zones=(WAVELENGTH,),
            carrier_pool=("198.51.100.0/28",),
        ),
        RegionConfig(name="us-east-1", zones=("a",), public_pool=("192.0.2.0/28",)),
    )
)


@pytest.fixture
def cloud(tmp_path):
    cloud = DirectCloud.open(tmp_path, EDGE)
    yield cloud
    cloud.close()


@pytest.fixture
def opt_in(ec2):
    async def enter(zone):
        group = zone.rpartition("-wlz-")[0].rpartition("-")[0] if "-wlz-" in zone else zone[:-1]
        assert await ec2("ModifyAvailabilityZoneGroup", GroupName=group, OptInStatus="opted-in") == {"Return": True}

    return enter


@pytest.fixture
async def vpc(ec2):
    return (await ec2("CreateVpc", CidrBlock="10.0.0.0/16"))["Vpc"]["VpcId"]


async def zones(ec2, **params):
    found = (await ec2("DescribeAvailabilityZones", **params))["AvailabilityZones"]
    return {zone["ZoneName"]: zone["OptInStatus"] for zone in found}


async def test_edge_zones_have_to_be_asked_for(cloud, ec2, opt_in):
    own = {"us-west-2a": "opt-in-not-required", "us-west-2b": "opt-in-not-required"}
    shut = dict.fromkeys((LOCAL, OTHER_LOCAL, WAVELENGTH), "not-opted-in")
    assert await zones(ec2) == own
    assert await zones(ec2, AllAvailabilityZones=True) == own | shut
    await opt_in(LOCAL)
    await opt_in(LOCAL)
    assert await zones(ec2) == own | {LOCAL: "opted-in"}
    assert await zones(ec2, AllAvailabilityZones=True) == own | shut | {LOCAL: "opted-in"}
    other = cloud.of("000000000002")
    assert LOCAL not in await zones(lambda *a, **p: other.call("ec2", *a, **p))


async def test_what_is_told_of_an_edge_zone(ec2):
    (zone,) = (await ec2("DescribeAvailabilityZones", AllAvailabilityZones=True, ZoneNames=[WAVELENGTH]))[
        "AvailabilityZones"
    ]
    assert zone == {
        "ZoneName": WAVELENGTH,
        "ZoneId": "usw2-wl1-las-wlz1",
        "ZoneType": "wavelength-zone",
        "RegionName": "us-west-2",
        "GroupName": "us-west-2-wl1",
        "GroupLongName": "US West (Verizon)",
        "NetworkBorderGroup": WAVELENGTH,
        "OptInStatus": "not-opted-in",
        "ParentZoneName": "us-west-2b",
        "ParentZoneId": "usw2-az1",
        "State": "available",
        "Messages": [],
    }
    for name, value in (("opt-in-status", "not-opted-in"), ("parent-zone-id", "usw2-az1"), ("zone-type", "local-zone")):
        found = await zones(ec2, AllAvailabilityZones=True, Filters=[{"Name": name, "Values": [value]}])
        assert LOCAL in found, name


async def test_no_way_out_of_a_group_and_none_into_an_unknown_one(ec2, opt_in, refused):
    await opt_in(LOCAL)
    for group, status in (("us-west-2-lax-1", "not-opted-in"), ("us-west-2-den-1", "opted-in"), ("x", "opted-in")):
        code = await refused("ModifyAvailabilityZoneGroup", GroupName=group, OptInStatus=status)
        assert code == "InvalidParameterValue", group
    assert (await zones(ec2))[LOCAL] == "opted-in"


async def test_nothing_is_made_in_a_zone_without_opt_in(cloud, ec2, opt_in, vpc):
    shut = {"AvailabilityZone": LOCAL}
    error = await cloud.refusal("ec2", "CreateSubnet", VpcId=vpc, CidrBlock="10.0.0.0/24", **shut)
    assert error.code == "InvalidParameterValue"
    assert "following availability zones: us-west-2a, us-west-2b." in error.message
    error = await cloud.refusal(
        "ec2", "CreateSubnet", VpcId=vpc, CidrBlock="10.0.0.0/24", AvailabilityZoneId="usw2-lax1-az1"
    )
    assert "usw2-az2, usw2-az1." in error.message
    assert (await cloud.refusal("ec2", "CreateVolume", Size=1, **shut)).code == "InvalidZone.NotFound"
    assert (await cloud.refusal("ec2", "CreateDefaultSubnet", **shut)).code == "InvalidParameterValue"
    await opt_in(LOCAL)
    subnet = (await ec2("CreateSubnet", VpcId=vpc, CidrBlock="10.0.0.0/24", AvailabilityZoneId="usw2-lax1-az1"))[
        "Subnet"
    ]
    assert (subnet["AvailabilityZone"], subnet["AvailabilityZoneId"]) == (LOCAL, "usw2-lax1-az1")
    assert (await ec2("CreateVolume", Size=1, **shut))["AvailabilityZone"] == LOCAL


async def test_instances_run_in_the_zone_of_their_subnet(ec2, opt_in, launch, vpc):
    await opt_in(LOCAL)
    subnet = (await ec2("CreateSubnet", VpcId=vpc, CidrBlock="10.0.0.0/24", AvailabilityZone=LOCAL))["Subnet"]
    instance = await launch(SubnetId=subnet["SubnetId"])
    assert instance["Placement"]["AvailabilityZone"] == LOCAL
    assert instance["SubnetId"] == subnet["SubnetId"]


async def test_default_subnets_in_local_zones_only(ec2, opt_in, refused):
    await opt_in(LOCAL)
    await opt_in(WAVELENGTH)
    made = (await ec2("CreateDefaultSubnet", AvailabilityZone=LOCAL))["Subnet"]
    assert (made["CidrBlock"], made["DefaultForAz"]) == ("172.31.32.0/20", True)
    assert await refused("CreateDefaultSubnet", AvailabilityZone=WAVELENGTH) == "InvalidParameterValue"


async def test_ipv6_of_local_zones_has_a_border_group_of_its_own(ec2, opt_in, refused, vpc):
    wish = {"AmazonProvidedIpv6CidrBlock": True, "Ipv6CidrBlockNetworkBorderGroup": "us-west-2-lax-1"}
    assert await refused("AssociateVpcCidrBlock", VpcId=vpc, **wish) == "InvalidParameterValue"
    await opt_in(LOCAL)
    local = (await ec2("AssociateVpcCidrBlock", VpcId=vpc, **wish))["Ipv6CidrBlockAssociation"]
    assert local["NetworkBorderGroup"] == "us-west-2-lax-1"
    block = local["Ipv6CidrBlock"].replace("::/56", "::/64")
    here = {"VpcId": vpc, "CidrBlock": "10.0.0.0/24", "Ipv6CidrBlock": block}
    assert await refused("CreateSubnet", **here, AvailabilityZone="us-west-2a") == "InvalidSubnet.Range"
    made = (await ec2("CreateSubnet", **here, AvailabilityZone=LOCAL))["Subnet"]
    assert made["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"] == block


async def test_wavelength_zones_have_no_ipv6_and_no_public_addresses(ec2, opt_in, refused, vpc):
    await opt_in(WAVELENGTH)
    added = await ec2("AssociateVpcCidrBlock", VpcId=vpc, AmazonProvidedIpv6CidrBlock=True)
    block = added["Ipv6CidrBlockAssociation"]["Ipv6CidrBlock"].replace("::/56", "::/64")
    here = {"VpcId": vpc, "CidrBlock": "10.0.0.0/24", "AvailabilityZone": WAVELENGTH}
    assert await refused("CreateSubnet", **here, Ipv6CidrBlock=block) == "InvalidParameterValue"
    subnet = (await ec2("CreateSubnet", **here))["Subnet"]["SubnetId"]
    code = await refused("ModifySubnetAttribute", SubnetId=subnet, MapPublicIpOnLaunch={"Value": True})
    assert code == "InvalidParameterValue"


async def test_carrier_gateways(cloud, ec2, opt_in, refused, vpc):
    assert await refused("CreateCarrierGateway", VpcId=vpc) == "UnsupportedOperation"
    await opt_in(WAVELENGTH)
    tags = [{"ResourceType": "carrier-gateway", "Tags": [{"Key": "a", "Value": "b"}]}]
    made = await ec2("CreateCarrierGateway", VpcId=vpc, TagSpecifications=tags, ClientToken="t")
    assert await ec2("CreateCarrierGateway", VpcId=vpc, TagSpecifications=tags, ClientToken="t") == made
    id_ = made["CarrierGateway"]["CarrierGatewayId"]
    assert await refused("CreateCarrierGateway", VpcId=vpc) == "CarrierGatewayLimitExceeded"
    assert await refused("DeleteVpc", VpcId=vpc) == "DependencyViolation"
    for name, value in (("vpc-id", vpc), ("state", "available"), ("tag:a", "b"), ("carrier-gateway-id", id_)):
        found = await ec2("DescribeCarrierGateways", Filters=[{"Name": name, "Values": [value]}])
        assert [one["CarrierGatewayId"] for one in found["CarrierGateways"]] == [id_], name
    elsewhere = await cloud.within("us-east-1").refusal("ec2", "DeleteCarrierGateway", CarrierGatewayId=id_)
    assert elsewhere.code == "InvalidCarrierGatewayID.NotFound"
    await ec2("DeleteCarrierGateway", CarrierGatewayId=id_)
    assert await refused("DescribeCarrierGateways", CarrierGatewayIds=[id_]) == "InvalidCarrierGatewayID.NotFound"
    await ec2("DeleteVpc", VpcId=vpc)


async def test_volumes_and_instances_of_different_zones_do_not_meet(ec2, opt_in, launch, refused):
    instance = await launch(Placement={"AvailabilityZone": "us-west-2a"})
    volume = (await ec2("CreateVolume", Size=1, AvailabilityZone="us-west-2b"))["VolumeId"]
    code = await refused("AttachVolume", VolumeId=volume, InstanceId=instance["InstanceId"], Device="/dev/sdf")
    assert code == "InvalidVolume.ZoneMismatch"


@pytest.mark.parametrize(
    ("operation", "parameter", "code"),
    [
        ("DescribeVpcs", "VpcIds", "InvalidVpcID.NotFound"),
        ("DescribeSubnets", "SubnetIds", "InvalidSubnetID.NotFound"),
        ("DescribeDhcpOptions", "DhcpOptionsIds", "InvalidDhcpOptionID.NotFound"),
    ],
)
async def test_nothing_of_one_region_is_seen_in_another(cloud, ec2, operation, parameter, code):
    (vpc,) = (await ec2("DescribeVpcs"))["Vpcs"]
    subnet = (await ec2("DescribeSubnets"))["Subnets"][0]
    ids = {"VpcIds": vpc["VpcId"], "SubnetIds": subnet["SubnetId"], "DhcpOptionsIds": vpc["DhcpOptionsId"]}
    error = await cloud.within("us-east-1").refusal("ec2", operation, **{parameter: [ids[parameter]]})
    assert error.code == code


async def test_nothing_of_one_region_is_used_in_another(cloud, ec2):
    (vpc,) = (await ec2("DescribeVpcs"))["Vpcs"]
    elsewhere = cloud.within("us-east-1")
    (theirs,) = (await elsewhere.call("ec2", "DescribeVpcs"))["Vpcs"]
    associate = {"DhcpOptionsId": vpc["DhcpOptionsId"], "VpcId": theirs["VpcId"]}
    assert (await elsewhere.refusal("ec2", "AssociateDhcpOptions", **associate)).code == "InvalidDhcpOptionID.NotFound"
    subnet = {"VpcId": vpc["VpcId"], "CidrBlock": "172.31.96.0/20"}
    assert (await elsewhere.refusal("ec2", "CreateSubnet", **subnet)).code == "InvalidVpcID.NotFound"
    zone = {"VpcId": theirs["VpcId"], "CidrBlock": "172.31.96.0/20", "AvailabilityZone": "us-west-2a"}
    assert (await elsewhere.refusal("ec2", "CreateSubnet", **zone)).code == "InvalidParameterValue"
