"""Whatever a call of KMS holds, it is answered or refused, and never an internal error."""

import botocore.session
import pytest

from pileus.base.errors import ServiceError
from pileus.services.kms import kms as declared

MODEL = botocore.session.get_session().get_service_model("kms")
NOWHERE = "00000000-0000-4000-8000-000000000000"
TEXTS = [
    "x",
    "alias/aws/ebs",
    "arn:aws:kms:us-east-1:000000000001:key/" + NOWHERE,
    "arn:",
    "ä\0" * 3,
    "SYMMETRIC_DEFAULT",
]


def senseless(shape, text, depth=0):
    """A value of the shape."""
    match shape.type_name:
        case "string":
            return shape.enum[len(text) % len(shape.enum)] if shape.enum else text
        case "integer" | "long":
            return 1
        case "boolean":
            return False
        case "blob":
            return text.encode()
        case "timestamp":
            return None
        case "list":
            return [senseless(shape.member, text, depth + 1)]
        case "map":
            return {"a": senseless(shape.value, text, depth + 1)}
        case _:
            return {name: senseless(member, text, depth + 1) for name, member in shape.members.items() if depth < 3}


def test_what_clients_need_is_there():
    missing = set(MODEL.operation_names) - declared.operations.keys()
    assert not {name for name in missing if "CustomKeyStore" not in name} - {
        "Encapsulate", "Decapsulate", "ReplicateKey", "UpdatePrimaryRegion", "GetKeyLastUsage",
    }  # fmt: skip


@pytest.mark.parametrize("operation", sorted(declared.operations))
async def test_whatever_it_is_given_it_answers_or_refuses(cloud, kms, create, operation):
    keys = [(await create())["KeyId"], (await create(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY"))["KeyId"],
            (await create(Origin="EXTERNAL"))["KeyId"]]  # fmt: skip
    shape = MODEL.operation_model(operation).input_shape
    for text in TEXTS:
        whole = {name: senseless(member, text) for name, member in shape.members.items()}
        whole = {name: value for name, value in whole.items() if value is not None}
        needed = {name: whole[name] for name in shape.required_members}
        named = [name for name in shape.members if name.endswith("KeyId")]
        for key in keys:
            real = dict.fromkeys(named, key)
            tried = [needed, whole, {**needed, **real}, {**whole, **real}]
            tried += [{**needed, **real, name: value} for name, value in whole.items() if name not in real]
            for params in tried:
                try:
                    await cloud.call("kms", operation, **params)
                except ServiceError as error:
                    assert error.status < 500, error
