"""All services. Imported by ``pileus.cmd`` where the dispatch table is made; nothing else needs the whole of them."""

from pileus.operations.registry import Service
from pileus.services.ebs import ebs
from pileus.services.ec2.api import ec2
from pileus.services.kms import kms
from pileus.services.rbin import rbin
from pileus.services.s3 import s3
from pileus.services.ssm import ssm
from pileus.services.sts import sts

SERVICES: tuple[Service, ...] = (ebs, ec2, kms, rbin, s3, ssm, sts)
