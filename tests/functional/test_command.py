"""The ``pileus`` command tells a person what is wrong, in a line, and at once."""

import socket
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pileus.cmd import destroy
from pileus.cmd.errors import CloudError
from pileus.cmd.layout import Layout
from pileus.cmd.main import main


def pileus(data_dir: Path, *words: str) -> Result:
    return CliRunner().invoke(main, ["--data-dir", str(data_dir), *words])


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (b"bogus = 1", "bogus"),
        (b"port = = 3", "line 1"),
        (b"port = 70000", "port 70000"),
        (b"\xff\xfe", "can't decode"),
        (b"regions = []", "at least one region"),
        (b"[[regions]]\nzones = []", "at least one zone"),
        (b'[[regions]]\npublic_pool = ["nope"]', "nope"),
        (b'[[regions]]\nname = "mars-1"', "no zone mars-1a"),
        (b'[[regions]]\nzones = ["q"]', "no zone us-east-1q"),
        (b'certificate = "server.pem"', "go together"),
        (b'certificate = "/nope"\nkey = "/nope"', "/nope"),
        (b'store = "mysql://x"', "mysql://x"),
        (b"simulated_hosts = 0", "simulated_hosts"),
    ],
)
def test_settings_that_can_not_work_are_named_before_anything_starts(
    tmp_path: Path, settings: bytes, told: str
) -> None:
    (tmp_path / "config.toml").write_bytes(settings)
    result = pileus(tmp_path, "up", "--simulate")
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert told in result.output
    assert not (tmp_path / "logs" / "supervisor.log").exists()


def test_a_port_that_is_taken_is_told_at_once(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        result = pileus(tmp_path / "new", "--port", str(other.getsockname()[1]), "up", "--simulate")
    assert result.exit_code == 1
    assert "Address already in use" in result.output


@pytest.mark.parametrize("words", [("status",), ("env",), ("up", "--simulate"), ("down",)])
def test_a_directory_that_can_not_be_is_no_traceback(tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "file").touch()
    result = pileus(tmp_path / "file" / "cloud", *words)
    assert result.exit_code == 1
    assert "Not a directory" in result.output


def test_a_simulated_cloud_is_not_started_over_real_hosts_nor_the_other_way_round(tmp_path: Path) -> None:
    for simulate in (True, False):
        layout = Layout(tmp_path / str(simulate))
        layout.prepare(0, simulate=simulate)
        layout.prepare(0, simulate=simulate)
        with pytest.raises(CloudError, match="--simulate"):
            layout.prepare(0, simulate=not simulate)


def test_destroying_a_simulated_cloud_needs_nothing_of_the_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def touched(*_: Any) -> None:
        raise AssertionError("the real drivers were made")

    monkeypatch.setattr(destroy, "real_drivers", touched)
    Layout(tmp_path).prepare(0, simulate=True)
    assert pileus(tmp_path, "down", "--destroy").exit_code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A data directory with nothing but a root access key in it."""
    data_dir = tmp_path / "cloud"
    Layout(data_dir).prepare(0, simulate=True)
    Layout(data_dir).credentials.write_text('{"account": "1", "access_key": "AKIA", "secret_key": "s"}')
    return data_dir


def test_only_regions_of_the_cloud_are_exported(keys: Path) -> None:
    assert "AWS_DEFAULT_REGION=us-east-1" in pileus(keys, "env", "--region", "us-east-1").output
    result = pileus(keys, "env", "--region", "mars-1")
    assert result.exit_code == 1
    assert "no region mars-1" in result.output


OWN = """# work
[default]
region = eu-central-1  # home
[profile mine]
region = nowhere

# nested
[profile other]
s3 =
    addressing_style = path
"""


def test_a_profile_is_replaced_and_all_else_in_the_file_stays(
    keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".aws").mkdir()
    config = tmp_path / ".aws" / "config"
    config.write_text(OWN)
    for _ in range(2):
        assert pileus(keys, "env", "--profile", "mine").exit_code == 0
    other = OWN[OWN.index("# nested") :]
    mine = "[profile mine]\nregion = us-east-1\nendpoint_url = http://127.0.0.1:4566\n"
    assert config.read_text() == f"# work\n[default]\nregion = eu-central-1  # home\n{other}\n{mine}"
    credentials = tmp_path / ".aws" / "credentials"
    assert credentials.read_text() == "[mine]\naws_access_key_id = AKIA\naws_secret_access_key = s\n"
    assert credentials.stat().st_mode & 0o777 == 0o600
