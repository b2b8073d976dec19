"""The console of an instance: what it said on its serial line, and its screen."""

import base64
from typing import TYPE_CHECKING, Any

from pileus.operations.context import ConsoleUnavailable, Context
from pileus.records import ConsoleLog, Instance
from pileus.records.instance import State
from pileus.services.ec2.errors import IncorrectInstanceState, UnsupportedOperation
from pileus.services.ec2.resources import INSTANCE
from pileus.services.ec2.service import ec2

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import GetConsoleOutputRequestTypeDef, GetConsoleScreenshotRequestTypeDef


@ec2.waits("GetConsoleOutput", resources=("instance:InstanceId",))
async def get_console_output(context: Context, params: "GetConsoleOutputRequestTypeDef") -> dict[str, Any]:
    """The last 64 KiB of the serial console, over all boots; kept for an hour after termination."""
    instance = INSTANCE.one(context, params["InstanceId"])
    output = await _output(context, instance)
    return {
        "InstanceId": instance.id,
        "Output": base64.b64encode(output).decode(),
        "Timestamp": context.now,
    }


async def _output(context: Context, instance: Instance) -> bytes:
    log = context.view.get(ConsoleLog, instance.id)
    if log is not None or instance.host_id is None:
        return log.output if log else b""
    try:
        return await context.env.consoles.read(instance.host_id, instance.id, "output")
    except ConsoleUnavailable as error:
        raise UnsupportedOperation(f"The console of '{instance.id}' can't be read now: {error}") from error


@ec2.waits("GetConsoleScreenshot", resources=("instance:InstanceId",))
async def get_console_screenshot(context: Context, params: "GetConsoleScreenshotRequestTypeDef") -> dict[str, Any]:
    """The screen of a running instance."""
    instance = INSTANCE.one(context, params["InstanceId"])
    if instance.state is not State.RUNNING or instance.host_id is None:
        raise IncorrectInstanceState(f"The instance '{instance.id}' is not in the 'running' state.")
    try:
        image = await context.env.consoles.read(instance.host_id, instance.id, "screenshot")
    except ConsoleUnavailable as error:
        raise UnsupportedOperation(f"The screen of '{instance.id}' can't be read now: {error}") from error
    return {"InstanceId": instance.id, "ImageData": base64.b64encode(image).decode()}
