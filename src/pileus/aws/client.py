"""An AWS client of one's own cloud, for the ``pileus`` command: botocore's, pointed at the endpoint."""

from functools import cache
from typing import Any


def client(
    service: str, *, endpoint: str, region: str, access_key: str, secret_key: str, verify: str | None = None
) -> Any:
    """A botocore client; ``verify`` is a file of certificates to trust instead of the system's.

    Importing botocore takes a while, so it is done here and not at the top.
    """
    from botocore.config import Config

    return _session().create_client(
        service,
        endpoint_url=endpoint,
        region_name=region,
        verify=verify,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        config=Config(retries={"max_attempts": 5, "mode": "standard"}),
    )


@cache
def _session() -> Any:
    """One for all clients: it keeps the service models that it has read."""
    from botocore.session import Session

    return Session()
