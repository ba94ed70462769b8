"""Names follow the glossary (docs/glossary.md): no identifier and no file bears a retired word.

The retired words are everyday English that stood for many things at once. Where a name is truly about such a word, it
stands in `ALLOWED` with the reason.
"""

import re
import subprocess
import tokenize
from collections import defaultdict
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
INSTEAD = {
    "say what it is: message, verdict, status, logits": (
        "said says told tell tells word words speech voice news mended mend heard"
    ),
    "index, position or slot": "place places",
    "completion, answer, generation or rollout": "reply replies",
    "correction": "edit edits",
    "delta or chunk": "piece pieces",
    "backend": "foreign",
    "uncertainty or trust": "doubt honesty honest believed believe",
    "optimizer state, or statistics": "moments",
    "feedback, outcome, example": "judged judgement judgements judging",
    "optimizer": "optimiser optimisers",
}
RETIRED = {word: advice for advice, words in INSTEAD.items() for word in words.split()}


class Allowed(NamedTuple):
    """A name that may bear a retired word: in which files, and why."""

    files: str
    name: str
    reason: str


ALLOWED = (
    Allowed("pocket/skills/*.py", "*[wW]ord*", "skills of the bundled model that are about words: spelling, counting"),
    Allowed("pocket/skills/*.py", "*WORDS", "the words that such skills ask about"),
    Allowed("pocket/skills/refus*.py", "[pP][lL][aA][cC][eE]*", "places of the world that a question names"),
    Allowed("tests/pocket/test_skills.py", "words", "words of a sentence that a skill makes"),
    Allowed("*.py", "tie_word_embeddings", "a configuration key of transformers"),
    Allowed("*.py", "WordLevel", "a class of the package tokenizers"),
    Allowed("*.py", "WordPiece", "a model and a decoder of the package tokenizers"),
    Allowed("*.py", "single_word", "an attribute of added tokens in the package tokenizers"),
    Allowed("tests/cli/test_command.py", "COMP_WORDS", "a variable of bash's completion"),
    Allowed("tests/test_vocabulary.py", "*word*", "this file speaks of words"),
)


class Use(NamedTuple):
    file: str
    name: str


def parts(name: str) -> set[str]:
    """Return the words of a snake_case or camelCase name."""
    return set(re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).lower().replace("-", "_").split("_"))


def names_of_python(path: Path) -> set[str]:
    """Return the identifiers of a Python file."""
    with path.open("rb") as file:
        return {token.string for token in tokenize.tokenize(file.readline) if token.type == tokenize.NAME}


_NOT_JAVASCRIPT_NAMES = re.compile(
    r"""//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|(?<=[=(,:!&|?])\s*/(?:\\.|[^/\\\n])+/[a-z]*""",
    re.DOTALL,
)


def names_of_javascript(path: Path) -> set[str]:
    """Return the identifiers of a JavaScript file, those inside template literals included."""
    text = _NOT_JAVASCRIPT_NAMES.sub(" ", path.read_text(encoding="utf-8"))
    text = re.sub(r"`(?:\\.|[^`\\])*`", lambda found: " ".join(re.findall(r"\$\{([^}]*)\}", found.group())), text)
    return set(re.findall(r"[A-Za-z_$][\w$]*", text))


def tracked(*patterns: str) -> list[Path]:
    """Return the repository's files of these kinds; all on disk where there is no git."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *patterns],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    paths = [ROOT / name for name in listed.split("\0") if name]
    return [path for path in paths if path.exists() and "vendor" not in path.parts]


def uses_of_retired_words() -> dict[Use, set[str]]:
    """Return each name that bears a retired word, with those words."""
    found: dict[Use, set[str]] = defaultdict(set)
    for path in tracked("*.py", "*.js"):
        file = path.relative_to(ROOT).as_posix()
        names = names_of_python(path) if path.suffix == ".py" else names_of_javascript(path)
        for name in names:
            if hit := parts(name) & RETIRED.keys():
                found[Use(file, name)] |= hit
        if hit := parts(path.stem) & RETIRED.keys():
            found[Use(file, path.name)] |= hit
    return found


def is_allowed(use: Use, allowed: Allowed) -> bool:
    return fnmatch(use.file, allowed.files) and fnmatch(use.name, allowed.name)


def test_retired_words_name_nothing() -> None:
    wrong = [
        f"{use.file}: {use.name} ({word}: use {RETIRED[word]})"
        for use, words in sorted(uses_of_retired_words().items())
        for word in sorted(words)
        if not any(is_allowed(use, allowed) for allowed in ALLOWED)
    ]
    assert not wrong, "\n".join([*wrong, "rename them; docs/glossary.md has the terms"])


def test_every_exception_is_needed_and_gives_its_reason() -> None:
    uses = uses_of_retired_words()
    stale = [allowed for allowed in ALLOWED if not any(is_allowed(use, allowed) for use in uses)]
    assert not stale
    assert all(len(allowed.reason.split()) >= 3 for allowed in ALLOWED)


def test_a_retired_word_is_seen_wherever_it_names_something(tmp_path: Path) -> None:
    python, script = tmp_path / "a.py", tmp_path / "a.js"
    python.write_text('def sent_replies(wordCount: int) -> str:\n    return "he said"  # told\n')
    script.write_text('const turnPlace = `a ${lastReply} said`; // told\nconst text = "words";\n')
    assert {word for name in names_of_python(python) for word in parts(name) & RETIRED.keys()} == {"replies", "word"}
    assert {word for name in names_of_javascript(script) for word in parts(name) & RETIRED.keys()} == {"place", "reply"}
