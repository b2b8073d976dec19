"""Signed requests of any operation, made from botocore's models out of a seeded random source: sensible, odd or broken."""

from functools import cache
from random import Random
from urllib.parse import urlsplit

import botocore.session
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest, prepare_request_dict
from botocore.credentials import Credentials
from botocore.parsers import create_parser
from botocore.serialize import create_serializer

WORDS = (
    "", " ", "x", "true", "-1", "0", "99999999999999999999", "*", "?", "a" * 300, "é漢𝛑", "<&>'\"", "../..", "%00", "\n",
    "default", "none", "tcp", "-1/-1", "0.0.0.0/0", "10.0.0.0/33", "::/0", "203.0.113.9", "172.31.0.9", "1.2.3", "t3.micro",
    "us-east-1", "us-east-1a", "instance", "volume", "userData", "instanceType", "tag:a", "instance-id", "gp3", "/dev/xvda",
    "i-", "i-0123456789abcdef0", "sg-0123456789abcdef0", "ami-00000000", "arn:aws:ec2:us-east-1:1:instance/i-0", "aws:reserved",
)  # fmt: skip
NUMBERS = (1, 1, 1, 0, 2, 5, 16, 64, 1000, 1001, -1, 65535, 65536, 2**31 - 1, -(2**31))


@cache
def model_of(service):
    return botocore.session.get_session().get_service_model(service)


@cache
def serializer_of(protocol):
    return create_serializer(protocol, include_validation=False)


class Requests:
    """``fitting``: ids and names that exist, by how a parameter that takes them is called (``InstanceId``, ``Resource``)."""

    def __init__(self, seed, fitting):
        self.random = Random(seed)
        self.fitting = fitting

    def params(self, shape, likely, depth=0):
        """The required members but for some, and each other one with the probability ``likely``."""
        chosen = {}
        for name, member in shape.members.items():
            wanted = 0.95 if name in shape.required_members else likely / (depth + 1)
            if name != "DryRun" and self.random.random() < wanted:
                chosen[name] = self.value(member, likely, depth + 1, name)
        return chosen

    def value(self, shape, likely, depth, called):
        match shape.type_name:
            case "structure":
                return self.params(shape, likely, depth) if depth < 6 else {}
            case "list":
                count = self.random.choice((0, 1, 1, 1, 2, 3)) if depth < 6 else 0
                return [self.value(shape.member, likely, depth, called) for _ in range(count)]
            case "map":
                return {self.string(shape.key, ""): self.value(shape.value, likely, depth, "")} if depth < 6 else {}
            case "boolean":
                return self.random.random() < 0.5
            case "integer" | "long":
                return self.random.choice(NUMBERS)
            case "float" | "double":
                return self.random.choice((0.0, -1.5, 1e300))
            case "timestamp":
                return self.random.choice((0, 1_700_000_000, 4_000_000_000))
            case "blob":
                return self.random.randbytes(self.random.choice((0, 3, 40)))
            case _:
                return self.string(shape, called)

    def string(self, shape, called):
        if shape.enum and self.random.random() < 0.8:
            return self.random.choice(shape.enum)
        fitting = self.fitting.get(called.removesuffix("s"))
        if fitting and self.random.random() < 0.8:
            return self.random.choice(fitting)
        return self.random.choice(WORDS)

    def broken(self, body):
        """A body with something cut out, repeated, exchanged or put in."""
        at = self.random.randrange(len(body) + 1)
        to = min(len(body), at + self.random.randrange(12))
        insert = self.random.choice(
            ["", "&", "=", ".1", "%", "%ff", "1.2.3=", '"', "}", "null", "\x00", body[at:to] * 2]
        )
        return body[:at] + insert + body[to:]

    def signed(self, service, operation, credentials, *, likely=0.2, damage=0.0):
        """A request of an operation, as ``signed`` gives it; its body is damaged with a certain probability."""
        shape = model_of(service).operation_model(operation).input_shape
        params = self.params(shape, likely) if shape else {}
        spoil = self.broken if self.random.random() < damage else lambda body: body
        return signed(service, operation, params, credentials, spoil)


def signed(service, operation, params, credentials, spoil=lambda body: body):
    """Method, path, query, headers and body of a request as botocore makes it; ``spoil`` changes the body beforehand."""
    model = model_of(service)
    prepared = serializer_of(model.protocol).serialize_to_request(params, model.operation_model(operation))
    prepare_request_dict(prepared, endpoint_url="http://cloud.example")
    sent = AWSRequest(prepared["method"], prepared["url"], prepared["headers"], prepared["body"]).prepare()
    body = sent.body.decode() if isinstance(sent.body, bytes) else sent.body or ""
    headers = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"} | dict(prepared["headers"].items())
    request = AWSRequest(sent.method, sent.url, headers, spoil(body).encode(errors="replace"))
    SigV4Auth(Credentials(*credentials), model.signing_name, "us-east-1").add_auth(request)
    url = urlsplit(sent.url)
    return sent.method, url.path or "/", url.query, {"Host": url.netloc, **dict(request.headers.items())}, request.data


def understood(service, operation, answer):
    """What botocore makes of an answer. Raises botocore's ResponseParserError where it can't read it."""
    model = model_of(service)
    raw = {"status_code": answer.status, "headers": answer.headers, "body": answer.body}
    return create_parser(model.protocol).parse(raw, model.operation_model(operation).output_shape)
