"""How a driver says that something is not so. Reconcilers handle all of them."""


class DriverError(Exception):
    """It was not done. The message is for the operator's log."""


class RetryableError(DriverError):
    """Not done, nothing half done that the next ``ensure`` would not repair: try again later."""


class PermanentError(DriverError):
    """Not done, and asking again with the same spec will not help (a damaged image, a size the host can't have)."""


class UnknownOutcomeError(DriverError):
    """Interrupted: it may or may not have happened. Observe before doing anything else."""
