import pytest


def names(result):
    return [region["RegionName"] for region in result["Regions"]]


def zones(result):
    return [zone["ZoneName"] for zone in result["AvailabilityZones"]]


async def test_the_regions_of_this_cloud(ec2):
    result = await ec2("DescribeRegions")
    assert names(result) == ["eu-central-1", "us-east-1"]
    assert result["Regions"][1] == {
        "RegionName": "us-east-1",
        "Endpoint": "ec2.us-east-1.amazonaws.com",
        "OptInStatus": "opt-in-not-required",
        "Geography": [{"Name": "United States of America"}],
    }


async def test_all_regions_say_which_are_there(ec2):
    result = await ec2("DescribeRegions", AllRegions=True)
    assert len(names(result)) > 20
    assert names(result) == sorted(names(result))
    usable = [region["RegionName"] for region in result["Regions"] if region["OptInStatus"] != "not-opted-in"]
    assert usable == ["eu-central-1", "us-east-1"]


async def test_regions_by_name_and_filter(ec2, refused):
    assert names(await ec2("DescribeRegions", RegionNames=["us-east-1"])) == ["us-east-1"]
    assert names(await ec2("DescribeRegions", RegionNames=["eu-west-1"], AllRegions=True)) == ["eu-west-1"]
    assert await refused("DescribeRegions", RegionNames=["eu-west-1"]) == "InvalidParameterValue"
    assert await refused("DescribeRegions", RegionNames=["moon"], AllRegions=True) == "InvalidParameterValue"
    for name, value, expected in (
        ("region-name", "eu-*", ["eu-central-1"]),
        ("endpoint", "ec2.us-east-1.amazonaws.com", ["us-east-1"]),
        ("opt-in-status", "opted-in", []),
    ):
        assert names(await ec2("DescribeRegions", Filters=[{"Name": name, "Values": [value]}])) == expected


async def test_the_zones_of_the_region(cloud, ec2):
    result = await ec2("DescribeAvailabilityZones")
    assert zones(result) == ["us-east-1a", "us-east-1b"]
    assert result["AvailabilityZones"][0] == {
        "ZoneName": "us-east-1a",
        "ZoneId": "use1-az2",
        "ZoneType": "availability-zone",
        "RegionName": "us-east-1",
        "GroupName": "us-east-1-zg-1",
        "GroupLongName": "US East (N. Virginia) 1",
        "NetworkBorderGroup": "us-east-1",
        "OptInStatus": "opt-in-not-required",
        "Geography": [{"Name": "United States of America"}],
        "State": "available",
        "Messages": [],
    }
    assert zones(await cloud.within("eu-central-1").call("ec2", "DescribeAvailabilityZones")) == ["eu-central-1a"]


async def test_zones_that_this_cloud_does_not_have_are_not_told(ec2):
    result = await ec2("DescribeAvailabilityZones", AllAvailabilityZones=True)
    assert zones(result) == ["us-east-1a", "us-east-1b"]


async def test_zones_by_name_id_and_filter(cloud, ec2):
    assert zones(await ec2("DescribeAvailabilityZones", ZoneNames=["us-east-1b"])) == ["us-east-1b"]
    assert zones(await ec2("DescribeAvailabilityZones", ZoneIds=["use1-az2"])) == ["us-east-1a"]
    error = await cloud.refusal("ec2", "DescribeAvailabilityZones", ZoneNames=["us-east-1c"])
    assert (error.code, error.message) == ("InvalidParameterValue", "Invalid availability zone: [us-east-1c]")
    error = await cloud.refusal("ec2", "DescribeAvailabilityZones", ZoneIds=["use1-az6"])
    assert (error.code, error.message) == ("InvalidParameterValue", "Invalid availability zone-id: [use1-az6]")
    for name, value, expected in (
        ("zone-name", "*b", ["us-east-1b"]),
        ("zone-id", "use1-az2", ["us-east-1a"]),
        ("state", "unavailable", []),
        ("zone-type", "availability-zone", ["us-east-1a", "us-east-1b"]),
        ("group-name", "us-east-1-zg-1", ["us-east-1a", "us-east-1b"]),
    ):
        found = await ec2("DescribeAvailabilityZones", Filters=[{"Name": name, "Values": [value]}])
        assert zones(found) == expected


async def test_account_attributes(ec2):
    result = await ec2("DescribeAccountAttributes")
    told = {
        attribute["AttributeName"]: attribute["AttributeValues"][0]["AttributeValue"]
        for attribute in result["AccountAttributes"]
    }
    assert told == {
        "supported-platforms": "VPC",
        "default-vpc": (await ec2("DescribeVpcs"))["Vpcs"][0]["VpcId"],
        "max-instances": "20",
        "vpc-max-security-groups-per-interface": "5",
        "max-elastic-ips": "5",
        "vpc-max-elastic-ips": "5",
    }


async def test_account_attributes_by_name(ec2, refused):
    asked = await ec2("DescribeAccountAttributes", AttributeNames=["supported-platforms"])
    assert [attribute["AttributeName"] for attribute in asked["AccountAttributes"]] == ["supported-platforms"]
    assert await refused("DescribeAccountAttributes", AttributeNames=["shoe-size"]) == "InvalidParameterValue"


@pytest.mark.parametrize("count", [5])
async def test_an_account_can_have_as_many_addresses_as_it_is_told(ec2, refused, count):
    for _ in range(count):
        await ec2("AllocateAddress")
    assert await refused("AllocateAddress") == "AddressLimitExceeded"
