"""The one error of the configuration."""


class ConfigError(ValueError):
    """The configuration is wrong; `faults` holds every fault found, each a whole sentence."""

    def __init__(self, *faults: str) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults
