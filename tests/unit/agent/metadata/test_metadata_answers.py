"""Who gets what for which request: IMDSv1, IMDSv2 and everything that must be refused."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from imds_samples import GUEST
from msgspec.structs import replace

from pileus.agent.metadata.answers import TOKEN_HEADER, TTL_HEADER, VERSIONS, Answerer, Request, Response
from pileus.agent.metadata.identity import load_or_create
from pileus.agent.metadata.tokens import MAX_TTL, Tokens, load_or_create_key
from pileus.hostapi.spec import MetadataSpec


class StoppedClock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.time = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.time.timestamp()

    async def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


class Service:
    """An answerer and the clock that it goes by."""

    def __init__(self, directory: Path) -> None:
        self.clock = StoppedClock()
        self.tokens = Tokens(b"k" * 32, self.clock)
        self.answerer = Answerer(self.tokens, load_or_create(directory / "identity.pem", self.clock.now()))

    def ask(
        self, method: str, path: str, headers: dict[str, str] | None = None, guest: MetadataSpec | None = GUEST
    ) -> Response:
        return self.answerer.answer(guest, Request(method=method, path=path, headers=headers or {}))

    def status(self, *arguments: object, **keywords: object) -> int:
        return self.ask(*arguments, **keywords).status  # type: ignore[arg-type]

    def token(self, ttl: int = 60, guest: MetadataSpec = GUEST) -> str:
        response = self.ask("PUT", "/latest/api/token", {TTL_HEADER: str(ttl)}, guest)
        assert response.status == 200
        return response.body.decode()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Service:
    return Service(tmp_path_factory.mktemp("identity"))


def test_the_root_lists_the_versions_and_each_has_the_same(service: Service) -> None:
    versions = service.ask("GET", "/").body.decode().split("\n")
    assert versions == list(VERSIONS)
    assert {"1.0", "2009-04-04", "2016-09-02", "2018-09-24", "2021-03-23", "latest"} <= set(versions)
    for version in versions:
        assert service.ask("GET", f"/{version}/").body == b"dynamic\nmeta-data\nuser-data"
        assert service.ask("GET", f"/{version}/meta-data/instance-id").body == b"i-1"


@pytest.mark.parametrize("path", ["/latest/meta-data", "/latest/meta-data/", "//latest//meta-data//"])
def test_a_slash_more_or_less_makes_no_difference(service: Service, path: str) -> None:
    assert service.ask("GET", path).body.startswith(b"ami-id\n")


def test_user_data_are_the_bytes_that_were_given(service: Service) -> None:
    response = service.ask("GET", "/latest/user-data")
    assert (response.body, response.content_type) == (b"\0\1hello", "application/octet-stream")
    without = replace(GUEST, user_data=None)
    assert service.status("GET", "/latest/user-data", guest=without) == 404
    assert service.ask("GET", "/latest", guest=without).body == b"dynamic\nmeta-data"


def test_what_does_not_exist(service: Service) -> None:
    for path in (
        "/late",
        "/latest/nothing",
        "/latest/meta-data/iam",
        "/latest/api",
        "/latest/../etc/passwd",
        "/2030-01-01",
    ):
        response = service.ask("GET", path)
        assert (response.status, response.content_type) == (404, "text/html")
        assert b"<title>404 - Not Found</title>" in response.body


def test_other_methods_are_not_allowed(service: Service) -> None:
    for method in ("PUT", "POST", "DELETE", "OPTIONS", "PATCH", "TRACE"):
        assert service.status(method, "/latest/meta-data/") == 405
    for method in ("GET", "POST", "DELETE"):
        assert service.status(method, "/latest/api/token") == 405
    assert service.status("HEAD", "/latest/meta-data/") == 200


def test_a_stranger_learns_nothing(service: Service) -> None:
    assert service.status("GET", "/latest/meta-data/", guest=None) == 404
    assert service.status("PUT", "/latest/api/token", {TTL_HEADER: "60"}, guest=None) == 404


def test_a_switched_off_endpoint_forbids_everything(service: Service) -> None:
    off = replace(GUEST, endpoint_enabled=False)
    assert service.status("GET", "/latest/meta-data/", guest=off) == 403
    assert service.status("PUT", "/latest/api/token", {TTL_HEADER: "60"}, guest=off) == 403


def test_a_token_is_needed_where_it_is_required(service: Service) -> None:
    strict = replace(GUEST, tokens_required=True)
    path = "/latest/meta-data/instance-id"
    assert service.status("GET", path, guest=strict) == 401
    response = service.ask("GET", path, {TOKEN_HEADER: service.token(60)}, strict)
    assert (response.status, response.body) == (200, b"i-1")
    assert (TTL_HEADER, "60") in response.headers


@pytest.mark.parametrize("token", ["", "x", "é", "A" * 56, "A" * 54 + "==", "=" * 100_000])
def test_a_bad_token_is_refused_also_where_none_is_required(service: Service, token: str) -> None:
    assert service.status("GET", "/latest/meta-data/", {TOKEN_HEADER: token}) == 401


def test_a_token_ends_with_its_time(service: Service) -> None:
    token = service.token(60)
    headers = {TOKEN_HEADER: token}
    service.clock.time += timedelta(seconds=59.5)
    assert service.status("GET", "/latest/meta-data/", headers) == 200
    service.clock.time += timedelta(seconds=0.5)
    assert service.status("GET", "/latest/meta-data/", headers) == 401


def test_a_token_is_good_for_its_instance_alone(service: Service) -> None:
    other = replace(GUEST, instance_id="i-2")
    assert service.status("GET", "/latest/meta-data/", {TOKEN_HEADER: service.token()}, guest=other) == 401


@given(at=st.integers(0, 55), to=st.integers(1, 255))
def test_no_changed_token_passes(at: int, to: int) -> None:
    tokens = Tokens(b"k" * 32, StoppedClock())
    token = tokens.issue("i-1", 60)
    changed = token[:at] + chr(to) + token[at + 1 :]
    assert len(token) == 56  # as EC2's are
    assert tokens.seconds_left("i-1", token) == 60
    if changed != token:
        assert tokens.seconds_left("i-1", changed) == 0


@pytest.mark.parametrize("ttl", ["1", "21600", "00060"])
def test_lifetimes_that_are_given(service: Service, ttl: str) -> None:
    response = service.ask("PUT", "/latest/api/token", {TTL_HEADER: ttl})
    assert response.status == 200
    assert (TTL_HEADER, ttl) in response.headers
    assert service.tokens.seconds_left("i-1", response.body.decode()) == int(ttl)


@pytest.mark.parametrize("ttl", [None, "", "0", str(MAX_TTL + 1), "-1", "1.5", "sixty", "٣", "9" * 5000])
def test_lifetimes_that_are_not(service: Service, ttl: str | None) -> None:
    assert service.status("PUT", "/latest/api/token", {} if ttl is None else {TTL_HEADER: ttl}) == 400


def test_a_forwarded_request_gets_no_token(service: Service) -> None:
    headers = {TTL_HEADER: "60", "x-forwarded-for": "10.0.0.9"}
    assert service.status("PUT", "/latest/api/token", headers) == 403


def test_only_the_token_travels_under_the_hop_limit(service: Service) -> None:
    near = replace(GUEST, hop_limit=1)
    assert service.ask("PUT", "/latest/api/token", {TTL_HEADER: "60"}, near).hop_limit == 1
    assert service.ask("GET", "/latest/meta-data/", guest=near).hop_limit is None


def test_the_key_for_tokens_is_made_once_and_closed_to_others(tmp_path: Path) -> None:
    key = load_or_create_key(tmp_path / "key")
    assert load_or_create_key(tmp_path / "key") == key
    assert len(key) == 32
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
