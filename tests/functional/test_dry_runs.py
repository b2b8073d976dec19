"""DryRun on every operation that has it: permission is told by a status, and nothing changes."""

from awaitable_client import Awaitable
from botocore import UNSIGNED, xform_name
from botocore.config import Config
from botocore.session import Session

from pileus.services.registry import SERVICES

SCALARS = {
    "string": "x",
    "integer": 1,
    "long": 1,
    "boolean": True,
    "blob": b"x",
    "double": 1.0,
    "timestamp": "2030-01-01",
}
NUMBERS = {"integer", "long", "double"}


def value(shape):
    """Something that means nothing and goes over the wire."""
    match shape.type_name:
        case "structure":
            scalars = {name: value(one) for name, one in shape.members.items() if one.type_name in SCALARS}
            return scalars | {name: value(shape.members[name]) for name in shape.required_members}
        case "list":
            return [value(shape.member)]
        case "string":
            return next(iter(shape.enum), "x" * shape.metadata.get("min", 1))
        case scalar:
            return max(SCALARS[scalar], shape.metadata.get("min", 1)) if scalar in NUMBERS else SCALARS[scalar]


async def test_every_operation_that_has_the_parameter(cloud, ec2, launch):
    await launch()
    await cloud.settled()
    model = ec2.blocking.meta.service_model
    (declared,) = [service for service in SERVICES if service.name == "ec2"]
    before = cloud.store.view().revision
    tried = 0
    for operation in sorted(declared.operations):
        shape = model.operation_model(operation).input_shape
        if "DryRun" in shape.members:
            refused = await ec2.refusal(
                xform_name(operation),
                **{name: value(shape.members[name]) for name in shape.required_members},
                DryRun=True,
            )
            assert refused == ("DryRunOperation", 412), operation
            tried += 1
    assert tried > 50
    assert cloud.store.view().revision == before


async def test_of_nobody_are_refused(cloud):
    anonymous = Session().create_client(
        "ec2", "us-east-1", endpoint_url=cloud.endpoint, config=Config(signature_version=UNSIGNED)
    )
    _, status = await Awaitable(anonymous).refusal("describe_instances", DryRun=True)
    assert status in {401, 403}
