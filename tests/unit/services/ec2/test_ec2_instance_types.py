import pytest

from pileus.catalogue import instance_types, is_offered


async def types(ec2, *filters, **params):
    """The names of all pages."""
    filters = [{"Name": name, "Values": list(values)} for name, *values in filters]
    found, token = [], {}
    while True:
        result = await ec2("DescribeInstanceTypes", Filters=filters, **params, **token)
        found += [one["InstanceType"] for one in result["InstanceTypes"]]
        if "NextToken" not in result:
            return found
        token = {"NextToken": result["NextToken"]}


async def test_pages_of_a_hundred_cover_the_region_in_order(ec2):
    found = await types(ec2)
    assert found == sorted(set(found))
    assert len(found) > 500
    assert set(found) == {
        name for name in instance_types() if is_offered(name, "us-east-1a") or is_offered(name, "us-east-1b")
    }
    assert len((await ec2("DescribeInstanceTypes"))["InstanceTypes"]) == 100
    assert await types(ec2, MaxResults=33) == found


async def test_a_type_as_aws_describes_it(ec2):
    drawn = (await ec2("DescribeInstanceTypes", InstanceTypes=["t3.micro"]))["InstanceTypes"][0]
    assert drawn["MemoryInfo"] == {"SizeInMiB": 1024}
    assert drawn["VCpuInfo"]["DefaultVCpus"] == 2
    assert drawn["SupportedInRegion"] is True


async def test_types_that_the_region_does_not_have(cloud, ec2, refused):
    offered = set(await types(ec2))
    foreign = next(name for name in instance_types() if name not in offered)
    error = await cloud.refusal("ec2", "DescribeInstanceTypes", InstanceTypes=["t3.micro", foreign, "t1.moon"])
    assert error.code == "InvalidInstanceType"
    assert error.message == f"The following supplied instance types do not exist: [{foreign}, t1.moon]"
    everywhere = await ec2("DescribeInstanceTypes", InstanceTypes=[foreign], IncludeUnsupportedInRegion=True)
    assert everywhere["InstanceTypes"][0]["SupportedInRegion"] is False
    assert await types(ec2, IncludeUnsupportedInRegion=True) == list(instance_types())
    assert (
        await refused("DescribeInstanceTypes", InstanceTypes=["t3.micro"], MaxResults=5)
        == "InvalidParameterCombination"
    )
    assert await refused("DescribeInstanceTypes", MaxResults=101) == "InvalidParameterValue"
    assert await refused("DescribeInstanceTypes", InstanceTypes=["t3.micro"] * 101) == "InvalidParameterValue"


@pytest.mark.parametrize(
    ("filters", "inside", "outside"),
    [
        ([("instance-type", "t3.*", "m5.large")], {"t3.micro", "m5.large"}, {"t2.micro"}),
        ([("vcpu-info.default-vcpus", "2"), ("memory-info.size-in-mib", "1024")], {"t3.micro"}, {"t3.small"}),
        ([("processor-info.supported-architecture", "arm64")], {"t4g.micro"}, {"t3.micro"}),
        ([("burstable-performance-supported", "true")], {"t3.micro", "t2.micro"}, {"m5.large"}),
        ([("bare-metal", "true")], {"c5.metal"}, {"c5.large"}),
        ([("hypervisor", "xen")], {"t2.micro"}, {"t3.micro", "c5.metal"}),
        ([("processor-info.sustained-clock-speed-in-ghz", "2.5")], {"t3.micro"}, {"c5.large"}),
        ([("instance-storage-info.disk.type", "ssd")], {"m5d.large"}, {"m5.large", "d2.xlarge"}),
        ([("instance-storage-supported", "true")], {"m5d.large"}, {"m5.large"}),
        ([("vcpu-info.valid-threads-per-core", "1,2")], {"t3.micro"}, {"t4g.micro"}),
        ([("vcpu-info.valid-threads-per-core", "1")], {"t3.micro"}, set()),
        ([("supported-usage-class", "spot")], {"t3.micro"}, set()),
        ([("free-tier-eligible", "true")], {"t3.micro"}, {"m5.large"}),
        ([("ebs-info.ebs-optimized-info.baseline-throughput-in-mbps", "81.25")], {"m5.large"}, {"t3.micro"}),
        ([("network-info.network-performance", "Up to 5 Gigabit")], {"t3.micro"}, {"m5.large"}),
    ],
)
async def test_filters(ec2, filters, inside, outside):
    found = set(await types(ec2, *filters))
    assert inside <= found
    assert not outside & found


async def offerings(ec2, **params):
    found, token = [], {}
    while True:
        result = await ec2("DescribeInstanceTypeOfferings", **params, **token)
        found += [(one["InstanceType"], one["Location"]) for one in result["InstanceTypeOfferings"]]
        if "NextToken" not in result:
            return found
        token = {"NextToken": result["NextToken"]}


async def test_offerings_of_the_region_are_what_its_types_are(ec2):
    assert await offerings(ec2) == [(name, "us-east-1") for name in await types(ec2)]


async def test_offerings_by_zone_cover_configured_zones_alone(ec2):
    by_name = await offerings(ec2, LocationType="availability-zone")
    assert {location for _, location in by_name} == {"us-east-1a", "us-east-1b"}
    by_id = await offerings(ec2, LocationType="availability-zone-id", MaxResults=300)
    assert {location for _, location in by_id} == {"use1-az2", "use1-az4"}
    assert len(by_id) == len(set(by_id)) == len(by_name)


async def test_offerings_by_filter(ec2, refused):
    filters = [{"Name": "instance-type", "Values": ["t3.micro"]}, {"Name": "location", "Values": ["us-east-1b"]}]
    assert await offerings(ec2, LocationType="availability-zone", Filters=filters) == [("t3.micro", "us-east-1b")]
    assert await offerings(ec2, LocationType="outpost") == []
    assert await refused("DescribeInstanceTypeOfferings", LocationType="planet") == "InvalidParameterValue"
