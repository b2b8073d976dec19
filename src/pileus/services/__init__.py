"""The AWS services: one package each, one file per resource, one function per operation. Wired up by ``pileus.cmd``."""

from pileus.operations.registry import Service
from pileus.services.ec2 import ec2
from pileus.services.ssm import ssm
from pileus.services.sts import sts

SERVICES: tuple[Service, ...] = (ec2, ssm, sts)
