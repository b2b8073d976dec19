import base64
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pileus.base.sealing import SealBroken, Sealer, key_of_text, load_or_create_key

KEY = bytes(range(32))


@given(st.binary(max_size=300), st.text(max_size=40))
def test_what_is_sealed_opens_again(plaintext, context):
    assert Sealer(KEY).open(Sealer(KEY).seal(plaintext, context), context) == plaintext


def test_the_same_secret_never_looks_the_same_and_does_not_show():
    sealer = Sealer(KEY)
    texts = {sealer.seal(b"secret secret", "a") for _ in range(50)}
    assert len(texts) == 50
    assert not any("secret" in text for text in texts)


def test_another_context_does_not_open_it():
    with pytest.raises(SealBroken):
        Sealer(KEY).open(Sealer(KEY).seal(b"x", "user/alice"), "user/mallory")


def test_another_key_does_not_open_it():
    with pytest.raises(SealBroken):
        Sealer(bytes(32)).open(Sealer(KEY).seal(b"x", "a"), "a")


@given(st.integers(0, 10_000), st.characters(codec="latin-1"))
def test_no_altered_character_goes_unnoticed(place, letter):
    sealed = Sealer(KEY).seal(b"some secret", "a")  # another one each time, so nothing drawn may depend on it
    place %= len(sealed)
    if letter == sealed[place]:
        letter = chr(ord(letter) ^ 1)
    with pytest.raises(SealBroken):
        Sealer(KEY).open(sealed[:place] + letter + sealed[place + 1 :], "a")


@pytest.mark.parametrize("text", ["", "1.", "1.AAAA", "2.AAAA", "not sealed", "1.ä"])
def test_garbage_is_refused(text):
    with pytest.raises(SealBroken):
        Sealer(KEY).open(text, "a")


def test_a_key_of_another_length_is_refused():
    with pytest.raises(ValueError, match="32 bytes"):
        Sealer(b"short")


def test_a_key_is_made_once_and_for_the_owner_only(tmp_path):
    path = tmp_path / "key"
    key = load_or_create_key(path)
    assert len(key) == 32
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_or_create_key(path) == key
    assert [entry.name for entry in tmp_path.iterdir()] == ["key"]


def test_all_who_start_at_once_get_the_same_key(tmp_path):
    keys: list[bytes] = []
    start = threading.Barrier(8)

    def make():
        start.wait()
        keys.append(load_or_create_key(tmp_path / "key"))

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(keys) == 8
    assert len(set(keys)) == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["key"]


def test_a_key_that_others_can_read_is_refused(tmp_path):
    path = tmp_path / "key"
    load_or_create_key(path)
    path.chmod(0o640)
    with pytest.raises(PermissionError, match="chmod 600"):
        load_or_create_key(path)


def test_a_file_that_is_no_key_is_refused_and_kept(tmp_path):
    path = tmp_path / "key"
    path.write_bytes(b"something else")
    path.chmod(0o600)
    with pytest.raises(ValueError, match="not a key"):
        load_or_create_key(path)
    assert path.read_bytes() == b"something else"


def test_a_key_may_be_given_as_text():
    assert key_of_text(base64.b64encode(bytes(range(32))).decode()) == bytes(range(32))
    for text in ("", "not base64!", base64.b64encode(bytes(31)).decode()):
        with pytest.raises(ValueError, match="sealing key"):
            key_of_text(text)
