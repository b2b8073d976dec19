"""Bucket policies: what they allow and deny."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pileus.base.errors import ServiceError
from pileus.services.s3.access import Request, canonical_id, decide, is_public, read_policy

MINE, OTHER = "111111111111", "222222222222"
ALLOW = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/*"}


def policy(*statements):
    return read_policy(json.dumps({"Statement": list(statements)}).encode(), "b")


def ask(account=OTHER, action="s3:GetObject", resource="arn:aws:s3:::b/key", **conditions):
    arn = f"arn:aws:iam::{account}:root" if account else ""
    named = {name.replace("__", ":"): value for name, value in conditions.items()}
    return Request(account=account, arn=arn, action=action, resource=resource, conditions=named)


@pytest.mark.parametrize(
    ("changes", "request_", "effect"),
    [
        ({}, ask(), "Allow"),
        ({}, ask(account=""), "Allow"),
        ({}, ask(action="s3:PutObject"), None),
        ({"Action": "s3:*"}, ask(action="s3:PutObject"), "Allow"),
        ({"Action": "s3:getobject"}, ask(), "Allow"),
        ({"Action": ["s3:Put*", "s3:Get?bject"]}, ask(), "Allow"),
        ({"Resource": "arn:aws:s3:::b/other/*"}, ask(), None),
        ({"Resource": "arn:aws:s3:::b"}, ask(), None),
        ({"Principal": {"AWS": MINE}}, ask(), None),
        ({"Principal": {"AWS": [MINE, f"arn:aws:iam::{OTHER}:root"]}}, ask(), "Allow"),
        ({"Principal": {"CanonicalUser": canonical_id(OTHER)}}, ask(), "Allow"),
        ({"Principal": {"AWS": OTHER}}, ask(account=""), None),
    ],
)
def test_statements(changes, request_, effect):
    assert decide(policy({**ALLOW, **changes}), request_) == effect


def test_a_denial_outweighs():
    deny = {**ALLOW, "Effect": "Deny", "Resource": "arn:aws:s3:::b/secret*"}
    both = policy(ALLOW, deny)
    assert decide(both, ask()) == "Allow"
    assert decide(both, ask(resource="arn:aws:s3:::b/secret1")) == "Deny"


def test_what_a_statement_is_not_about():
    deny = {
        "Effect": "Deny",
        "NotPrincipal": {"AWS": MINE},
        "NotAction": "s3:GetObject",
        "NotResource": "arn:aws:s3:::b/a",
    }
    denying = policy(deny)
    assert decide(denying, ask(action="s3:PutObject")) == "Deny"
    assert decide(denying, ask(account=MINE, action="s3:PutObject")) is None
    assert decide(denying, ask()) is None
    assert decide(denying, ask(action="s3:PutObject", resource="arn:aws:s3:::b/a")) is None


@pytest.mark.parametrize(
    ("operator", "key", "wanted", "given_", "holds"),
    [
        ("StringEquals", "s3:prefix", ["a", "b"], ("b",), True),
        ("StringEquals", "s3:prefix", "a", ("b",), False),
        ("StringEquals", "s3:prefix", "a", None, False),
        ("StringEqualsIfExists", "s3:prefix", "a", None, True),
        ("StringNotEquals", "s3:prefix", ["a", "b"], ("b",), False),
        ("StringNotEquals", "s3:prefix", "a", None, True),
        ("StringLike", "aws:Referer", "http://a.example/*", ("http://a.example/x",), True),
        ("StringNotLike", "aws:Referer", "http://a.example/*", ("http://b.example/x",), True),
        ("NumericLessThanEquals", "s3:max-keys", 10, ("10",), True),
        ("NumericLessThan", "s3:max-keys", "10", ("10",), False),
        ("NumericLessThan", "s3:max-keys", "10", ("many",), False),
        ("DateGreaterThan", "aws:CurrentTime", "2026-01-01T00:00:00Z", ("2026-06-01T00:00:00+00:00",), True),
        ("Bool", "aws:SecureTransport", "true", ("false",), False),
        ("Bool", "aws:SecureTransport", False, ("false",), True),
        ("IpAddress", "aws:SourceIp", "10.0.0.0/8", ("10.1.2.3",), True),
        ("NotIpAddress", "aws:SourceIp", ["10.0.0.0/8", "192.0.2.0/24"], ("192.0.2.1",), False),
        ("Null", "s3:x-amz-server-side-encryption", "true", None, True),
        ("Null", "s3:x-amz-server-side-encryption", "true", ("AES256",), False),
        ("ForAllValues:StringEquals", "s3:RequestObjectTagKeys", ["a", "b"], ("a", "b"), True),
        ("ForAllValues:StringEquals", "s3:RequestObjectTagKeys", ["a"], ("a", "b"), False),
        ("ForAnyValue:StringEquals", "s3:RequestObjectTagKeys", ["a"], ("a", "b"), True),
        ("StringEquals", "s3:ExistingObjectTag/Team", "x", ("x",), True),
    ],
)
def test_conditions(operator, key, wanted, given_, holds):
    name = key if "ObjectTag/" not in key else "s3:existingobjecttag/Team"
    values = {} if given_ is None else {name if "tag/" in name else name.lower(): given_}
    request = Request(account=OTHER, arn="a", action="s3:GetObject", resource="arn:aws:s3:::b/key", conditions=values)
    assert decide(policy({**ALLOW, "Condition": {operator: {key: wanted}}}), request) == ("Allow" if holds else None)


def test_the_service_that_delivers_logs():
    service = "delivery.logs.amazonaws.com"
    source = {"StringEquals": {"aws:SourceAccount": MINE}, "ArnLike": {"aws:SourceArn": f"arn:aws:logs:*:{MINE}:*"}}
    allow = policy({**ALLOW, "Principal": {"Service": service}, "Condition": source})
    known = {"aws:sourceaccount": (MINE,), "aws:sourcearn": (f"arn:aws:logs:us-east-1:{MINE}:x",)}
    delivery = Request(
        account=MINE, arn=service, action="s3:GetObject", resource="arn:aws:s3:::b/key", conditions=known
    )
    assert decide(allow, delivery) == "Allow"
    assert decide(allow, ask(account=MINE, **{name.replace(":", "__"): value for name, value in known.items()})) is None
    assert not is_public(allow)
    for other in ("logging.s3.amazonaws.com", [], [service, "ec2.amazonaws.com"], [{}]):
        with pytest.raises(ServiceError) as refusal:
            policy({**ALLOW, "Principal": {"Service": other}})
        assert refusal.value.code == "NotImplemented"


def test_what_is_public():
    assert is_public(policy(ALLOW))
    assert not is_public(policy({**ALLOW, "Principal": {"AWS": OTHER}}))
    assert not is_public(policy({**ALLOW, "Condition": {"IpAddress": {"aws:SourceIp": "203.0.113.0/24"}}}))
    assert is_public(policy({**ALLOW, "Condition": {"IpAddress": {"aws:SourceIp": "0.0.0.0/0"}}}))
    assert is_public(policy({**ALLOW, "Condition": {"StringEquals": {"aws:Referer": "x"}}}))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["Effect", "Principal", "Action", "Resource", "Condition", "AWS", "Service", "x"]), inner
        )
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["Statement", "Version", "Id", "x"]), JSON) | JSON)
def test_any_document_is_read_or_refused(document):
    try:
        read_policy(json.dumps(document).encode(), "b")
    except ServiceError as error:
        assert error.code in {"MalformedPolicy", "NotImplemented"}
