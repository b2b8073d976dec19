"""Device names of volumes.

See https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/device_naming.html.
"""

import re

_DEVICE_NAME = re.compile(r"(?:/dev/)?(?:sd[a-z]|hd[a-z]|xvd[a-z]{1,2})[0-9]{0,2}")
_EPHEMERAL = re.compile(r"ephemeral([0-9]|1[0-9]|2[0-3])")


def valid_name(name: str) -> bool:
    """Whether a volume can be attached under this name."""
    return _DEVICE_NAME.fullmatch(name) is not None


def store_number(virtual_name: str) -> int | None:
    """The number of an instance store disk by its virtual name (``ephemeral0`` to ``ephemeral23``), None for others."""
    found = _EPHEMERAL.fullmatch(virtual_name)
    return int(found[1]) if found else None
