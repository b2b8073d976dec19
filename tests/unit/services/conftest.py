"""A cloud of its own for every test, and short names for calling EC2 on it."""

from functools import partial

import pytest

from pileus.base.config import Config, RegionConfig
from pileus.testing.in_process import DirectCloud

CONFIG = Config(
    regions=(
        RegionConfig(name="us-east-1", zones=("a", "b"), public_pool=("203.0.113.0/27",)),
        RegionConfig(name="eu-central-1", zones=("a",), public_pool=("198.51.100.0/27",)),
    )
)


@pytest.fixture
def cloud(tmp_path):
    cloud = DirectCloud.open(tmp_path, CONFIG)
    yield cloud
    cloud.close()


@pytest.fixture
def ec2(cloud):
    """``await ec2("DescribeVpcs", …)``: the result."""
    return partial(cloud.call, "ec2")


@pytest.fixture
def refused(cloud):
    """``await refused("DescribeVpcs", …)``: the code of the error that it has to give."""

    async def code(operation, **params):
        return (await cloud.refusal("ec2", operation, **params)).code

    return code


@pytest.fixture
def image(cloud):
    return cloud.add_image()


@pytest.fixture
def launch(ec2, image):
    """``await launch()``: a pending instance as RunInstances draws it."""

    async def run(**params):
        result = await ec2(
            "RunInstances", **{"ImageId": image.id, "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1, **params}
        )
        return result["Instances"][0]

    return run
