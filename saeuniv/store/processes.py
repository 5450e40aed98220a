"""Who is writing: the names of processes in file names, and whether they still live."""

import os
import socket
from functools import cache


@cache
def host() -> str:
    """The name of this machine, without characters that mean something in a path."""
    return socket.gethostname().replace("/", "_")


def has_died(on_host: str, pid: int) -> bool:
    """True where the process is known to be gone; of other machines nothing is known."""
    if on_host != host():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
