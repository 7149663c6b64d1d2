"""Ctrl-C that falls where nothing can be raised, in a destructor or a callback, is not lost."""

import signal
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

#: seconds after which it is raised again: what swallowed it is over by then
_LATER = 0.02


def keep() -> None:
    """From now on, in this process. Importing has such callbacks, and takes a command's start."""
    sys.unraisablehook = _again


def _again(unraisable: "UnraisableHookArgs") -> None:
    if not issubclass(unraisable.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(unraisable)
        return
    # raised here it would be lost as well: this runs where the first one did
    later = threading.Timer(_LATER, _interrupt)
    later.daemon = True
    later.start()


def _interrupt() -> None:
    """As from the terminal: whatever the main thread waits for is interrupted, too."""
    main = threading.main_thread().ident
    if main is not None:
        signal.pthread_kill(main, signal.SIGINT)
