"""The ``pileus`` command and the composition roots: here, and only here, the parts are put together."""
