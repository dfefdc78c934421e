"""The page at an address: on a socket, in a thread, until it is closed."""

from __future__ import annotations

import errno
import html
import ipaddress
import secrets
import socket
import threading
from typing import TYPE_CHECKING, Any

from pickwise.annotators.page.app import Look, Page
from pickwise.annotators.page.feed import Feed
from pickwise.annotators.page.leases import Leases

try:
    import uvicorn
except ImportError as error:
    raise ImportError("the page for labelling needs uvicorn; install it with pip install 'pickwise[label]'") from error

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from pickwise.annotators.page.source import Source


class LabelServer:
    """The page for labelling, served in a thread until `close`; in a notebook it shows itself.

    Attributes
    ----------
    url : str
        Where it is. Whoever has it may label.
    leases : Leases
        The queue.
    """

    def __init__(
        self,
        source: Source,
        look: Look,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        note: Callable[[], str] = str,
        tell: Callable[[str], None] | None = None,
        ending: Callable[[], None] = lambda: None,
    ) -> None:
        self._ending = ending
        self._socket = _listening(host, port)
        try:
            token = secrets.token_urlsafe(32)
            self.leases = Leases(look.lease)
            self._feed = Feed(source, self.leases, tell)
            self._feed.start()
            app = Page(source, self.leases, self._feed, look, note).app(token)
        except BaseException:
            self._socket.close()
            raise
        self.url = f"http://{_called(host)}:{self._socket.getsockname()[1]}/?token={token}"
        # No log of requests: addresses have the token in them.
        told: dict[str, Any] = {"access_log": False, "log_config": None, "lifespan": "off", "ws": "none"}
        config = uvicorn.Config(app, server_header=False, timeout_keep_alive=75, timeout_graceful_shutdown=3, **told)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="pickwise label: server", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Serve no more; answers that have come are recorded first."""
        self._server.should_exit = True
        self._thread.join()
        self._feed.close()
        self._socket.close()
        self._ending()

    def wait(self) -> None:
        """Wait until it is closed."""
        while self._thread.is_alive():
            self._thread.join(1)  # not for ever, so that Ctrl-C is heard

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"LabelServer({self.url.partition('?')[0]!r})"  # without the token, which a log has no need of

    def _repr_html_(self) -> str:
        return (
            f'<iframe src="{html.escape(self.url)}" title="Labelling" width="100%" height="640" '
            'style="border:1px solid #8888;border-radius:8px"></iframe>'
        )

    def _run(self) -> None:
        self._server.run([self._socket])


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
            errno.EADDRINUSE: "something else uses it; take another --port, or 0 for any that is free",
            errno.EACCES: "not allowed; take a --port above 1023",
            errno.EADDRNOTAVAIL: "no address of this machine; take another --host",
        }.get(getattr(error, "errno", None) or 0, str(error))
        raise ValueError(f"{host}:{port}: {reason}") from None
    return opened


def _called(host: str) -> str:
    """Return what browsers of this machine call a host by."""
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
