"""Take in what other nodes write to the log, as soon as the head store tells of it."""

import logging
import threading
from collections.abc import Callable
from typing import Final

from muniment.errors import MunimentError
from muniment.evidence.log import Log
from muniment.evidence.store import SharedHeadStore

#: seconds after which the head store is asked, though it told of nothing
LOOK: Final = 1.0
#: seconds until it is asked again after it did not answer, or something did not hold
REST: Final = 0.5
_log = logging.getLogger(__name__)


class Following:
    """
    A thread that does so until it is closed; `on_news` is called there when the log has grown.

    A node that cannot follow says so as the log's trouble, and grants nothing until it can.
    """

    def __init__(self, log: Log, heads: SharedHeadStore, on_news: Callable[[], object]) -> None:
        self._log = log
        self._heads = heads
        self._on_news = on_news
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log-follower", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Returns when the thread has ended: after one look at most."""
        self._closed.set()
        self._thread.join()

    def _run(self) -> None:
        size = self._log.size
        while not self._closed.is_set():
            try:
                known = self._log.follow().result()
                if known != size:
                    size = known
                    self._on_news()
                self._heads.await_change(LOOK)
            except MunimentError as error:  # the log has said why, once
                _log.debug("nothing is followed: %s", error)
                self._closed.wait(REST)
