from datetime import timedelta
from functools import partial

import pytest

TINY = "/aws/service/pileus/tiny/latest/amd64"


@pytest.fixture
def ssm(cloud):
    return partial(cloud.call, "ssm")


@pytest.fixture
def refused(cloud):
    async def code(operation, **params):
        return (await cloud.refusal("ssm", operation, **params)).code

    return code


def names(result):
    return [parameter["Name"] for parameter in result["Parameters"]]


async def test_a_parameter_as_it_is_drawn(cloud, ssm, image):
    assert await ssm("GetParameter", Name=TINY) == {
        "Parameter": {
            "Name": TINY,
            "Type": "String",
            "Value": image.id,
            "Version": 1,
            "LastModifiedDate": cloud.clock.now(),
            "ARN": f"arn:aws:ssm:us-east-1::parameter{TINY}",
            "DataType": "aws:ec2:image",
        }
    }


async def test_it_names_the_newest_image_that_everybody_can_launch(cloud, ssm, image):
    later = partial(cloud.add_image, created=cloud.clock.now() + timedelta(days=1))
    later(public=False)
    later(state="disabled")
    later(region="eu-central-1")
    assert (await ssm("GetParameter", Name=TINY))["Parameter"]["Value"] == image.id
    newest = later()
    assert (await ssm("GetParameter", Name=TINY))["Parameter"]["Value"] == newest.id


async def test_by_arn_version_and_for_other_accounts(cloud, ssm, refused, image):
    arn = f"arn:aws:ssm:us-east-1::parameter{TINY}"
    assert (await ssm("GetParameter", Name=arn))["Parameter"]["Name"] == TINY
    assert (await ssm("GetParameter", Name=f"{TINY}:1"))["Parameter"]["Selector"] == ":1"
    assert await refused("GetParameter", Name=f"{TINY}:2") == "ParameterVersionNotFound"
    assert await refused("GetParameter", Name=f"{TINY}:prod") == "ParameterVersionNotFound"
    assert await refused("GetParameter", Name=arn.replace("us-east-1", "us-west-2")) == "ParameterNotFound"
    other = await cloud.of("000000000002").call("ssm", "GetParameter", Name=TINY)
    assert other["Parameter"]["Value"] == image.id


async def test_parameters_that_are_not_there(cloud, refused):
    cloud.add_image(region="eu-central-1")
    assert await refused("GetParameter", Name=TINY) == "ParameterNotFound"
    assert await refused("GetParameter", Name="password") == "ParameterNotFound"
    assert await refused("GetParameter", Name="a b") == "ValidationException"


async def test_several_at_once(ssm, image):
    result = await ssm("GetParameters", Names=[TINY, "/nothing", f"{TINY}:9", TINY])
    assert names(result) == [TINY]
    assert result["InvalidParameters"] == ["/nothing", f"{TINY}:9"]


async def test_by_path(cloud, ssm, refused, image):
    debian = "/aws/service/debian/release/12/latest/amd64"
    cloud.add_image(ssm_path=debian)
    assert names(await ssm("GetParametersByPath", Path="/aws/service/", Recursive=True)) == [debian, TINY]
    assert names(await ssm("GetParametersByPath", Path="/aws/service")) == []
    assert names(await ssm("GetParametersByPath", Path="/aws/service/pileus/tiny/latest")) == [TINY]
    assert names(await ssm("GetParametersByPath", Path="/", Recursive=True)) == [debian, TINY]
    assert names(await ssm("GetParametersByPath", Path="/aws/service/pil", Recursive=True)) == []
    assert await refused("GetParametersByPath", Path="aws") == "ValidationException"


async def test_pages_of_ten(cloud, ssm, refused):
    paths = [f"/aws/service/test/{letter}" for letter in "abcdefghijklm"]
    for path in paths:
        cloud.add_image(ssm_path=path)
    first = await ssm("GetParametersByPath", Path="/aws/service/test")
    second = await ssm("GetParametersByPath", Path="/aws/service/test", NextToken=first["NextToken"])
    assert (names(first), names(second)) == (paths[:10], paths[10:])
    assert await refused("GetParametersByPath", Path="/aws/service", NextToken="x") == "InvalidNextToken"
    assert await refused("GetParametersByPath", Path="/aws/other", NextToken=first["NextToken"]) == "InvalidNextToken"


@pytest.mark.parametrize(
    ("key", "option", "values", "passes"),
    [
        ("Type", "Equals", ["String"], True),
        ("Type", "Equals", ["StringList", "SecureString"], False),
        ("Type", "BeginsWith", ["Str"], True),
        ("KeyId", "Equals", ["alias/aws/ssm"], False),
        ("Label", "Equals", ["prod"], False),
    ],
)
async def test_filters(ssm, image, key, option, values, passes):
    filters = [{"Key": key, "Option": option, "Values": values}]
    result = await ssm("GetParametersByPath", Path="/", Recursive=True, ParameterFilters=filters)
    assert bool(names(result)) == passes


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"Key": "Name", "Values": ["x"]}, "InvalidFilterKey"),
        ({"Key": "Type", "Option": "Contains", "Values": ["x"]}, "InvalidFilterOption"),
        ({"Key": "Type"}, "InvalidFilterValue"),
    ],
)
async def test_filters_that_do_not_exist(refused, wrong, code):
    assert await refused("GetParametersByPath", Path="/", ParameterFilters=[wrong]) == code


async def test_a_launch_resolves_parameters(cloud, launch, image):
    assert (await launch(ImageId=f"resolve:ssm:{TINY}"))["ImageId"] == image.id
    error = await cloud.refusal("ec2", "RunInstances", ImageId="resolve:ssm:/nothing", MinCount=1, MaxCount=1)
    assert error.code == "ParameterNotFound"
