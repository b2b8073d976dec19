"""Parameters: the public ones that name the newest AMI of each family.

See https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-public-parameters-ami.html.
"""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from pileus.operations.context import Context
from pileus.operations.paging import InvalidPaginationToken, Page, paginate
from pileus.records import Image
from pileus.services.ssm.errors import (
    InvalidFilterKey,
    InvalidFilterOption,
    InvalidFilterValue,
    InvalidNextToken,
    ParameterNotFound,
    ParameterVersionNotFound,
    ValidationException,
)
from pileus.services.ssm.service import ssm

if TYPE_CHECKING:
    from types_boto3_ssm.type_defs import (
        GetParameterRequestTypeDef,
        GetParametersByPathRequestTypeDef,
        GetParametersRequestTypeDef,
    )

_NAME = re.compile(r"[A-Za-z0-9_.\-/]+")
_VERSION = 1
_TYPE = "String"
_PAGE = Page(least=1, most=10, default=10)
_FILTER_KEYS = ("Type", "KeyId", "Label")


class Selector(msgspec.Struct, frozen=True):
    """What a call means by ``name``, ``name:version``, ``name:label`` or an ARN; ``selector`` keeps its colon."""

    name: str
    selector: str = ""


def resolve_parameter(context: Context, name: str) -> str:
    """The value of a parameter: an AMI's id. Raises ParameterNotFound, ParameterVersionNotFound, ValidationException."""
    return _get(context, name)["Value"]


@ssm.reads("GetParameter", resources=("parameter:Name",))
def get_parameter(context: Context, params: "GetParameterRequestTypeDef") -> dict[str, Any]:
    """One parameter."""
    return {"Parameter": _get(context, params["Name"])}


@ssm.reads("GetParameters", resources=("parameter:Names",))
def get_parameters(context: Context, params: "GetParametersRequestTypeDef") -> dict[str, Any]:
    """Several parameters; names that are none are told apart."""
    found: list[dict[str, Any]] = []
    invalid: list[str] = []
    for name in dict.fromkeys(params["Names"]):
        try:
            found.append(_get(context, name))
        except (ParameterNotFound, ParameterVersionNotFound):
            invalid.append(name)
    return {"Parameters": found, "InvalidParameters": invalid}


@ssm.reads("GetParametersByPath", resources=("parameter:Path",))
def get_parameters_by_path(context: Context, params: "GetParametersByPathRequestTypeDef") -> dict[str, Any]:
    """The parameters right under a path, or with Recursive everywhere below it."""
    path = params["Path"]
    if not path.startswith("/") or not _NAME.fullmatch(path):
        raise ValidationException(
            "The parameter doesn't meet the parameter name requirements. The parameter name must begin with a forward "
            'slash "/". It must use only letters, numbers, or the following symbols: . (period), - (hyphen), '
            '_ (underscore). All sub-paths, if specified, must use the forward slash symbol "/".'
        )
    prefix = path.rstrip("/") + "/"
    none_matches = not _accepts(params.get("ParameterFilters", ()))
    names = [
        name
        for name in _images(context)
        if name.startswith(prefix)
        and (params.get("Recursive") or "/" not in name.removeprefix(prefix))
        and not none_matches
    ]
    try:
        page, token = paginate(context, params, names, _PAGE, str)
    except InvalidPaginationToken as error:
        raise InvalidNextToken("The specified token is not valid.") from error
    result: dict[str, Any] = {"Parameters": [_get(context, name) for name in page]}
    if token:
        result["NextToken"] = token
    return result


def _accepts(filters: Sequence[Mapping[str, Any]]) -> bool:
    """Whether parameters of type String, without key and labels, pass the filters: all public ones are such."""
    accepted = True
    for entry in filters:
        key, option, values = entry["Key"], entry.get("Option", "Equals"), entry.get("Values", ())
        if key not in _FILTER_KEYS:
            raise InvalidFilterKey(
                f"The following filter key is not valid: {key}. Valid filter keys include: [{', '.join(_FILTER_KEYS)}]."
            )
        if option not in {"Equals", "BeginsWith"}:
            raise InvalidFilterOption(
                f"The following filter option is not valid: {option}. Valid options include: [BeginsWith, Equals]."
            )
        if not values:
            raise InvalidFilterValue(f"The following filter values are missing : null for filter key {key}")
        matches = str.startswith if option == "BeginsWith" else str.__eq__
        accepted = accepted and key == "Type" and any(matches(_TYPE, value) for value in values)
    return accepted


def _images(context: Context) -> dict[str, Image]:
    """Parameter names with the newest public image that carries each."""
    named: dict[str, Image] = {}
    for image in context.view.list(Image, region=context.region, visibility="public"):
        path = image.ssm_path
        if path and image.state == "available" and (path not in named or named[path].created < image.created):
            named[path] = image
    return named


def _parse(context: Context, text: str) -> Selector:
    text = text.strip()
    prefix = f"arn:aws:ssm:{context.region}::parameter"
    if text.startswith("arn:"):
        if not text.startswith(prefix + "/"):
            raise ParameterNotFound(f"Parameter {text} not found.")
        text = text.removeprefix(prefix)
    name, colon, selector = text.partition(":")
    if not _NAME.fullmatch(name):
        raise ValidationException(
            'Parameter name: can\'t be prefixed with "ssm" (case-insensitive). If formed as a path, it can consist of '
            "sub-paths divided by slash symbol; each sub-path can be formed as a mix of letters, numbers and the "
            "following 3 symbols .-_"
        )
    return Selector(name, colon + selector)


def _get(context: Context, text: str) -> dict[str, Any]:
    wanted = _parse(context, text)
    image = _images(context).get(wanted.name)
    if image is None:
        raise ParameterNotFound(f"Parameter {text} not found.")
    selected = wanted.selector.removeprefix(":")
    if wanted.selector and selected != str(_VERSION):
        what = "version" if selected.isdecimal() else "label"
        raise ParameterVersionNotFound(
            f"Systems Manager could not find {what} {selected} of {wanted.name}. Verify the {what} and try again."
        )
    return {
        "Name": wanted.name,
        "Type": _TYPE,
        "Value": image.id,
        "Version": _VERSION,
        "Selector": wanted.selector or None,
        "LastModifiedDate": image.created,
        "ARN": f"arn:aws:ssm:{context.region}::parameter{wanted.name}",
        "DataType": "aws:ec2:image",
    }
