"""Do different language models learn the same features? Dictionaries compared for every layer pair."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from saeuniv.compare import compare_latents as compare_latents
    from saeuniv.loaded import load as load

__version__: str

# Where each public name lives. Imported on first use, so that `import saeuniv` and shell completion stay
# light and `saeuniv.load` never imports torch.
_HOMES = {"compare_latents": "saeuniv.compare", "load": "saeuniv.loaded"}


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("saeuniv")
    if name not in _HOMES:
        raise AttributeError(f"module 'saeuniv' has no attribute {name!r}. It has: {', '.join(_HOMES)}.")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, "__version__"})
