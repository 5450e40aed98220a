"""The one error of the configuration."""


class ConfigError(ValueError):
    """The configuration is wrong; `faults` holds every fault found, each a whole sentence."""

    def __init__(self, *faults: str) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


def require_option(key: str, value: object, holds: bool, expected: str) -> None:
    """Refuse the value of an option of an alignment or a metric; preflight reports it with all other faults.

    Raises:
        ValueError: if it does not hold.
    """
    if not holds:
        raise ValueError(f"{key}={value}: expected {expected}, got {value}.")
