"""What botocore signs is accepted, whatever it holds; whatever is changed afterwards is refused."""

from urllib.parse import quote

import pytest
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth, SigV2Auth, SigV4Auth, SigV4QueryAuth
from botocore.utils import percent_encode_sequence
from botocore_signing import ACCESS_KEY, changed, signed, verified
from hypothesis import given
from hypothesis import strategies as st

from pileus.aws.http import HttpRequest
from pileus.aws.signing import Kind, Reason, SignatureRefused, credential_of

SCOPE = ("ec2", "eu-west-1")
S3 = ("s3", "eu-west-1")

odd_text = st.text(st.sampled_from("aZ09-._~ /+%&=?:;,@!$'()*#[]éß€\U0001f600\t"), max_size=8)
segments = st.one_of(odd_text, st.sampled_from(["", ".", "..", "...", "a b", "%2F", "%41"]))
paths = st.lists(segments, max_size=5).map(lambda parts: "/" + quote("/".join(parts), safe="/~"))
pairs = st.lists(st.tuples(odd_text.filter(bool), odd_text), max_size=6)
field_values = st.text(st.sampled_from('aZ 09,;=\t"'), max_size=12)
fields = st.dictionaries(
    st.sampled_from(["x-amz-meta-a", "x-amz-target", "content-type", "x-odd"]), field_values, max_size=4
)
bodies = st.binary(max_size=40)


def with_query(path: str, query: list[tuple[str, str]]) -> str:
    return f"{path}?{percent_encode_sequence(query)}" if query else path


@pytest.mark.parametrize(("signer", "scope"), [(SigV4Auth, SCOPE), (S3SigV4Auth, S3)])
@given(path=paths, query=pairs, headers=fields, body=bodies, token=st.sampled_from([None, "a/token+=="]))
def test_header_signatures(signer, scope, path, query, headers, body, token):
    url = with_query(path, query)
    request = signed(signer, *scope, method="POST", url=url, headers=headers.items(), data=body, token=token)
    credential = credential_of(request)
    assert (credential.kind, credential.access_key) == (Kind.HEADER, ACCESS_KEY)
    assert (credential.service, credential.region) == scope
    assert credential.session_token == (token or "")
    assert verified(request).data == body


@pytest.mark.parametrize(("signer", "scope"), [(SigV4QueryAuth, SCOPE), (S3SigV4QueryAuth, S3)])
@given(
    path=paths,
    query=st.dictionaries(odd_text.filter(bool), odd_text, max_size=5),
    token=st.sampled_from([None, "t/k="]),
)
def test_presigned_urls(signer, scope, path, query, token):
    request = signed(signer, *scope, url=with_query(path, list(query.items())), token=token)
    assert credential_of(request).kind is Kind.QUERY
    assert credential_of(request).session_token == (token or "")
    verified(request)


@given(params=st.dictionaries(odd_text.filter(bool), odd_text, max_size=6), form=st.booleans())
def test_version_2(params, form):
    if form:
        request = signed(SigV2Auth, method="POST", data={"Action": "X", **params}, headers=FORM.items())
    else:
        request = signed(SigV2Auth, params={"Action": "X", **params})
    assert credential_of(request).kind is Kind.V2
    verified(request)


FORM = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}


def sample(kind: str) -> HttpRequest:
    """A request that uses every part a signature covers."""
    headers = {"X-Amz-Target": "A.B", "Content-Type": "text/plain", "X-Amz-Meta-A": "1"}
    match kind:
        case "header":
            return signed(
                SigV4Auth,
                *SCOPE,
                method="POST",
                url="/a/b?x=1&y=",
                headers=headers.items(),
                data=b"body",
                token="token",
            )
        case "s3":
            return signed(
                S3SigV4Auth, *S3, method="PUT", url="/a/b?x=1&y=", headers=headers.items(), data=b"body", token="token"
            )
        case "query":
            return signed(SigV4QueryAuth, *SCOPE, url="/a/b?x=1&y=", headers=headers.items(), token="token")
        case "s3 query":
            return signed(S3SigV4QueryAuth, *S3, url="/a/b?x=1&y=", headers=headers.items(), token="token")
        case "v2 form":
            return signed(SigV2Auth, method="POST", data={"Action": "X", "A": "1"}, headers=FORM.items(), token="token")
        case _:
            return signed(SigV2Auth, params={"Action": "X", "A": "1"}, token="token")


KINDS = ("header", "s3", "query", "s3 query", "v2 form", "v2")


@pytest.mark.parametrize("kind", KINDS)
def test_another_secret_is_refused(kind):
    verified(sample(kind))
    with pytest.raises(SignatureRefused) as refused:
        verified(sample(kind), secret="another")
    assert refused.value.reason is Reason.MISMATCH


@pytest.mark.parametrize("kind", KINDS)
def test_changed_method_path_query_and_host_are_refused(kind):
    request = sample(kind)
    for tampered in (
        changed(request, method="DELETE"),
        changed(request, path=request.path + "c"),
        changed(request, query=request.query + "&z=1"),
        changed(request, query=request.query.replace("=1", "=2") if "=1" in request.query else "q"),
        changed(request, headers=[("host", "elsewhere")]),
    ):
        with pytest.raises(SignatureRefused):
            verified(tampered)


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_is_covered(kind):
    request = sample(kind)
    parts = request.query.split("&") if request.query else []
    for index in range(len(parts)):
        for part in ([], [parts[index] + "1"], [parts[index].replace("=", "1=", 1)], [parts[index], parts[index]]):
            tampered = changed(request, query="&".join([*parts[:index], *part, *parts[index + 1 :]]))
            with pytest.raises(SignatureRefused):
                verified(tampered)


@pytest.mark.parametrize("kind", KINDS)
def test_every_signed_header_is_covered(kind):
    request = sample(kind)
    for name in credential_of(request).signed_headers:
        for tampered in (
            changed(request, without=name),
            changed(request, headers=[(name, request.headers[name] + "1")]),
        ):
            with pytest.raises(SignatureRefused):
                verified(tampered)


@pytest.mark.parametrize("kind", ["header", "s3", "query", "s3 query"])
def test_no_amz_header_can_be_added(kind):
    with pytest.raises(SignatureRefused) as refused:
        verified(changed(sample(kind), headers=[("x-amz-acl", "public-read")]))
    assert refused.value.reason is Reason.UNSIGNED_HEADER


@pytest.mark.parametrize("kind", ["header", "s3", "query", "v2 form"])
def test_a_changed_body_is_refused(kind):
    with pytest.raises(SignatureRefused):
        verified(changed(sample(kind), body=b"&B=2"))


@pytest.mark.parametrize("part", ["Credential=", "/eu-west-1/", "/aws4_request", "host;", "Signature="])
@pytest.mark.parametrize("kind", ["header", "s3"])
def test_every_part_of_the_authorization_is_covered(kind, part):
    request = sample(kind)
    authorization = request.headers["authorization"]
    assert part in authorization
    for replacement in ("", part + "x/"):
        tampered = changed(request, headers=[("authorization", authorization.replace(part, replacement))])
        with pytest.raises(SignatureRefused):
            verified(tampered)


def test_version_2_covers_neither_targets_nor_other_bodies():
    for tampered in (
        changed(sample("v2"), headers=[("x-amz-target", "A.B")]),
        changed(sample("v2"), body=b"{}"),
    ):
        with pytest.raises(SignatureRefused) as refused:
            verified(tampered)
        assert refused.value.reason is Reason.UNSUPPORTED
