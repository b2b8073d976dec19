import pytest


def option(key, *values):
    return {"Key": key, "Values": list(values)}


@pytest.fixture
async def vpc(ec2):
    return (await ec2("DescribeVpcs"))["Vpcs"][0]


async def test_every_account_has_a_default_set_in_every_region(cloud, ec2, vpc):
    (options,) = (await ec2("DescribeDhcpOptions"))["DhcpOptions"]
    assert options == {
        "DhcpOptionsId": vpc["DhcpOptionsId"],
        "OwnerId": cloud.account,
        "DhcpConfigurations": [
            {"Key": "domain-name", "Values": [{"Value": "ec2.internal"}]},
            {"Key": "domain-name-servers", "Values": [{"Value": "AmazonProvidedDNS"}]},
        ],
        "Tags": [],
    }
    (theirs,) = (await cloud.within("eu-central-1").call("ec2", "DescribeDhcpOptions"))["DhcpOptions"]
    assert theirs["DhcpConfigurations"][0]["Values"] == [{"Value": "eu-central-1.compute.internal"}]


async def test_a_set_is_made_used_and_deleted(ec2, refused, vpc):
    made = await ec2(
        "CreateDhcpOptions",
        DhcpConfigurations=[
            option("domain-name", "example.net other.example.net"),
            option("domain-name-servers", "10.0.0.7, 10.0.0.8", "fd00::7"),
            option("ntp-servers", *(f"10.0.0.{n}" for n in range(4)), *(f"fd00::{n}" for n in range(4))),
            option("netbios-name-servers", "10.0.0.9"),
            option("netbios-node-type", "2"),
            option("ipv6-address-preferred-lease-time", "140"),
        ],
        TagSpecifications=[{"ResourceType": "dhcp-options", "Tags": [{"Key": "a", "Value": "b"}]}],
    )
    options = made["DhcpOptions"]
    assert options["DhcpConfigurations"][1]["Values"] == [{"Value": v} for v in ("10.0.0.7", "10.0.0.8", "fd00::7")]
    id_ = options["DhcpOptionsId"]
    await ec2("AssociateDhcpOptions", DhcpOptionsId=id_, VpcId=vpc["VpcId"])
    assert (await ec2("DescribeVpcs"))["Vpcs"][0]["DhcpOptionsId"] == id_
    assert await refused("DeleteDhcpOptions", DhcpOptionsId=id_) == "DependencyViolation"
    for name, value in (("key", "netbios-node-type"), ("value", "10.0.0.8"), ("tag:a", "b"), ("dhcp-options-id", id_)):
        found = await ec2("DescribeDhcpOptions", Filters=[{"Name": name, "Values": [value]}])
        assert [one["DhcpOptionsId"] for one in found["DhcpOptions"]] == [id_], name
    await ec2("AssociateDhcpOptions", DhcpOptionsId="default", VpcId=vpc["VpcId"])
    assert (await ec2("DescribeVpcs"))["Vpcs"][0]["DhcpOptionsId"] == "default"
    await ec2("DeleteDhcpOptions", DhcpOptionsId=id_)
    assert await refused("DescribeDhcpOptions", DhcpOptionsIds=[id_]) == "InvalidDhcpOptionID.NotFound"
    assert await refused("DeleteDhcpOptions", DhcpOptionsId="dopt-x") == "InvalidDhcpOptionsId.Malformed"


@pytest.mark.parametrize(
    "options",
    [
        [],
        [option("color", "red")],
        [option("domain-name")],
        [option("domain-name", "a.example", "b.example")],
        [option("domain-name", "a_b.example,c")],
        [option("domain-name", "exämple.net")],
        [option("domain-name", "a\nb")],
        [option("domain-name", "x" * 256)],
        [option("domain-name-servers", "10.0.0.1", "AmazonProvidedDNS")],
        [option("domain-name-servers", "resolver.example")],
        [option("domain-name-servers", *(f"10.0.0.{n}" for n in range(5)))],
        [option("domain-name-servers", "fe80::1%eth0")],
        [option("ntp-servers", *(f"10.0.0.{n}" for n in range(5)))],
        [option("netbios-name-servers", "fd00::1")],
        [option("netbios-node-type", "3")],
        [option("netbios-node-type", "1", "2")],
        [option("ipv6-address-preferred-lease-time", "139")],
        [option("ipv6-address-preferred-lease-time", "2147483648")],
        [option("ipv6-address-preferred-lease-time", "9" * 5000)],
        [option("netbios-node-type", "1"), option("netbios-node-type", "1")],
    ],
)
async def test_sets_that_make_no_sense(ec2, refused, options):
    code = await refused("CreateDhcpOptions", DhcpConfigurations=options)
    assert code == ("InvalidParameterValue" if options else "MissingParameter")
    assert len((await ec2("DescribeDhcpOptions"))["DhcpOptions"]) == 1


async def test_sets_of_others_are_out_of_reach(cloud, ec2, vpc):
    other = cloud.of("000000000002")
    (theirs,) = (await other.call("ec2", "DescribeDhcpOptions"))["DhcpOptions"]
    for operation, params in (
        ("AssociateDhcpOptions", {"VpcId": vpc["VpcId"]}),
        ("DeleteDhcpOptions", {}),
    ):
        error = await cloud.refusal("ec2", operation, DhcpOptionsId=theirs["DhcpOptionsId"], **params)
        assert error.code == "InvalidDhcpOptionID.NotFound"


async def test_new_vpcs_begin_with_the_default_set_even_after_it_was_deleted(ec2, vpc):
    first = (await ec2("CreateVpc", CidrBlock="10.0.0.0/16"))["Vpc"]
    assert first["DhcpOptionsId"] == vpc["DhcpOptionsId"]
    for id_ in (first["VpcId"], vpc["VpcId"]):
        await ec2("AssociateDhcpOptions", DhcpOptionsId="default", VpcId=id_)
    await ec2("DeleteDhcpOptions", DhcpOptionsId=vpc["DhcpOptionsId"])
    second = (await ec2("CreateVpc", CidrBlock="10.0.0.0/16"))["Vpc"]
    assert second["DhcpOptionsId"] not in {"default", vpc["DhcpOptionsId"]}
