"""The README and docs/ hold: names exist, links lead somewhere, examples run, sentences are short."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import attune
from attune.cli.conversation import HELP
from config.fields import fields_of, groups_of
from config.names import Names
from learner.settings import NAMES as LEARNER
from service.settings import NAMES as SERVICE
from tests.served import Served, serve

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PROSE = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
MEAN_LIMIT = 20  # on average, in a sentence of a page
BIN = Path(sys.executable).parent
README_URL = "http://127.0.0.1:8000"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("docs") / "data") as running:
        yield running


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.M | re.S)


def test_every_route_named_exists(served: Served) -> None:
    known = {
        (method.upper(), re.sub(r"{[^}]*}", "{}", path))
        for path, methods in httpx.get(served.url + "/openapi.json").json()["paths"].items()
        for method in methods
    }
    named = {
        (method, re.sub(r"{[^}]*}", "{}", path.split("?")[0]), page.name)
        for page in PAGES
        for method, path in re.findall(r"`(GET|POST|DELETE|PUT|PATCH) (/[^`\s]*)`", page.read_text())
    }
    assert len(named) > 10
    assert not [f"{page}: {method} {path}" for method, path, page in sorted(named) if (method, path) not in known]


def test_every_command_named_exists() -> None:
    top = subprocess.run([BIN / "attune", "--help"], capture_output=True, text=True, check=True).stdout
    commands = {
        match for page in PAGES for match in re.findall(r"(?:^|`)attune ([a-z][a-z-]*)", page.read_text(), re.M)
    }
    assert len(commands) > 5
    assert not [command for command in sorted(commands) if not re.search(rf"\b{command}\b", top)]


def test_every_make_target_named_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = {match for page in PAGES for match in re.findall(r"(?:^|`)make ([a-z][a-z-]*)", page.read_text(), re.M)}
    assert targets >= {"run", "test"}
    assert not [target for target in targets if not re.search(rf"^{target}:", makefile, re.M)]


def test_every_link_leads_somewhere() -> None:
    broken = [
        f"{page.relative_to(ROOT)}: {link}"
        for page in PROSE
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
        if not (page.parent / link).exists()
    ]
    assert not broken, "\n".join(broken)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and mkdocs make them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading.lower()).strip()) for heading in headings}


def test_every_anchor_leads_to_a_heading() -> None:
    broken = [
        f"{page.relative_to(ROOT)}: {link}#{anchor}"
        for page in PROSE
        for link, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", page.read_text())
        if anchor not in anchors(page.parent / link if link else page)
    ]
    assert not broken, "\n".join(broken)


def test_the_site_s_menu_has_every_page() -> None:
    listed = re.findall(r"^ +- [^:]+: (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.M)
    pages = [str(page.relative_to(ROOT / "docs")) for page in PAGES[1:]]
    assert sorted(listed) == sorted(pages)


def sentences(markdown: str) -> list[list[str]]:
    """Return the words of each sentence of a page, without code blocks, tables, headings and pictures."""
    text = re.sub(r"^ *```.*?^ *```", "\n\n", markdown, flags=re.M | re.S)
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", text)
    text = re.sub(r"^(?: *\||#|:::|    options:|      \w+: ).*$", "\n", text, flags=re.M)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"`[^`]*`", "code", text)
    blocks = re.split(r"\n\s*\n|^\s*(?:[-*]|\d+\.)\s", text, flags=re.M)
    ends = re.compile(r"(?<=[.!?])[*)\"]*\s+(?=[A-Z\d*\"(]|code)")
    found = [re.findall(r"\S*\w\S*", part) for block in blocks for part in ends.split(block.strip())]
    return [some for some in found if some]


def test_what_a_sentence_is() -> None:
    page = "# A title\n\nOne `a b c` two. Three\nfour [five](six.md)!\n\n- seven\n- eight\n\n"
    page += "| a | b |\n\n```bash\nnine\n```\n"
    assert sentences(page) == [["One", "code", "two."], ["Three", "four", "five!"], ["seven"], ["eight"]]


@pytest.mark.parametrize("page", PROSE, ids=lambda page: page.name)
def test_sentences_are_short(page: Path) -> None:
    lengths = [len(sentence) for sentence in sentences(page.read_text())]
    average = sum(lengths) / len(lengths)
    assert average <= MEAN_LIMIT, f"{page.name}: {average:.1f} words per sentence; split the long ones"


def old_names(names: Names) -> set[str]:
    """Return the names that settings do not have any more, neither as a path nor inside a group."""
    paths = {path for path, _ in fields_of(names.kind)}
    today = paths | groups_of(names.kind).keys() | {path.rpartition(".")[2] for path in paths}
    return names.renamed.keys() - today


def test_no_page_names_a_setting_by_its_old_name() -> None:
    old = old_names(LEARNER) | old_names(SERVICE)
    assert len(old) > 50
    skipped = ("benchmarks.md", "CHANGELOG.md")  # what was measured has the names of its commit
    found = [
        f"{page.name}: {name}"
        for page in PROSE
        if page.name not in skipped
        for name in re.findall(
            r"(?<![\w.-])(?:--)?([a-z][a-z_-]+)(?![\w(-])", " ".join(re.findall(r"`[^`]*`", page.read_text()))
        )
        if name.replace("-", "_") in old
    ]
    assert not found, "\n".join(found)


def test_links_in_docs_stay_in_docs() -> None:
    """The site is built of that folder alone, and `make docs` fails on a link out of it."""
    out = [
        f"{page.relative_to(ROOT)}: {link}"
        for page in PAGES[1:]
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
        if not (page.parent / link).resolve().is_relative_to(ROOT / "docs")
    ]
    assert not out, "\n".join(out)


@pytest.mark.parametrize(
    "code", [code for page in PAGES for code in blocks(page, "python")], ids=lambda code: code.split("\n")[0]
)
def test_python_in_the_pages_runs(code: str, served: Served) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", code.replace(README_URL, served.url)], capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip()


def test_the_readme_s_curl_runs(served: Served) -> None:
    chat, feedback = (code for code in blocks(ROOT / "README.md", "bash") if code.startswith("curl"))
    answered = subprocess.run(
        ["bash", "-c", chat.replace(README_URL, served.url)], capture_output=True, text=True, timeout=60
    )
    answer = httpx.Response(200, content=answered.stdout).json()
    assert answer["choices"][0]["message"]["content"]
    named = f"ID={shlex.quote(answer['id'])}\n" + feedback.replace(README_URL, served.url)
    kept = subprocess.run(["bash", "-c", named], capture_output=True, text=True, timeout=60)
    assert httpx.Response(201, content=kept.stdout).json()["completion_id"] == answer["id"]


def runs_alone(code: str) -> bool:
    """Whether a curl example needs nothing that the reader has to fill in, and ends by itself."""
    return code.startswith("curl") and not re.search(r"\$ID|at-\.\.\.|@\w+\.json|-sN", code)


@pytest.mark.parametrize(
    "code", [code for page in PAGES for code in blocks(page, "bash") if runs_alone(code)], ids=lambda code: code[30:75]
)
def test_curl_in_the_pages_runs(code: str, served: Served) -> None:
    answered = subprocess.run(
        ["bash", "-c", code.replace(README_URL, served.url)], capture_output=True, text=True, timeout=120, check=True
    )
    body = httpx.Response(200, content=answered.stdout).json()
    assert body
    assert "error" not in body


def test_the_sdk_page_has_every_public_name() -> None:
    listed = re.findall(r"^::: attune\.(\w+)", (ROOT / "docs" / "sdk.md").read_text(), re.M)
    assert sorted(listed) == sorted(name for name in attune.__all__ if not name.startswith("__"))


def test_the_terminal_page_has_every_command_of_the_shell_and_of_a_conversation() -> None:
    text = (ROOT / "docs" / "terminal.md").read_text()
    top = subprocess.run(
        [BIN / "attune", "--help"], capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "200"}
    ).stdout
    commands = re.findall(r"^[│|] ([a-z][a-z-]+) ", top, re.M)
    assert len(commands) > 15
    assert not [command for command in commands if f"`attune {command}" not in text]
    assert not [command for command in re.findall(r"(/[a-z]+)", HELP) if command not in text]


def test_the_readme_s_simulation_runs(served: Served, tmp_path: Path) -> None:
    (command,) = (code for code in blocks(ROOT / "README.md", "bash") if code.startswith("attune simulate"))
    arguments = shlex.split(
        command.replace(README_URL, served.url).replace("--rounds 48", "--rounds 2 --prompts 8 --samples 1")
    )
    ran = subprocess.run(
        [BIN / arguments[0], *arguments[1:]], capture_output=True, text=True, timeout=1200, cwd=tmp_path
    )
    assert ran.returncode == 0, ran.stderr
    assert "version" in ran.stdout.lower()


@pytest.mark.parametrize("name", ["settings", "benchmarks"])
def test_a_written_page_is_what_its_script_writes(name: str) -> None:
    code = f"from docs.{name}_page import PAGE, page; assert PAGE.read_text() == page()"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False)
    assert ran.returncode == 0, f"docs/{name}.md is old: run `python docs/{name}_page.py`"


@pytest.mark.parametrize(
    ("command", "texts"),
    [
        (["train"], ["TOML file with a [learner] table."]),
        (["serve"], ["[default: 127.0.0.1]", "[default: 8000]", "[default: ~/.attune]", "[default: pocket]"]),
        (["keys", "create"], ["[default: chat feedback]"]),
        (["export-model"], ["[default: ~/.attune]"]),
    ],
)
def test_what_stands_in_brackets_in_a_help_text_is_shown(command: list[str], texts: list[str]) -> None:
    shown = subprocess.run(
        [BIN / "attune", *command, "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "200"},
    )
    assert [text for text in texts if text not in shown.stdout] == []
    assert "\\[" not in shown.stdout
