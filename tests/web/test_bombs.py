"""Texts that would freeze the page: beyond the bounds they are plain text, and the page goes on."""

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.web.fake_service import Fake
from tests.web.visitor import Visitor

pytestmark = pytest.mark.browser
SIZE = 50_000


def filled(unit: str, size: int = SIZE) -> str:
    return (unit * (size // len(unit) + 1))[:size]


def nested(line: str, indent: str, count: int) -> str:
    return "\n".join(indent * level + line for level in range(count))


# Each took marked or the browser from half a second to minutes. Those that are no longer than an answer may be pass
# the bound on length, so that the other bounds are met.
BOMBS = {
    "1,600 nested list items": nested("- a", "  ", 1600),
    "nested numbers": nested("1. a", "   ", 180),
    "99,000 spaces": "a" + " " * 99_000 + "b",
    "spaces before a letter": "a" + " " * (SIZE - 2) + "b",
    "spaces after a heading": "# a" + " " * (SIZE - 4) + "b",
    "6,000 quotes": ">" * 6000,
    "quotes of lists": filled("> - "),
    "lists on a line": filled("1. "),
    "emphasis inside a word": filled("a_"),
    "emphasis that never ends": filled("*a"),
    "strong that never ends": filled("**a"),
    "emphasis in emphasis": filled("*a ", SIZE // 2) + filled("a*", SIZE // 2),
    "brackets": filled("[a]"),
    "links in links": filled("[![a](b)](c)"),
    "links to nothing": filled("[a]("),
    "an address that never ends": filled("a.") + "@",
    "lines that belong to a list item": "- a\n" + filled("a\n"),
    "a table of a million cells": "|" + "a|" * 1000 + "\n|" + "-|" * 1000 + "\n" + "|x\n" * 1000,
    "HTML in HTML": filled("<b><i><p>"),
    "a million characters": filled("hello ", 1_000_000),
    "a million characters without a space": "x" * 1_000_000,
}
# Within the bounds, and as good as any other text.
MARKUP = {
    "five lists in each other": nested("- a", "  ", 5),
    "a long answer": "\n\n".join(
        f"## Part {n}\n\nSome *text* with `code`, [a link](https://a.b) and:\n\n- one\n- two" for n in range(120)
    ),
    "a wide table": "|" + "a|" * 12 + "\n|" + "-|" * 12 + "\n" + ("|" + "x|" * 12 + "\n") * 200,
    "code with long lines": "```\n" + "\n".join("x" * 400 + " " * 100 for _ in range(40)) + "\n```",
    "a rule of a thousand dashes": "-" * 1000 + "\n\n**b**",
    "text without spaces": "**" + "这是一段没有空格的文字。" * 1000 + "**",
    "a task list": "- [ ] a *b*\n" * 150,
}
RENDER = """async (texts) => {
  const { renderMarkdown } = await import('/static/markdown.js');
  const found = {};
  window.found = null;
  for (const [name, text] of Object.entries(texts)) {
    const node = document.createElement('div');
    node.className = 'prose';
    document.querySelector('main').append(node);
    renderMarkdown(node, text);
    node.offsetHeight; // lays it out
    let deepest = 0;
    for (const leaf of node.querySelectorAll('*')) {
      let depth = 0;
      for (let at = leaf; at !== node; at = at.parentElement) depth += 1;
      deepest = Math.max(deepest, depth);
    }
    const [plain, note] = ['.plain', '.soft'].map((one) => node.querySelector(one)?.textContent ?? null);
    found[name] = { plain, note, deepest, count: node.querySelectorAll('*').length };
    node.remove();
  }
  window.found = found;
}"""


def rendered(page: Page, texts: dict[str, str]) -> dict[str, Any]:
    """Return how the page shows each text. A page that is busy for a minute fails."""
    page.evaluate(f"(texts) => {{ setTimeout(() => ({RENDER})(texts)); }}", texts)
    page.wait_for_function("window.found", timeout=60_000)
    found: dict[str, Any] = page.evaluate("window.found")
    return found


def test_bombs_are_plain_text(visitor: Visitor) -> None:
    found = rendered(visitor.go(), BOMBS)
    assert {name for name in BOMBS if found[name]["plain"] is None} == set()
    for name, text in BOMBS.items():
        assert found[name]["plain"] == text[:200_000], name
        assert found[name]["count"] == 2, name
    assert found["6,000 quotes"]["note"] == "This text is too long or too nested to be formatted."
    assert "800000 more characters" in found["a million characters"]["note"].replace(",", "")


def test_usual_texts_keep_their_markup(visitor: Visitor) -> None:
    found = rendered(visitor.go(), MARKUP)
    assert {name for name in MARKUP if found[name]["plain"] is not None} == set()
    assert all(one["count"] < 10_000 and one["deepest"] < 40 for one in found.values())
    assert found["five lists in each other"]["deepest"] == 10


def test_a_pile_of_marks_on_a_letter_is_cut(visitor: Visitor) -> None:
    """The browser takes nine seconds to draw one of 50,000, wherever it stands."""
    found = rendered(visitor.go(), {"pile": "a" + "\u0301" * SIZE, "two": "**a" + "\u0301\u0302" * (SIZE // 2) + "**"})
    assert found["pile"]["plain"] is None
    visitor.ask("e" + "\u0301" * 3000)
    assert len(visitor.page.locator(".bubble").inner_text()) == 33


@pytest.mark.parametrize("name", ["6,000 quotes", pytest.param("1,600 nested list items", marks=pytest.mark.fire)])
def test_a_conversation_with_a_bomb_opens(name: str, visitor: Visitor, fake: Fake) -> None:
    visitor.go()
    visitor.ask("Hello!")
    (completion,) = fake.completions.values()
    completion["content"] = BOMBS[name]
    page = visitor.page
    page.evaluate("localStorage.clear()")  # so that it comes from the service
    page.goto("about:blank")
    visitor.go(f"#/chat/{completion['conversation_id']}")
    expect(page.locator(".answer .plain")).to_contain_text(BOMBS[name][:40].strip(), timeout=60_000)
    expect(page.locator(".bubble")).to_have_text("Hello!")


@pytest.mark.fire
def test_a_correction_that_is_a_bomb_is_shown_and_the_chat_goes_on(visitor: Visitor, fake: Fake) -> None:
    page = visitor.go()
    visitor.ask("Hello!")
    page.get_by_role("button", name="Correct").click()
    page.locator(".answer textarea").fill(BOMBS["6,000 quotes"])
    page.keyboard.press("Control+Enter")
    expect(page.locator(".answer .plain")).to_contain_text(">>>>")
    page.reload()  # now it comes from the browser's copy
    expect(page.locator(".answer .plain")).to_contain_text(">>>>")
    visitor.ask("Who are you?")
