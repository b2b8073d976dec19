from pileus.aws.http import Headers


def test_headers_are_found_in_any_case_and_keep_every_value():
    headers = Headers([("X-Amz-Date", "1"), ("accept", "a"), ("Accept", "b")])
    assert headers["x-amz-date"] == "1"
    assert "X-AMZ-DATE" in headers
    assert headers["ACCEPT"] == "a, b"
    assert headers.get_all("Accept") == ("a", "b")
    assert headers.get_all("absent") == ()
    assert headers.get("absent") is None
    assert list(headers) == ["x-amz-date", "accept"]
    assert len(headers) == 2


def test_headers_keep_every_byte():
    assert Headers.from_raw([(b"X-A", b"\xff\xc3")])["x-a"] == "\xff\xc3"
