"""How clients are pointed at the cloud: shell exports, or a profile in the AWS configuration files."""

from collections.abc import Mapping
from pathlib import Path

from pileus.cmd.layout import Credentials


def exports(keys: Credentials, endpoint: str, region: str) -> Mapping[str, str]:
    """The environment variables that AWS CLI and SDKs read."""
    return {
        "AWS_ACCESS_KEY_ID": keys.access_key,
        "AWS_SECRET_ACCESS_KEY": keys.secret_key,
        "AWS_DEFAULT_REGION": region,
        "AWS_ENDPOINT_URL": endpoint,
    }


def write_profile(name: str, keys: Credentials, endpoint: str, region: str, home: Path) -> None:
    """Adds or replaces a profile in ``~/.aws/config`` and ``~/.aws/credentials``; all else in them stays as it is."""
    directory = home / ".aws"
    directory.mkdir(mode=0o700, exist_ok=True)
    section = name if name == "default" else f"profile {name}"
    _put(directory / "config", section, {"region": region, "endpoint_url": endpoint})
    secrets = {"aws_access_key_id": keys.access_key, "aws_secret_access_key": keys.secret_key}
    _put(directory / "credentials", name, secrets)


def _put(path: Path, section: str, values: Mapping[str, str]) -> None:
    """Replaces one section, line by line: the files are people's own, with their comments."""
    path = path.resolve()
    kept: list[str] = []
    inside = False
    for line in path.read_text().splitlines() if path.exists() else ():
        if line.startswith("["):
            inside = line.strip() == f"[{section}]"
        if not inside or line.startswith("#"):
            kept.append(line)
    while kept and not kept[-1].strip():
        kept.pop()
    lines = [*kept, *([""] if kept else []), f"[{section}]", *(f"{key} = {value}" for key, value in values.items())]
    fresh = path.with_name(path.name + ".new")
    fresh.touch(mode=0o600)
    fresh.write_text("\n".join(lines) + "\n")
    fresh.replace(path)
