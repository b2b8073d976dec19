"""The protocol compiler: AWS requests to parameters, results to AWS answers, both by functions built from the service models.

``load_service(name).operation(name)`` gives ``parse`` and ``serialise``. The modules below it, lowest first: ``scalars``,
``lazy``, ``fragment``, ``errors``; readers and writers of forms, XML and trees; one ``Wire`` a protocol; ``service``.
"""

from pileus.aws.protocol.fragment import Fragment
from pileus.aws.protocol.service import InputMember, Operation, Service, load_service

__all__ = ["Fragment", "InputMember", "Operation", "Service", "load_service"]
