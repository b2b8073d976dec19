"""How clients are pointed at the cloud: shell exports, or a profile in the AWS configuration files."""

import configparser
from collections.abc import Mapping
from pathlib import Path

from pileus.cmd.errors import CloudError
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
    """Adds or replaces a profile in ``~/.aws/config`` and ``~/.aws/credentials``; other profiles stay as they are.

    Raises:
        CloudError: one of the files is not in AWS's format.
    """
    directory = home / ".aws"
    directory.mkdir(mode=0o700, exist_ok=True)
    _put(directory / "config", f"profile {name}", {"region": region, "endpoint_url": endpoint})
    secrets = {"aws_access_key_id": keys.access_key, "aws_secret_access_key": keys.secret_key}
    _put(directory / "credentials", name, secrets)


def _put(path: Path, section: str, values: Mapping[str, str]) -> None:
    parser = configparser.RawConfigParser()
    try:
        parser.read(path)
    except (configparser.Error, UnicodeDecodeError) as error:
        raise CloudError(f"{path} can't be read, and stays as it is: {error}") from error
    parser[section] = dict(values)
    fresh = path.with_name(path.name + ".new")
    fresh.touch(mode=0o600)
    with fresh.open("w") as file:
        parser.write(file)
    fresh.replace(path)
