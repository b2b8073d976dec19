"""Makes ``network_specs`` importable from here and below: pytest puts the directory of a conftest on the path."""
