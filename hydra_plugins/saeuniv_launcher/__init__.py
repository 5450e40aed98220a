"""The shim that Hydra demands under this name; what it does lives in saeuniv."""
