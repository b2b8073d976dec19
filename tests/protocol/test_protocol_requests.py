"""Requests of every operation, as botocore writes them, are routed and parsed back to the same parameters."""

from random import Random

import pytest
from protocol_oracle import CASES, request, service_model
from protocol_samples import Samples

from pileus.aws.protocol import load_service
from pileus.aws.rest_routes import rest_routes
from pileus.aws.routing import SIGNING_NAMES, route

EXAMPLES = 8
# Another name for what a newer operation does: the request is the same.
REPLACED = {
    "ListDirectoryBuckets": "ListBuckets",  # at another host
    "GetBucketLifecycle": "GetBucketLifecycleConfiguration",
    "GetBucketNotification": "GetBucketNotificationConfiguration",
    "PutBucketLifecycle": "PutBucketLifecycleConfiguration",
    "PutBucketNotification": "PutBucketNotificationConfiguration",
}
SCOPES = {service: scope for scope, service in SIGNING_NAMES.items()}


@pytest.mark.parametrize(("service", "protocol", "name"), CASES)
def test_request_is_routed_and_parsed_back(service, protocol, name):
    operation = service_model(service).operation_model(name)
    ours = load_service(service, protocol).operation(name)
    random = Random(f"{service} {protocol} {name}")
    for example in range(EXAMPLES):
        samples = Samples(random, protocol, writes_empty_lists=protocol != "rest-xml")
        params = samples.structure(operation.input_shape, everything=example == 0) if operation.input_shape else {}
        sent = request(protocol, operation, params)
        found, path_params = _found(sent, service, protocol)
        assert found == REPLACED.get(name, name)
        assert ours.parse(sent, path_params) == _arriving(operation, params, sent)


def _found(sent, service, protocol):
    """The operation's name and the path parameters."""
    if service not in SCOPES:
        return rest_routes(service).find(sent)
    found = route(sent, SCOPES[service])
    assert (found.service.name, found.protocol) == (service, protocol)
    return found.operation, found.path_params


def _arriving(operation, params, sent):
    """What can be known of the parameters at the other end: an empty body is no body, and its length is a header."""
    shape = operation.input_shape
    if shape is None:
        return params
    arriving = dict(params)
    payload = shape.serialization.get("payload")
    if payload and not params.get(payload):
        arriving.pop(payload, None)
    if "ContentLength" in shape.members and "content-length" in sent.headers:
        arriving["ContentLength"] = int(sent.headers["content-length"])
    return arriving
