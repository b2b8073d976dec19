import pytest


@pytest.fixture
async def vpc(ec2):
    made = await ec2("CreateVpc", CidrBlock="10.0.0.0/16", AmazonProvidedIpv6CidrBlock=True)
    return made["Vpc"]["VpcId"]


@pytest.fixture
def make(ec2, vpc):
    async def make(cidr="10.0.0.0/24", **params):
        return (await ec2("CreateSubnet", **{"VpcId": vpc, "CidrBlock": cidr, **params}))["Subnet"]

    return make


@pytest.fixture
def shown(ec2):
    async def shown(subnet):
        return (await ec2("DescribeSubnets", SubnetIds=[subnet]))["Subnets"][0]

    return shown


async def test_what_a_subnet_begins_with(cloud, vpc, make, shown):
    tags = [{"ResourceType": "subnet", "Tags": [{"Key": "a", "Value": "b"}]}]
    subnet = await make("10.0.3.77/25", AvailabilityZone="us-east-1b", TagSpecifications=tags)
    id_ = subnet["SubnetId"]
    assert subnet == {
        "SubnetId": id_,
        "SubnetArn": f"arn:aws:ec2:us-east-1:{cloud.account}:subnet/{id_}",
        "VpcId": vpc,
        "OwnerId": cloud.account,
        "State": "available",
        "CidrBlock": "10.0.3.0/25",
        "AvailabilityZone": "us-east-1b",
        "AvailabilityZoneId": subnet["AvailabilityZoneId"],
        "AvailableIpAddressCount": 123,
        "DefaultForAz": False,
        "MapPublicIpOnLaunch": False,
        "MapCustomerOwnedIpOnLaunch": False,
        "AssignIpv6AddressOnCreation": False,
        "Ipv6CidrBlockAssociationSet": [],
        "EnableDns64": False,
        "Ipv6Native": False,
        "PrivateDnsNameOptionsOnLaunch": {
            "HostnameType": "ip-name",
            "EnableResourceNameDnsARecord": False,
            "EnableResourceNameDnsAAAARecord": False,
        },
        "BlockPublicAccessStates": {"InternetGatewayBlockMode": "off"},
        "Tags": [{"Key": "a", "Value": "b"}],
    }
    assert await shown(id_) == subnet


async def test_zones_by_name_and_id(make, refused, vpc):
    assert (await make("10.0.1.0/24"))["AvailabilityZone"] == "us-east-1a"
    zone = (await make("10.0.2.0/24", AvailabilityZone="us-east-1b"))["AvailabilityZoneId"]
    by_id = await make("10.0.3.0/24", AvailabilityZoneId=zone)
    both = await make("10.0.4.0/24", AvailabilityZoneId=zone, AvailabilityZone="us-east-1b")
    assert {by_id["AvailabilityZone"], both["AvailabilityZone"]} == {"us-east-1b"}
    here = {"VpcId": vpc, "CidrBlock": "10.0.5.0/24"}
    at_odds = {"AvailabilityZoneId": zone, "AvailabilityZone": "us-east-1a"}
    assert await refused("CreateSubnet", **here, **at_odds) == "InvalidParameterCombination"
    for unknown in ({"AvailabilityZone": "us-east-1c"}, {"AvailabilityZoneId": "use1-az9"}):
        assert await refused("CreateSubnet", **here, **unknown) == "InvalidParameterValue"


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({}, "MissingParameter"),
        ({"CidrBlock": "10.0.1.0"}, "InvalidParameterValue"),
        ({"CidrBlock": "10.1.0.0/24"}, "InvalidSubnet.Range"),
        ({"CidrBlock": "10.0.0.0/15"}, "InvalidSubnet.Range"),
        ({"CidrBlock": "10.0.1.0/29"}, "InvalidSubnet.Range"),
        ({"CidrBlock": "10.0.0.0/20"}, "InvalidSubnet.Conflict"),
        ({"CidrBlock": "10.0.0.16/28"}, "InvalidSubnet.Conflict"),
        ({"CidrBlock": "10.0.1.0/24", "Ipv6CidrBlock": "2001:db8::/60"}, "InvalidSubnet.Range"),
        ({"CidrBlock": "10.0.1.0/24", "Ipv6CidrBlock": "2001:db9::/64"}, "InvalidSubnet.Range"),
        ({"CidrBlock": "10.0.1.0/24", "Ipv6CidrBlock": "2001:db8:0:1::/64"}, "InvalidSubnet.Conflict"),
        ({"CidrBlock": "10.0.1.0/24", "Ipv6CidrBlock": "10.0.1.0/24"}, "InvalidParameterValue"),
        ({"Ipv6Native": True, "Ipv6CidrBlock": "2001:db8::/64"}, "Unsupported"),
        ({"CidrBlock": "10.0.1.0/24", "OutpostArn": "arn:aws:outposts:x"}, "Unsupported"),
    ],
)
async def test_what_is_no_subnet(cloud, vpc, make, refused, params, code):
    await make(Ipv6CidrBlock="2001:db8:0:1::/64")
    before = cloud.store.view().revision
    assert await refused("CreateSubnet", VpcId=vpc, **params) == code
    assert cloud.store.view().revision == before


async def test_two_hundred_to_a_vpc(ec2, vpc, make, refused):
    for number in range(200):
        await make(f"10.0.{number}.0/28")
    assert await refused("CreateSubnet", VpcId=vpc, CidrBlock="10.0.200.0/28") == "SubnetLimitExceeded"


async def test_it_is_behind_the_default_network_acl(ec2, make):
    subnet = (await make())["SubnetId"]
    behind = [{"Name": "association.subnet-id", "Values": [subnet]}]
    (acl,) = (await ec2("DescribeNetworkAcls", Filters=behind))["NetworkAcls"]
    assert acl["IsDefault"] is True
    await ec2("DeleteSubnet", SubnetId=subnet)
    assert (await ec2("DescribeNetworkAcls", Filters=behind))["NetworkAcls"] == []


async def test_a_deleted_subnet_leaves_its_route_table(ec2, vpc, make, refused):
    subnet = (await make())["SubnetId"]
    table = (await ec2("CreateRouteTable", VpcId=vpc))["RouteTable"]["RouteTableId"]
    await ec2("AssociateRouteTable", RouteTableId=table, SubnetId=subnet)
    await ec2("DeleteSubnet", SubnetId=subnet)
    assert (await ec2("DescribeRouteTables", RouteTableIds=[table]))["RouteTables"][0]["Associations"] == []
    assert await refused("DeleteSubnet", SubnetId=subnet) == "InvalidSubnetID.NotFound"


async def test_interfaces_keep_a_subnet(ec2, make, refused):
    subnet = (await make())["SubnetId"]
    interface = (await ec2("CreateNetworkInterface", SubnetId=subnet))["NetworkInterface"]["NetworkInterfaceId"]
    assert await refused("DeleteSubnet", SubnetId=subnet) == "DependencyViolation"
    await ec2("DeleteNetworkInterface", NetworkInterfaceId=interface)
    await ec2("DeleteSubnet", SubnetId=subnet)


async def test_every_claimed_ipv4_address_counts(ec2, make, shown):
    subnet = (await make("10.0.0.0/28", Ipv6CidrBlock="2001:db8:0:1::/64"))["SubnetId"]
    wish = {"SecondaryPrivateIpAddressCount": 2, "Ipv6AddressCount": 2}
    interface = (await ec2("CreateNetworkInterface", SubnetId=subnet, **wish))["NetworkInterface"]
    assert (await shown(subnet))["AvailableIpAddressCount"] == 8
    await ec2("DeleteNetworkInterface", NetworkInterfaceId=interface["NetworkInterfaceId"])
    assert (await shown(subnet))["AvailableIpAddressCount"] == 11


@pytest.mark.parametrize(
    ("name", "value", "path"),
    [
        ("MapPublicIpOnLaunch", True, ("MapPublicIpOnLaunch",)),
        ("AssignIpv6AddressOnCreation", True, ("AssignIpv6AddressOnCreation",)),
        ("PrivateDnsHostnameTypeOnLaunch", "resource-name", ("PrivateDnsNameOptionsOnLaunch", "HostnameType")),
        (
            "EnableResourceNameDnsARecordOnLaunch",
            True,
            ("PrivateDnsNameOptionsOnLaunch", "EnableResourceNameDnsARecord"),
        ),
        (
            "EnableResourceNameDnsAAAARecordOnLaunch",
            True,
            ("PrivateDnsNameOptionsOnLaunch", "EnableResourceNameDnsAAAARecord"),
        ),
    ],
)
async def test_attributes(ec2, make, shown, name, value, path):
    subnet = (await make(Ipv6CidrBlock="2001:db8:0:1::/64"))["SubnetId"]
    given = {name: {"Value": value} if value is True else value}
    assert await ec2("ModifySubnetAttribute", SubnetId=subnet, **given) == {}
    told = await shown(subnet)
    for part in path:
        told = told[part]
    assert told == value


async def test_attributes_one_at_a_time_and_only_sensible_ones(cloud, make, refused):
    subnet = (await make())["SubnetId"]
    before, yes = cloud.store.view().revision, {"Value": True}
    for params, code in (
        ({}, "MissingParameter"),
        ({"MapPublicIpOnLaunch": {}}, "MissingParameter"),
        ({"MapPublicIpOnLaunch": yes, "EnableResourceNameDnsARecordOnLaunch": yes}, "InvalidParameterCombination"),
        ({"AssignIpv6AddressOnCreation": yes}, "InvalidParameterValue"),
        ({"EnableResourceNameDnsAAAARecordOnLaunch": yes}, "InvalidParameterValue"),
        ({"PrivateDnsHostnameTypeOnLaunch": "my-name"}, "InvalidParameterValue"),
        ({"EnableDns64": yes}, "Unsupported"),
        ({"MapCustomerOwnedIpOnLaunch": yes}, "Unsupported"),
        ({"EnableLniAtDeviceIndex": 1}, "Unsupported"),
    ):
        assert await refused("ModifySubnetAttribute", SubnetId=subnet, **params) == code, params
    assert cloud.store.view().revision == before


def blocks(subnet):
    found = subnet["Ipv6CidrBlockAssociationSet"]
    return [(one["Ipv6CidrBlock"], one["Ipv6CidrBlockState"]["State"]) for one in found]


async def test_ipv6_comes_and_goes(cloud, ec2, make, shown, refused):
    subnet, block = (await make())["SubnetId"], "2001:db8:0:5::/64"
    added = await ec2("AssociateSubnetCidrBlock", SubnetId=subnet, Ipv6CidrBlock=block)
    association = added["Ipv6CidrBlockAssociation"]
    assert association["Ipv6CidrBlockState"] == {"State": "associating"}
    assert blocks(await shown(subnet)) == [(block, "associated")]
    another = {"SubnetId": subnet, "Ipv6CidrBlock": "2001:db8:0:6::/64"}
    assert await refused("AssociateSubnetCidrBlock", **another) == "InvalidParameterValue"
    await ec2("ModifySubnetAttribute", SubnetId=subnet, AssignIpv6AddressOnCreation={"Value": True})
    interface = (await ec2("CreateNetworkInterface", SubnetId=subnet))["NetworkInterface"]
    assert len(interface["Ipv6Addresses"]) == 1
    id_ = association["AssociationId"]
    assert await refused("DisassociateSubnetCidrBlock", AssociationId=id_) == "DependencyViolation"
    await ec2("DeleteNetworkInterface", NetworkInterfaceId=interface["NetworkInterfaceId"])
    ended = await ec2("DisassociateSubnetCidrBlock", AssociationId=id_)
    assert ended["Ipv6CidrBlockAssociation"]["Ipv6CidrBlockState"] == {"State": "disassociating"}
    after = await shown(subnet)
    assert (blocks(after), after["AssignIpv6AddressOnCreation"]) == ([(block, "disassociated")], False)
    waited_for = [{"Name": "ipv6-cidr-block-association.state", "Values": ["disassociated"]}]
    assert len((await ec2("DescribeSubnets", SubnetIds=[subnet], Filters=waited_for))["Subnets"]) == 1
    code = await refused("DisassociateSubnetCidrBlock", AssociationId=id_)
    assert code == "InvalidSubnetCidrBlockAssociationID.NotFound"
    await ec2("AssociateSubnetCidrBlock", **another)
    assert blocks(await shown(subnet)) == [(another["Ipv6CidrBlock"], "associated"), (block, "disassociated")]
    cloud.clock.advance(3601)
    assert blocks(await shown(subnet)) == [(another["Ipv6CidrBlock"], "associated")]


async def test_reserved_addresses_are_given_only_to_who_asks_for_them(ec2, make, refused):
    subnet = (await make("10.0.0.0/28"))["SubnetId"]
    tags = [{"ResourceType": "subnet-cidr-reservation", "Tags": [{"Key": "a", "Value": "b"}]}]
    made = await ec2(
        "CreateSubnetCidrReservation",
        SubnetId=subnet,
        Cidr="10.0.0.8/29",
        ReservationType="explicit",
        Description="for later",
        TagSpecifications=tags,
    )
    reservation = made["SubnetCidrReservation"]
    got = {
        (await ec2("CreateNetworkInterface", SubnetId=subnet))["NetworkInterface"]["PrivateIpAddress"] for _ in "1234"
    }
    assert got == {f"10.0.0.{number}" for number in range(4, 8)}
    assert await refused("CreateNetworkInterface", SubnetId=subnet) == "InsufficientFreeAddressesInSubnet"
    await ec2("CreateNetworkInterface", SubnetId=subnet, PrivateIpAddress="10.0.0.9")
    found = await ec2("GetSubnetCidrReservations", SubnetId=subnet)
    assert found == {"SubnetIpv4CidrReservations": [reservation], "SubnetIpv6CidrReservations": []}
    id_ = reservation["SubnetCidrReservationId"]
    ended = await ec2("DeleteSubnetCidrReservation", SubnetCidrReservationId=id_)
    assert ended["DeletedSubnetCidrReservation"] == reservation
    await ec2("CreateNetworkInterface", SubnetId=subnet)
    code = await refused("DeleteSubnetCidrReservation", SubnetCidrReservationId=id_)
    assert code == "InvalidSubnetCidrReservationID.NotFound"


async def test_what_can_not_be_reserved(ec2, make, refused):
    subnet = (await make(Ipv6CidrBlock="2001:db8:0:1::/64"))["SubnetId"]
    await ec2("CreateSubnetCidrReservation", SubnetId=subnet, Cidr="10.0.0.16/28", ReservationType="prefix")
    await ec2("CreateSubnetCidrReservation", SubnetId=subnet, Cidr="2001:db8:0:1:1::/80", ReservationType="prefix")
    for cidr, use, code in (
        ("10.0.0.16/30", "explicit", "InvalidCidrReservation.Conflict"),
        ("2001:db8:0:1:1::/96", "prefix", "InvalidCidrReservation.Conflict"),
        ("10.0.1.0/28", "prefix", "InvalidParameterValue"),
        ("2001:db8:0:2::/80", "prefix", "InvalidParameterValue"),
        ("10.0.0.64/28", "both", "InvalidParameterValue"),
        ("x", "prefix", "InvalidParameterValue"),
    ):
        params = {"SubnetId": subnet, "Cidr": cidr, "ReservationType": use}
        assert await refused("CreateSubnetCidrReservation", **params) == code, params
    by_type = [{"Name": "reservationType", "Values": ["explicit"]}]
    found = await ec2("GetSubnetCidrReservations", SubnetId=subnet, Filters=by_type)
    assert found == {"SubnetIpv4CidrReservations": [], "SubnetIpv6CidrReservations": []}
    found = await ec2("GetSubnetCidrReservations", SubnetId=subnet)
    assert [len(one) for one in found.values()] == [1, 1]


async def test_a_deleted_subnet_takes_its_reservations_along(cloud, ec2, make, refused):
    subnet = (await make())["SubnetId"]
    await ec2("CreateSubnetCidrReservation", SubnetId=subnet, Cidr="10.0.0.16/28", ReservationType="prefix")
    await ec2("DeleteSubnet", SubnetId=subnet)
    assert await refused("GetSubnetCidrReservations", SubnetId=subnet) == "InvalidSubnetID.NotFound"


async def test_subnets_of_others_are_out_of_reach(cloud, make):
    subnet = (await make(Ipv6CidrBlock="2001:db8:0:1::/64"))["SubnetId"]
    for elsewhere in (cloud.of("000000000002"), cloud.within("eu-central-1")):
        for operation, params in (
            ("DeleteSubnet", {}),
            ("ModifySubnetAttribute", {"MapPublicIpOnLaunch": {"Value": True}}),
            ("AssociateSubnetCidrBlock", {"Ipv6CidrBlock": "2001:db8:0:9::/64"}),
            ("CreateSubnetCidrReservation", {"Cidr": "10.0.0.16/28", "ReservationType": "prefix"}),
        ):
            error = await elsewhere.refusal("ec2", operation, SubnetId=subnet, **params)
            assert error.code == "InvalidSubnetID.NotFound"
