"""What names a dictionary that is an object of the user; nothing is imported here."""

import importlib.util
from pathlib import Path

from saeuniv.adapters.checkpoints import files_sha256
from saeuniv.config import ConfigError, CustomSae
from saeuniv.hookpoints import Hookpoint


def custom_identity(sae: CustomSae, hookpoint: Hookpoint, *, key: str) -> dict[str, str]:
    """What names the object in a store key: its name, its module's file and `version`. Nothing is imported.

    Raises:
        ConfigError: the name has another form, or there is no such module.
    """
    module, _, function = sae.object.partition(":")
    if not (module and function.isidentifier()):
        raise ConfigError(
            f"{key}.object={sae.object}: expected module:function, for example mine:make, got {sae.object!r}."
        )
    # Not of a package: finding its parts would run it.
    found = importlib.util.find_spec(module.partition(".")[0])
    if found is None or not found.origin:
        raise ConfigError(
            f"{key}.object={sae.object}: expected a module that Python finds, got none named {module}. Add "
            f"its folder to PYTHONPATH."
        )
    origin = Path(found.origin).parent.joinpath(*module.split(".")[1:]).with_suffix(".py")
    file = origin if "." in module and origin.is_file() else Path(found.origin)
    return {
        "object": sae.object,
        "hookpoint": str(hookpoint),
        "sha256": files_sha256([file]),
        "version": sae.version,
    }
