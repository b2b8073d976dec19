"""Which service, operation and protocol a request is for. Called by ``pileus.gateway`` before anything is parsed."""

import re
from typing import NamedTuple
from urllib.parse import unquote_plus

from pileus.aws.http import HttpRequest
from pileus.aws.protocol import Service, load_service
from pileus.aws.rest_routes import rest_routes
from pileus.aws.s3_hosts import path_style
from pileus.base.errors import ServiceError

SIGNING_NAMES = {
    "ebs": "ebs",
    "ec2": "ec2",
    "iam": "iam",
    "sts": "sts",
    "ssm": "ssm",
    "servicequotas": "service-quotas",
    "monitoring": "cloudwatch",
    "kms": "kms",
    "s3": "s3",
    "sns": "sns",
    "budgets": "budgets",
    "ce": "ce",
    "pricing": "pricing",
    "rbin": "rbin",
    "support": "support",
}
"""The services that can be asked for: the name in a credential scope to botocore's name."""

_QUERY_SERVICES = ("ec2", "sts", "iam", "cloudwatch", "sns")
_CBOR_PATH = re.compile(r"/service/(?P<service>[^/]+)/operation/(?P<operation>[^/]+)")
_ACTION = re.compile(r"(?:^|&)Action=([^&]*)")
_VERSION = re.compile(r"(?:^|&)Version=([^&]*)")


class Route(NamedTuple):
    """Where a request goes. ``service`` speaks ``protocol`` already; ``path_params`` is empty but for REST services."""

    service: Service
    operation: str
    protocol: str
    path_params: dict[str, str]


class UnknownService(ServiceError):
    """The request is for no service of this cloud."""

    code = "UnknownService"
    status = 404


class MissingAction(ServiceError):
    """A query request without ``Action``."""

    code = "MissingAction"


def route(request: HttpRequest, scope_service: str | None) -> Route:
    """Finds the operation that a request is for.

    ``scope_service`` is the service of the credential scope; None for requests without one (anonymous, SigV2).

    Raises:
        UnknownService: the scope names no service of this cloud, or there is no scope and nothing else tells.
        ServiceError: the service has no such operation; code and words are the protocol's.
    """
    name = None
    if scope_service is not None:
        name = SIGNING_NAMES.get(scope_service)
        if name is None:
            raise UnknownService(f"There is no service {scope_service[:100]} here")
    if request.headers.get("smithy-protocol") == "rpc-v2-cbor":
        return _route_cbor(request, name)
    target = request.headers.get("x-amz-target")
    if target is not None:
        return _route_target(target, name)
    if name is not None and load_service(name).protocol.startswith("rest-"):
        return _route_rest(request, name)
    action = _form_field(_ACTION, request)
    if action is not None:
        return _route_action(action, _form_field(_VERSION, request), name)
    if name is None:
        return _route_rest(request, "s3")  # whose objects may be public, to be had without a signature
    raise MissingAction("The request must contain the parameter Action")


def _route_cbor(request: HttpRequest, name: str | None) -> Route:
    match = _CBOR_PATH.fullmatch(request.path)
    if match is None:
        raise UnknownService("The path names no service and operation")
    service = _speaking(name or _by_target_prefix(match["service"]), "smithy-rpc-v2-cbor")
    return _known(service, match["operation"])


def _route_target(target: str, name: str | None) -> Route:
    prefix, _, operation = target.rpartition(".")
    service = _speaking(name or _by_target_prefix(prefix), "json")
    if service.target_prefix != prefix:
        raise service.unknown_operation(target[:200])
    return _known(service, operation)


def _route_rest(request: HttpRequest, name: str) -> Route:
    service = load_service(name)
    found = rest_routes(name).find(path_style(request) if name == "s3" else request)
    if found is None:
        raise service.unknown_operation(f"{request.method} {request.path[:200]}")
    operation, path_params = found
    return Route(service, operation, service.protocol, path_params)


def _route_action(action: str, version: str | None, name: str | None) -> Route:
    if name is not None:
        return _known(_speaking(name, "ec2" if name == "ec2" else "query"), action)
    candidates = [
        service
        for service in (_speaking(known, "ec2" if known == "ec2" else "query") for known in _QUERY_SERVICES)
        if action in service.operations
    ]
    if not candidates:
        raise _speaking("ec2", "ec2").unknown_operation(action[:200])
    return _known(next((service for service in candidates if service.api_version == version), candidates[0]), action)


def _form_field(expression: re.Pattern[str], request: HttpRequest) -> str | None:
    match = expression.search(request.query) or expression.search(request.body.decode(errors="replace"))
    return unquote_plus(match[1]) if match else None


def _speaking(name: str, protocol: str) -> Service:
    try:
        return load_service(name, protocol)
    except LookupError:
        raise load_service(name).unknown_operation(f"over {protocol}") from None


def _by_target_prefix(prefix: str) -> str:
    for name in SIGNING_NAMES.values():
        if load_service(name).target_prefix == prefix:
            return name
    raise UnknownService(f"There is no service {prefix[:100]} here")


def _known(service: Service, operation: str) -> Route:
    if operation not in service.operations:
        raise service.unknown_operation(operation[:200])
    return Route(service, operation, service.protocol, {})
