"""A small server of this process: on a socket, in a thread, until it is closed."""

from __future__ import annotations

import errno
import ipaddress
import socket
import threading
from typing import Any

try:
    import uvicorn
except ImportError as error:
    raise ImportError(
        "the page for labelling, and webhooks, need uvicorn; install it with pip install 'pickwise[label]'"
    ) from error


class Listener:
    """An ASGI application at an address.

    Attributes
    ----------
    port : int
        The port that was taken.

    Raises
    ------
    ValueError
        If the address cannot be listened at; the socket is open otherwise, and `start` serves it.
    """

    def __init__(self, host: str, port: int, name: str) -> None:
        self._socket = _listening(host, port)
        self._name = name
        self.port: int = self._socket.getsockname()[1]
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    def start(self, app: Any) -> None:
        """Serve from now on."""
        # No log of requests: addresses may have a token in them.
        quiet: dict[str, Any] = {"access_log": False, "log_config": None, "server_header": False}
        plain: dict[str, Any] = {"interface": "asgi3", "lifespan": "off", "ws": "none"}
        config = uvicorn.Config(app, timeout_keep_alive=75, timeout_graceful_shutdown=3, **quiet, **plain)
        server = self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=lambda: server.run([self._socket]), name=self._name, daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Wait until it is closed."""
        while self._thread is not None and self._thread.is_alive():
            self._thread.join(1)  # not for ever, so that Ctrl-C is heard

    def stop(self) -> None:
        """Serve no more; requests that have come are answered first. What they left to do is over then."""
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join()

    def close(self) -> None:
        """Serve no more, and give the address back."""
        self.stop()
        self._socket.close()


def _listening(host: str, port: int) -> socket.socket:
    """Open a socket, so that it is known at once whether that is possible."""
    try:
        # No name at all would be all addresses.
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE) if host else []
    except (OSError, UnicodeError):
        found = []
    if not found:
        raise ValueError(f"host: expected the name or the address of this machine, got {host!r}")
    family, kind, protocol, _, address = found[0]
    opened = socket.socket(family, kind, protocol)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
        opened.listen(100)
    except (OSError, OverflowError) as error:
        opened.close()
        reason = {
            errno.EADDRINUSE: "something else uses it; take another port",
            errno.EACCES: "not allowed; take a port above 1023",
            errno.EADDRNOTAVAIL: "no address of this machine; take another host",
        }.get(getattr(error, "errno", None) or 0, str(error))
        raise ValueError(f"{host}:{port}: {reason}") from None
    return opened


def called(host: str) -> str:
    """Return what programs of this machine call a host by."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.is_unspecified:
        return "127.0.0.1"
    return f"[{host}]" if address.version == 6 else host


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a host."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
