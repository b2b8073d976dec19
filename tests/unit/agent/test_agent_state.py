"""What the agent keeps on disk."""

from pathlib import Path

import pytest

from pileus.agent.inventory import measure_capacity
from pileus.agent.state import StateDirectory, replace_file
from pileus.hostapi.spec import HostSpec, VolumeSpec

SPEC = HostSpec(revision=7, volumes=(VolumeSpec(volume_id="vol-1", size=1),))


def test_the_last_spec_is_found_again(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path / "agent")
    assert state.load_spec() is None
    state.keep_spec(HostSpec(revision=6))
    state.keep_spec(SPEC)
    state.sync()
    assert StateDirectory(tmp_path / "agent").load_spec() == SPEC


def test_it_is_closed_to_others(tmp_path: Path) -> None:
    StateDirectory(tmp_path / "agent").keep_spec(SPEC)
    assert (tmp_path / "agent").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "agent" / "spec.msgpack").stat().st_mode & 0o777 == 0o600


def test_a_write_that_was_cut_short_changes_nothing(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    state.keep_spec(SPEC)
    (tmp_path / "spec.msgpack.new").write_bytes(b"half of a")
    assert state.load_spec() == SPEC
    state.keep_spec(HostSpec(revision=8))
    assert state.load_spec() == HostSpec(revision=8)


def test_a_damaged_spec_is_said_and_ignored(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "spec.msgpack").write_bytes(b"\xff\x00nonsense")
    assert StateDirectory(tmp_path).load_spec() is None
    assert "damaged" in caplog.text


def test_a_file_keeps_its_content_when_it_can_not_be_replaced(tmp_path: Path) -> None:
    replace_file(tmp_path / "file", b"old")
    (tmp_path / "file.new").mkdir()
    with pytest.raises(OSError):
        replace_file(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"old"


def test_the_machine_has_some_of_everything(tmp_path: Path) -> None:
    capacity = measure_capacity(tmp_path)
    assert min(capacity.vcpus, capacity.memory, capacity.disk) > 0
