"""The page at an address: until it is closed, or for as long as a notebook shows it."""

from __future__ import annotations

import html
import secrets
from typing import TYPE_CHECKING

from pickwise.annotators.listening import Listener, called
from pickwise.annotators.page.app import Look, Page
from pickwise.annotators.page.feed import Feed
from pickwise.annotators.page.leases import Leases

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
        self._listener = Listener(host, port, "pickwise label: server")
        try:
            token = secrets.token_urlsafe(32)
            self.leases = Leases(look.lease)
            self._feed = Feed(source, self.leases, tell)
            self._feed.start()
            self._listener.start(Page(source, self.leases, self._feed, look, note).app(token))
        except BaseException:
            self._listener.close()
            raise
        self.url = f"http://{called(host)}:{self._listener.port}/?token={token}"

    def close(self) -> None:
        """Serve no more; answers that have come are recorded first."""
        self._listener.stop()
        self._feed.close()
        self._listener.close()
        self._ending()

    def wait(self) -> None:
        """Wait until it is closed."""
        self._listener.wait()

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
