"""The AWS wire: service models, protocols, signatures, routing, ARNs. The only package that reads botocore's data.

``pileus.gateway`` drives it; the services see nothing of it but parameter and result dictionaries.
"""
