"""Every public name has a docstring with an example that runs, with top-level await for async ones."""

import ast
import asyncio
import contextlib
import doctest
import inspect
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import attune
from tests.sdk.fake_service import FakeService

NOT_OURS = {"add_note", "with_traceback"}


def public_names() -> Iterator[tuple[str, Any]]:
    """Yield every exported name, and the public methods and properties of classes, each with its object."""
    yield "attune", attune
    for name in attune.__all__:
        thing = getattr(attune, name)
        if name.startswith("__"):
            continue
        yield f"attune.{name}", thing
        if inspect.isclass(thing):
            for member in dir(thing):
                known = inspect.getattr_static(thing, member)
                is_ours = (
                    str(getattr(getattr(known, "fget", known), "__module__", "")).startswith("attune")
                    and member not in NOT_OURS
                )
                if not member.startswith("_") and is_ours and callable(getattr(known, "fget", None) or known):
                    yield f"attune.{name}.{member}", known


NAMES = dict(public_names())


@pytest.mark.parametrize("name", NAMES)
def test_the_example_of_a_public_name_runs(
    name: str, fake: FakeService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = inspect.getdoc(NAMES[name]) or ""
    examples = doctest.DocTestParser().get_examples(text)
    assert examples, f"{name} has no docstring with an example"
    loop = asyncio.new_event_loop()
    is_async = any("await " in example.source or "async " in example.source for example in examples)
    client: Any = (attune.AsyncClient if is_async else attune.Client)()
    known = {"attune": attune, "client": client}
    try:
        for example in examples:
            output = run(example.source, known, loop)
            assert doctest.OutputChecker().check_output(example.want, output, doctest.ELLIPSIS), (
                f"{example.source}gave {output!r}, not {example.want!r}"
            )
    finally:
        closed = client.close()
        if is_async:
            loop.run_until_complete(closed)
        loop.close()


def run(source: str, known: dict[str, Any], loop: asyncio.AbstractEventLoop) -> str:
    """Run one example; return its output, as a prompt would show it."""
    code = compile(source, "<example>", "single", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    with contextlib.redirect_stdout(io.StringIO()) as out:
        coroutine = eval(code, known)
        if inspect.iscoroutine(coroutine):
            loop.run_until_complete(coroutine)
    return out.getvalue()


def test_all_is_complete_and_sorted() -> None:
    assert attune.__all__ == sorted(attune.__all__)
    assert all(
        getattr(attune, name).__module__ == "attune"
        for name in attune.__all__
        if inspect.isclass(getattr(attune, name))
    )
