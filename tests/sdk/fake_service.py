"""A small service with canned answers that follows the HTTP contract, for tests of the SDK and the command.

Tests reach it over real sockets. `fault` makes it fail, `seen` holds every request, and `reset` clears its state.
"""

import contextlib
import socket
import threading
from collections.abc import Generator

import uvicorn

from tests.sdk.fake_routes import build_app
from tests.sdk.fake_state import FakeState


class FakeService(FakeState):
    """The fake's state with the server's thread."""

    def __init__(self, port: int = 0) -> None:
        super().__init__()
        self.app = build_app(self)
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", port))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._server = uvicorn.Server(
            uvicorn.Config(self.app, log_level="critical", timeout_graceful_shutdown=1, lifespan="off")
        )
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True)

    def __enter__(self) -> "FakeService":
        self._thread.start()
        while not self._server.started:
            self._thread.join(0.01)
            assert self._thread.is_alive()
        return self

    def __exit__(self, *raised: object) -> None:
        self._server.should_exit = True
        self._thread.join(10)
        self._socket.close()


@contextlib.contextmanager
def fake_service(port: int = 0) -> Generator[FakeService, None, None]:
    """Run a fake service for the length of a with-block, on a free port unless one is given."""
    with FakeService(port) as service:
        yield service
