"""Where the service listens: the address rule, its certificate, and the port as a socket."""

import ipaddress
import socket
import ssl
from pathlib import Path

from muniment.errors import ConfigInvalid
from muniment.runtime.settings import Server


def check_address(server: Server, listen: str | None = None) -> tuple[str, int]:
    """Host and port. Raises `ConfigInvalid` for an address that others reach without TLS."""
    host, _, port = (listen or server.listen).rpartition(":")
    host = host.strip("[]")
    if not host or not port.isdecimal() or int(port) > 65535:  # noqa: PLR2004 (ports end there)
        raise ConfigInvalid(f"`{listen or server.listen}` is no HOST:PORT")
    secured = server.tls_certificate is not None or server.behind_proxy
    if not secured and not is_loopback(host):
        raise ConfigInvalid(
            f"`{host}` is reachable by others: set `tls_certificate` and `tls_key`, or "
            "`behind_proxy = true` if a proxy in front speaks TLS"
        )
    return host, int(port)


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_certificate(server: Server, folder: Path) -> tuple[str, str] | None:
    """
    Paths of the certificate and its key, where there are any.

    Raises `ConfigInvalid` if they cannot be read, are none, or do not belong together.
    """
    if server.tls_certificate is None or server.tls_key is None:
        return None
    certificate, key = str(folder / server.tls_certificate), str(folder / server.tls_key)
    try:
        # with an empty password, where one is needed: nobody is asked for it at a start
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except OSError as error:  # an `SSLError` is one
        raise ConfigInvalid(
            f"`tls_certificate` and `tls_key` cannot be used ({certificate}, {key}): "
            f"{error.strerror or error}"
        ) from error
    return certificate, key


def bind(host: str, port: int) -> socket.socket:
    """The port is ours, and answers nobody yet. Raises `ConfigInvalid` if it cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise ConfigInvalid(f"cannot listen on {host}:{port}: {error.strerror}") from error
    return bound
