"""
Mail and chat through Apprise, which knows the services' own ways.

NOTE: its plugins open their own connections, which are not held to public addresses as ours are:
the URLs come from the operator alone. They hold passwords; so neither Apprise nor what lies under
it may log anything, and what it raises is told by its class only.
"""

import asyncio
import logging
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar, Final

import apprise
from apprise.attachment.memory import AttachMemory
from apprise.plugins import url_to_dict

from muniment.errors import AddressRefused, ConfigInvalid, Unavailable
from muniment.ports import Notice, Secret

#: how long one notice may take, in seconds
SECONDS: Final = 20.0
#: threads that one service that answers to nobody may hold
_THREADS: Final = 2
_MAIL: Final = ("mailto", "mailtos")
#: one plain address: nothing that a header or a list of addresses could be made of
_ADDRESS: Final = re.compile(r"[^\s@,;:<>()\[\]\"\\]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251})")
# both write URLs, or parts of them that open something, into their logs
for _name in ("apprise", "urllib3"):
    logging.getLogger(_name).setLevel(logging.CRITICAL + 1)


class _Apprise:
    """One URL. Every notice has a plugin object of its own: they keep state."""

    def __init__(self, name: str, url: Secret) -> None:
        """Raises `ConfigInvalid` for a URL that Apprise does not know; does not connect."""
        self._name = name
        self._parts = _parse(url, f"notices.{name}.url")
        self._asset = apprise.AppriseAsset(
            app_id="Muniment", app_desc="Muniment", app_url="", async_mode=False
        )
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix=f"notices-{name}")

    def _plugin(self, **changes: Any) -> Any:
        plugin = apprise.Apprise.instantiate({**self._parts, **changes}, asset=self._asset)
        if plugin is None:
            raise Unavailable(f"`{self._name}` does not take this notice")
        return plugin

    async def _send(self, send: Callable[[], Any]) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(SECONDS):
                taken = await loop.run_in_executor(self._threads, send)
        except TimeoutError as error:
            raise Unavailable(f"`{self._name}` did not take it in {SECONDS:g} s") from error
        except Exception as error:  # noqa: BLE001 (a plugin's, and it may hold its URL)
            raise Unavailable(f"`{self._name}` failed: {type(error).__name__}") from None
        if not taken:
            raise Unavailable(f"`{self._name}` did not take it")


class Mail(_Apprise):
    """One mail for each person, by the server in the URL; addresses in the URL get none."""

    personal: ClassVar[bool] = True

    def __init__(self, name: str, url: Secret) -> None:
        super().__init__(name, url)
        if self._parts["schema"] not in _MAIL:
            raise ConfigInvalid(f"`notices.{name}.url` begins with `mailto://` or `mailtos://`")
        self._plugin(targets=["check@example.com"])

    async def tell(self, notice: Notice, address: str = "") -> None:
        if _ADDRESS.fullmatch(address) is None:
            raise AddressRefused("this is no address of one person")
        plugin = self._plugin(targets=[address], cc=None, bcc=None)
        head = AttachMemory(  # type: ignore[no-untyped-call]  # typed in part
            notice.checkpoint, name="checkpoint.txt", mimetype="text/plain"
        )
        await self._send(
            lambda: plugin.notify(
                title=notice.title,
                body=notice.html,
                body_format=apprise.NotifyFormat.HTML,
                attach=apprise.AppriseAttachment([head]),
            )
        )


class Chat(_Apprise):
    """One message for whoever reads the channel in the URL."""

    personal: ClassVar[bool] = False

    def __init__(self, name: str, url: Secret) -> None:
        super().__init__(name, url)
        self._plugin()

    async def tell(self, notice: Notice, address: str = "") -> None:  # noqa: ARG002 (a channel)
        plugin = self._plugin()
        await self._send(
            lambda: plugin.notify(
                title=notice.title, body=notice.text, body_format=apprise.NotifyFormat.TEXT
            )
        )


def _parse(url: Secret, where: str) -> dict[str, Any]:
    try:
        found = url_to_dict(url.reveal())  # type: ignore[no-untyped-call]  # typed in part
    except Exception:  # noqa: BLE001 (a plugin's own reading of a URL, which it may repeat)
        found = None
    if not found:
        raise ConfigInvalid(f"`{where}` is no URL that Apprise knows")
    parts: dict[str, Any] = found
    return parts
