"""Which way a run goes: offline, online or not at all; decided without asking anybody."""

import netrc
import os
from pathlib import Path
from typing import Literal
from urllib.parse import urlparse

from saeuniv.config import TrackingMode

Way = Literal["offline", "online", "off"]

_WAYS: dict[str, Way] = {
    "offline": "offline",
    "dryrun": "offline",
    "online": "online",
    "run": "online",
    "disabled": "off",
}


def way(mode: TrackingMode) -> Way:
    """How runs are tracked; `auto` follows WANDB_MODE, else goes online where an API key is at hand."""
    if mode is not TrackingMode.auto:
        return mode.value
    named = _WAYS.get(os.environ.get("WANDB_MODE", "").lower())
    return named or ("online" if has_api_key() else "offline")


def no_key() -> str:
    """What to do for an API key; empty where one is at hand."""
    if has_api_key():
        return ""
    return (
        "expected an API key of W&B, found none. Run `wandb login`, or set WANDB_API_KEY "
        "(and WANDB_BASE_URL for a server of your own)."
    )


def has_api_key() -> bool:
    """Whether W&B would find an API key without asking: WANDB_API_KEY, or the host in netrc."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    for path in (os.environ.get("NETRC"), "~/.netrc", "~/_netrc"):
        try:
            if path and netrc.netrc(Path(path).expanduser()).authenticators(host):
                return True
        except (OSError, netrc.NetrcParseError):
            continue
    return False
