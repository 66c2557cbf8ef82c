"""Takes out of a report what says who ran it, so that it can be pasted in public."""

import getpass
import os
import re
import socket
import sys
import sysconfig
from typing import Any, List, Tuple

_SHORTEST = 3  # a user or host name shorter than that is part of ordinary words
_ORDINARY = {"root", "user", "ubuntu", "jetson", "nvidia", "localhost", "admin", "python", "linux", "cuda", "home"}


def _folders() -> List[Tuple[str, str]]:
    paths = sysconfig.get_paths()
    found = [
        (paths["platlib"], "<site-packages>"),
        (paths["purelib"], "<site-packages>"),
        (sys.prefix, "<prefix>"),
        (os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "<repository>"),
        (os.path.expanduser("~"), "~"),
    ]
    return sorted(((f, name) for f, name in found if f not in ("", "/", "/usr")), key=lambda pair: -len(pair[0]))


def _names() -> List[Tuple[str, str]]:
    found = []
    for read, name in ((getpass.getuser, "<user>"), (socket.gethostname, "<host>")):
        try:
            value = read()
        except (OSError, KeyError):  # a user id without a name
            continue
        if len(value) >= _SHORTEST and value.lower() not in _ORDINARY:
            found.append((value, name))
    return found


def scrub(value: Any) -> Any:
    """The same text, list or dictionary without home folders, user and host names."""
    if isinstance(value, dict):
        return {scrub(key): scrub(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [scrub(item) for item in value]
    if not isinstance(value, str):
        return value
    for folder, name in _folders():
        value = re.sub(rf"{re.escape(folder)}(?![\w.-])", name, value)
    value = re.sub(r"/(?:home|Users)/[^/\s:'\"]+", "~", value)
    for text, name in _names():
        value = re.sub(rf"(?<![\w-]){re.escape(text)}(?![\w-])", name, value)
    return value
