"""botocore as the other end of the wire: it makes requests of parameters, and results of answers."""

import io
from functools import cache
from urllib.parse import urlsplit

from botocore.awsrequest import HeadersDict, create_request_object, prepare_request_dict
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.parsers import create_parser
from botocore.serialize import create_serializer

from pileus.aws.http import Headers, HttpRequest, HttpResponse
from pileus.aws.routing import SIGNING_NAMES

SERVICES = (*SIGNING_NAMES.values(), "eks")  # the last for rest-json, which none of our own services speaks


@cache
def service_model(service: str) -> ServiceModel:
    """botocore's own reading of a model."""
    return ServiceModel(Loader().load_service_model(service, "service-2"), service)


def protocols(service: str) -> list[str]:
    """All protocols that a model lists."""
    return service_model(service).metadata["protocols"]


CASES = [
    (service, protocol, operation)
    for service in SERVICES
    for protocol in protocols(service)
    for operation in service_model(service).operation_names
]
"""Every operation of every service in every protocol."""

_serializer = cache(lambda protocol: create_serializer(protocol, include_validation=False))
_parser = cache(create_parser)


def request(protocol: str, operation, params) -> HttpRequest:
    """The request that botocore would send."""
    prepared = _serializer(protocol).serialize_to_request(params, operation)
    prepare_request_dict(prepared, endpoint_url="http://cloud.example")
    sent = create_request_object(prepared).prepare()
    url = urlsplit(sent.url)
    body = sent.body or b""
    body = body.encode() if isinstance(body, str) else body
    headers = Headers((name, _text(value)) for name, value in sent.headers.items())
    return HttpRequest(sent.method, url.path, url.query, headers, body)


def _text(value) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def parse(protocol: str, shape, response: HttpResponse):
    """What botocore makes of an answer, without its metadata; a binary payload as bytes."""
    payload = shape.serialization.get("payload") if shape else None
    body = response.body
    binary = payload and shape.members[payload].type_name == "blob" and response.status < 300
    headers = HeadersDict()
    for name, value in response.headers:
        headers[name] = value
    raw = {"status_code": response.status, "headers": headers, "body": io.BytesIO(body) if binary else body}
    parsed = _parser(protocol).parse(raw, shape)
    if binary:
        parsed[payload] = parsed[payload].read()
    return parsed
