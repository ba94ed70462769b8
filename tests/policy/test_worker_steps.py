"""In a worker, a generation that cannot be read or cancelled ends alone, and the others go on."""

from typing import Any

from policy.runners.base import TokenDelta
from policy.runners.openvino import OpenVinoEngine
from policy.runners.openvino_forward import Forward
from policy.runners.worker import Worker


class Handle:
    """An engine's request."""

    def __init__(self) -> None:
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class Pipeline:
    """Has nothing to do in a step."""

    def step(self) -> None:
        """Sample nothing."""


def test_a_generation_that_cannot_be_read_ends_alone() -> None:
    engine = object.__new__(OpenVinoEngine)
    handles = {"bad": Handle(), "good": Handle()}
    engine._handles = {name: (handle, frozenset()) for name, handle in handles.items()}
    engine._pipeline, engine.tokens, engine._forward = Pipeline(), 0, Forward(lambda: None)

    def read(request_id: str, handle: Any, ends: frozenset[int]) -> TokenDelta:
        if request_id == "bad":
            raise RuntimeError("no such output\nand more")
        return TokenDelta(request_id, (5,), (-1.0,))

    engine._read = read  # type: ignore[method-assign]
    assert engine.advance() == [
        TokenDelta("bad", finish="error", error="no such output"),
        TokenDelta("good", (5,), (-1.0,)),
    ]
    assert (list(engine._handles), handles["bad"].is_cancelled) == (["good"], True)


def test_a_generation_that_cannot_be_cancelled_ends_alone() -> None:
    class Pipe:
        sent: list[Any] = []  # noqa: RUF012 -- one test, one pipe

        def send(self, message: Any) -> None:
            self.sent.append(message)

    class Engine:
        def cancel(self, request_id: str) -> None:
            raise KeyError(request_id)

    worker = Worker(Pipe(), beats=None)  # type: ignore[arg-type]
    worker._engine = Engine()
    assert worker._handle(("cancel", "r"))
    assert Pipe.sent == [("deltas", [("r", (), (), "error", "'r'")])]
