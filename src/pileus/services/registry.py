"""All services. Imported by ``pileus.cmd`` where the dispatch table is made; nothing else needs the whole of them."""

from pileus.operations.registry import Service
from pileus.services.ec2.api import ec2
from pileus.services.kms import kms
from pileus.services.ssm import ssm
from pileus.services.sts import sts

SERVICES: tuple[Service, ...] = (ec2, kms, ssm, sts)
