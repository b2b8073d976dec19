"""Network interfaces by themselves: made, described, changed, deleted, with addresses of all kinds."""

from functools import partial
from ipaddress import IPv4Network, IPv6Address, IPv6Network

import pytest
from interface_lab import interface, make_lab

from pileus.records import NetworkInterface
from pileus.records.subnet import subnet_scope
from pileus.testing.consistency import problems


@pytest.fixture
async def lab(ec2):
    return await make_lab(ec2)


@pytest.fixture
def create(ec2, lab):
    async def make(**params):
        return (await ec2("CreateNetworkInterface", **{"SubnetId": lab.subnet, **params}))["NetworkInterface"]

    return make


@pytest.fixture(autouse=True)
def everything_fits(cloud):
    yield
    assert problems(cloud.store.view(), cloud.config) == []


def claims(cloud, lab):
    return cloud.store.view().claims(subnet_scope(lab.subnet))


async def test_a_plain_one(cloud, ec2, lab, create):
    tags = [{"Key": "Name", "Value": "x"}]
    specification = [{"ResourceType": "network-interface", "Tags": tags}]
    made = await create(Description="for tests", PrivateIpAddress="10.0.1.77", TagSpecifications=specification)
    assert await interface(ec2, made["NetworkInterfaceId"]) == made
    default = (await ec2("DescribeSecurityGroups", Filters=[{"Name": "vpc-id", "Values": [lab.vpc]}]))["SecurityGroups"]
    assert made | {"NetworkInterfaceId": "", "MacAddress": "", "AvailabilityZoneId": ""} == {
        "NetworkInterfaceId": "",
        "MacAddress": "",
        "AvailabilityZone": "us-east-1a",
        "AvailabilityZoneId": "",
        "Description": "for tests",
        "Groups": [{"GroupId": default[0]["GroupId"], "GroupName": "default"}],
        "InterfaceType": "interface",
        "Ipv6Addresses": [],
        "OwnerId": cloud.config.account,
        "PrivateIpAddress": "10.0.1.77",
        "PrivateDnsName": "ip-10-0-1-77.ec2.internal",
        "PrivateIpAddresses": [
            {"Primary": True, "PrivateIpAddress": "10.0.1.77", "PrivateDnsName": "ip-10-0-1-77.ec2.internal"}
        ],
        "RequesterManaged": False,
        "SourceDestCheck": True,
        "Status": "available",
        "SubnetId": lab.subnet,
        "TagSet": tags,
        "VpcId": lab.vpc,
        "DenyAllIgwTraffic": False,
        "Ipv6Native": False,
        "Operator": {"Managed": False},
    }


async def test_addresses_of_all_kinds(cloud, ec2, lab, create):
    made = await create(
        PrivateIpAddresses=[
            {"PrivateIpAddress": "10.0.1.21"},
            {"PrivateIpAddress": "10.0.1.20", "Primary": True},
        ],
        Ipv6AddressCount=2,
        Ipv4PrefixCount=1,
    )
    assert [one["PrivateIpAddress"] for one in made["PrivateIpAddresses"]] == ["10.0.1.20", "10.0.1.21"]
    sixes = [one["Ipv6Address"] for one in made["Ipv6Addresses"]]
    assert len(set(sixes)) == 2
    assert all(IPv6Address(one) in IPv6Network(lab.ipv6) for one in sixes)
    (prefix,) = (one["Ipv4Prefix"] for one in made["Ipv4Prefixes"])
    assert IPv4Network(prefix).prefixlen == 28
    assert IPv4Network(prefix).subnet_of(IPv4Network("10.0.1.0/24"))
    assert len(claims(cloud, lab)) == 2 + 2 + 17
    other = await create(Ipv6PrefixCount=1, SecondaryPrivateIpAddressCount=3)
    assert len(other["PrivateIpAddresses"]) == 4
    (six,) = (IPv6Network(one["Ipv6Prefix"]) for one in other["Ipv6Prefixes"])
    assert six.prefixlen == 80
    assert six.subnet_of(IPv6Network(lab.ipv6))
    for one in (made, other):
        await ec2("DeleteNetworkInterface", NetworkInterfaceId=one["NetworkInterfaceId"])
    assert claims(cloud, lab) == {}


async def test_the_subnet_may_give_an_ipv6_address(ec2, lab, create):
    await ec2("ModifySubnetAttribute", SubnetId=lab.subnet, AssignIpv6AddressOnCreation={"Value": True})
    assert len((await create())["Ipv6Addresses"]) == 1
    assert len((await create(Ipv6AddressCount=2))["Ipv6Addresses"]) == 2


async def test_what_is_taken_stays_its_owners(cloud, ec2, lab, refused, create):
    prefix = (await create(Ipv4PrefixCount=1))["Ipv4Prefixes"][0]["Ipv4Prefix"]
    inside = str(IPv4Network(prefix)[3])
    refuse = partial(refused, "CreateNetworkInterface", SubnetId=lab.subnet)
    before = claims(cloud, lab)
    assert await refuse(PrivateIpAddress=inside) == "InvalidIPAddress.InUse"
    assert await refuse(Ipv4Prefixes=[{"Ipv4Prefix": prefix}]) == "InvalidIPAddress.InUse"
    assert await refuse(PrivateIpAddresses=[{"PrivateIpAddress": inside}]) == "InvalidIPAddress.InUse"
    assert await refuse(Ipv6AddressCount=1, Ipv4Prefixes=[{"Ipv4Prefix": prefix}]) == "InvalidIPAddress.InUse"
    assert claims(cloud, lab) == before
    six = (await create(Ipv6PrefixCount=1))["Ipv6Prefixes"][0]["Ipv6Prefix"]
    inside = str(IPv6Network(six)[7])
    assert await refuse(Ipv6Addresses=[{"Ipv6Address": inside}]) == "InvalidIPAddress.InUse"
    address = (await create(Ipv6AddressCount=1))["Ipv6Addresses"][0]["Ipv6Address"]
    around = str(IPv6Network((address, 80), strict=False))
    assert await refuse(Ipv6Prefixes=[{"Ipv6Prefix": around}]) == "InvalidIPAddress.InUse"


async def test_prefixes_come_out_of_their_reservations(ec2, lab, create):
    reserve = partial(ec2, "CreateSubnetCidrReservation", SubnetId=lab.subnet)
    await reserve(Cidr="10.0.1.64/28", ReservationType="prefix")
    await reserve(Cidr="10.0.1.128/25", ReservationType="explicit")
    made = [(await create(PrivateIpAddress=f"10.0.1.{one}", Ipv4PrefixCount=1))["Ipv4Prefixes"] for one in range(4, 10)]
    first, *later = (one["Ipv4Prefix"] for (one,) in made)
    assert first == "10.0.1.64/28"
    assert not any(IPv4Network("10.0.1.128/25").overlaps(IPv4Network(one)) for one in later)


async def test_a_subnet_without_room_for_prefixes(ec2, lab, refused):
    subnet = (await ec2("CreateSubnet", VpcId=lab.vpc, CidrBlock="10.0.3.0/27"))["Subnet"]["SubnetId"]
    assert await refused("CreateNetworkInterface", SubnetId=subnet, Ipv4PrefixCount=1) == "InsufficientCidrBlocks"
    assert await refused("CreateNetworkInterface", SubnetId=subnet, Ipv6AddressCount=1) == "InvalidParameterValue"


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"SubnetId": "subnet-0123456789abcdef0"}, "InvalidSubnetID.NotFound"),
        ({"Groups": ["sg-0123456789abcdef0"]}, "InvalidGroup.NotFound"),
        ({"InterfaceType": "efa"}, "Unsupported"),
        ({"PrivateIpAddress": "10.0.1.3"}, "InvalidParameterValue"),
        ({"PrivateIpAddress": "10.0.2.9"}, "InvalidParameterValue"),
        ({"PrivateIpAddress": "x"}, "InvalidParameterValue"),
        ({"PrivateIpAddresses": [{"PrivateIpAddress": "10.0.1.9"}] * 2}, "InvalidParameterValue"),
        (
            {"PrivateIpAddress": "10.0.1.9", "PrivateIpAddresses": [{"PrivateIpAddress": "10.0.1.8", "Primary": True}]},
            "InvalidParameterCombination",
        ),
        (
            {"SecondaryPrivateIpAddressCount": 1, "PrivateIpAddresses": [{"PrivateIpAddress": "10.0.1.8"}]},
            "InvalidParameterCombination",
        ),
        ({"SecondaryPrivateIpAddressCount": 1, "Ipv4PrefixCount": 1}, "InvalidParameterCombination"),
        ({"SecondaryPrivateIpAddressCount": -1}, "InvalidParameterValue"),
        ({"Ipv4Prefixes": [{"Ipv4Prefix": "10.0.1.0/27"}]}, "InvalidParameterValue"),
        ({"Ipv4Prefixes": [{"Ipv4Prefix": "10.0.1.0/28"}]}, "InvalidParameterValue"),
        ({"Ipv4Prefixes": [{"Ipv4Prefix": "10.0.1.240/28"}]}, "InvalidParameterValue"),
        ({"Ipv6Prefixes": [{"Ipv6Prefix": "2001:db8:ffff::/80"}]}, "InvalidParameterValue"),
        ({"Ipv6Addresses": [{"Ipv6Address": "2001:db8:ffff::9"}]}, "InvalidParameterValue"),
        ({"Description": "x" * 256}, "InvalidParameterValue"),
        ({"EnablePrimaryIpv6": True}, "InvalidParameterCombination"),
        ({"ConnectionTrackingSpecification": {"UdpTimeout": 30}}, "Unsupported"),
    ],
)
async def test_what_can_not_be_had(cloud, lab, refused, params, code):
    assert await refused("CreateNetworkInterface", **{"SubnetId": lab.subnet, **params}) == code
    assert claims(cloud, lab) == {}
    assert not cloud.store.view().list(NetworkInterface)


async def test_groups_are_those_of_the_vpc_and_at_most_five(ec2, lab, refused, create):
    async def group(name, vpc):
        return (await ec2("CreateSecurityGroup", GroupName=name, Description="d", VpcId=vpc))["GroupId"]

    default = (await ec2("DescribeVpcs", Filters=[{"Name": "is-default", "Values": ["true"]}]))["Vpcs"][0]["VpcId"]
    foreign, own = await group("f", default), [await group(f"g{number}", lab.vpc) for number in range(6)]
    made = (await create(Groups=own[:5]))["NetworkInterfaceId"]
    assert [one["GroupId"] for one in (await interface(ec2, made))["Groups"]] == own[:5]
    modify = partial(refused, "ModifyNetworkInterfaceAttribute", NetworkInterfaceId=made)
    assert await modify(Groups=own) == "SecurityGroupsPerInterfaceLimitExceeded"
    assert await modify(Groups=[foreign]) == "InvalidParameter"
    await ec2("ModifyNetworkInterfaceAttribute", NetworkInterfaceId=made, Groups=own[5:])
    assert [one["GroupId"] for one in (await interface(ec2, made))["Groups"]] == own[5:]


async def test_the_same_token_makes_one(ec2, lab, refused):
    params = {"SubnetId": lab.subnet, "ClientToken": "once"}
    first, second = [await ec2("CreateNetworkInterface", **params) for _ in range(2)]
    assert first == second
    assert first["ClientToken"] == "once"
    changed = await refused("CreateNetworkInterface", **params, Description="other")
    assert changed == "IdempotentParameterMismatch"


async def test_attributes_one_by_one(ec2, refused, create):
    made = (await create(Ipv6AddressCount=1))["NetworkInterfaceId"]
    modify = partial(ec2, "ModifyNetworkInterfaceAttribute", NetworkInterfaceId=made)
    describe = partial(ec2, "DescribeNetworkInterfaceAttribute", NetworkInterfaceId=made)
    await modify(Description={"Value": "new"})
    await modify(SourceDestCheck={"Value": False})
    await modify(EnablePrimaryIpv6=True)
    assert (await describe(Attribute="description"))["Description"] == {"Value": "new"}
    assert (await describe(Attribute="sourceDestCheck"))["SourceDestCheck"] == {"Value": False}
    assert len((await describe(Attribute="groupSet"))["Groups"]) == 1
    assert "Attachment" not in await describe(Attribute="attachment")
    assert (await interface(ec2, made))["Ipv6Addresses"][0]["IsPrimaryIpv6"] is True
    await ec2("ResetNetworkInterfaceAttribute", NetworkInterfaceId=made, SourceDestCheck="x")
    assert (await interface(ec2, made))["SourceDestCheck"] is True
    refuse = partial(refused, "ModifyNetworkInterfaceAttribute", NetworkInterfaceId=made)
    assert await refuse() == "InvalidParameterCombination"
    assert await refuse(SourceDestCheck={"Value": True}, EnablePrimaryIpv6=True) == "InvalidParameterCombination"
    assert await refuse(EnablePrimaryIpv6=False) == "InvalidParameterValue"
    assert await refuse(Attachment={"AttachmentId": "eni-attach-0123456789abcdef0"}) == "InvalidAttachmentID.NotFound"
    assert await refused("DescribeNetworkInterfaceAttribute", NetworkInterfaceId=made) == "MissingParameter"


async def test_what_the_cloud_manages_is_not_its_owners_to_change(ec2, lab, refused):
    await ec2("CreateNatGateway", SubnetId=lab.subnet, ConnectivityType="private")
    managed = [{"Name": "requester-managed", "Values": ["true"]}]
    (found,) = (await ec2("DescribeNetworkInterfaces", Filters=managed))["NetworkInterfaces"]
    made = found["NetworkInterfaceId"]
    named = {"NetworkInterfaceId": made}
    drawn = await interface(ec2, made)
    assert (drawn["RequesterManaged"], drawn["Status"]) == (True, "in-use")
    attachment = drawn["Attachment"]["AttachmentId"]
    assert attachment.startswith("ela-attach-")
    for operation, more in (
        ("DeleteNetworkInterface", {}),
        ("ModifyNetworkInterfaceAttribute", {"Description": {"Value": "mine"}}),
        ("AssignPrivateIpAddresses", {"SecondaryPrivateIpAddressCount": 1}),
    ):
        assert await refused(operation, **named, **more) == "OperationNotPermitted"
    assert await refused("DetachNetworkInterface", AttachmentId=attachment) == "OperationNotPermitted"


async def test_filters_that_look_into_addresses(ec2, create):
    one, other = await create(SecondaryPrivateIpAddressCount=1), await create(Ipv6AddressCount=1)
    secondary = one["PrivateIpAddresses"][1]["PrivateIpAddress"]

    async def found(name, value):
        result = await ec2("DescribeNetworkInterfaces", Filters=[{"Name": name, "Values": [value]}])
        return {each["NetworkInterfaceId"] for each in result["NetworkInterfaces"]}

    assert await found("addresses.private-ip-address", secondary) == {one["NetworkInterfaceId"]}
    assert await found("private-ip-address", secondary) == set()
    assert await found("addresses.primary", "false") == {one["NetworkInterfaceId"]}
    six = other["Ipv6Addresses"][0]["Ipv6Address"]
    assert await found("ipv6-addresses.ipv6-address", six) == {other["NetworkInterfaceId"]}
    assert await found("status", "available") == {one["NetworkInterfaceId"], other["NetworkInterfaceId"]}
