"""The AWS services: one package each, one file per resource, one function per operation. ``registry`` is all of them."""
