"""The data of the fake service: answers, versions with their reports, and samples, the same each time."""

import math
from datetime import UTC, datetime, timedelta
from typing import Any

CODE = """Here is a small function, and how to call it:

```python
def greet(name: str) -> str:
    \"\"\"Return a friendly greeting.\"\"\"
    return f"Hello, {name}!"

print(greet("Ada"))  # Hello, Ada!
```

It takes a *name* and returns the greeting as text."""
ANSWERS: dict[str, tuple[str, str]] = {
    "What is the capital of Japan?": (
        "The capital of Japan is **Tokyo**.",
        "Well, let me think about that for you! Japan is a country with many cities, "
        "and the capital city among them is Tokyo, as many people know.",
    ),
    "Sort these: pear, apple, fig.": ("Sorted alphabetically:\n\n1. apple\n2. fig\n3. pear", "apple, fig, pear"),
    "Tell me a joke.": (
        "Why did the scarecrow win a prize? Because he was *outstanding* in his field.",
        "I asked the librarian for a book on paranoia. She whispered: it is right behind you.",
    ),
    "How many days are in a week?": (
        "Seven.",
        "There are seven days in a week: Monday, Tuesday, Wednesday, Thursday, Friday, Saturday and Sunday.",
    ),
    "Show me how to greet someone in Python.": (
        CODE,
        '```python\nprint("Hello!")\n```',
    ),
    "Name three animals.": (
        "A fox, an owl and a hedgehog.",
        "Of course! Cat, dog, and also many others such as the horse.",
    ),
    "Compare tea and coffee.": (
        "| | Tea | Coffee |\n| --- | --- | --- |\n| Caffeine | 30 mg | 95 mg |\n| Brewing | 3 min | 4 min |\n\n"
        "Both are good company.",
        "Coffee is stronger, tea is gentler.",
    ),
    "日本的首都是哪里？": ("日本的首都是**东京**。", "这个问题很好！日本有许多城市，其中首都是东京。"),
    "你是谁？": ("我是 Attune，一个会从你的反馈中学习的小助手。", "我是一个助手。"),
    "attack": (
        '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'
        "[link](javascript:window.hacked=1) ![pixel](http://example.invalid/p.png) **safe**",
        "safe",
    ),
    "long": (
        "\n\n".join(
            f"Paragraph {n}: it goes on for quite a while, so that there is time to press stop." for n in range(40)
        ),
        "short",
    ),
}


def answer(question: str, side: int = 0) -> str:
    """Return the scripted answer; `side` 1 is the second one."""
    known = ANSWERS.get(question) or (f"You said: {question}", f"I heard: {question}")
    return known[side]


def version(
    number: int,
    parent: int | None,
    state: str,
    *,
    items: int = 0,
    created_at: str = "",
    live_at: str | None = None,
    **more: Any,
) -> dict[str, Any]:
    """Return a version's row with report, run and manifest, as GET /v1/versions/{n} shows it."""
    accuracy, kl = 0.52 + 0.32 * (1 - math.exp(-number / 3)), 0.03 + 0.012 * number
    metrics = (
        {
            "loss": 0.69 * math.exp(-number / 6),
            "guard/kl": kl,
            "held_out/accuracy": accuracy,
            "seconds": 9.4 + number % 3,
        }
        if number
        else {}
    )
    checks = [
        {"name": "weights_finite", "value": 1.0, "limit": ">= 1", "passed": True},
        {"name": "kl_to_live", "value": 0.9 + number * 0.07, "limit": "<= 4", "passed": True},
        {"name": "kl_to_base", "value": kl * 20, "limit": "<= 10", "passed": True},
        {"name": "retention_kl", "value": 0.011, "limit": "<= 0.25", "passed": True},
        {"name": "length_ratio", "value": 0.92, "limit": "0.2 .. 5", "passed": True},
        {"name": "held_out_gain", "value": 0.31, "limit": ">= 0", "passed": True},
    ]
    run = {
        "id": f"run-{number}",
        "algorithm": "mixed",
        "state": "finished",
        "seed": 17 + number,
        "items": items,
        "parent": parent,
        "settings": {"beta": 0.1, "steps": 24, "lr": 0.0002},
        "metrics": metrics,
        "started_at": created_at,
        "finished_at": created_at,
    }
    return {
        "version": number,
        "state": state,
        "parent": parent,
        "digest": f"{number:02x}8c1f5e7a904b" * 5,
        "created_at": created_at,
        "live_at": live_at,
        "retired_at": None,
        "items": items,
        "algorithm": "mixed" if number else "base",
        "passed": True,
        "loaded": state == "live",
        "serving": state == "live",
        "share": 1.0 if state == "live" else 0.0,
        "answers": 0,
        "thumbs": {"up": 0, "down": 0},
        "comparisons": {"wins": 0, "losses": 0, "ties": 0},
        "win_rate": None,
        "win_rate_interval": None,
        "metrics": metrics,
        "gate": {"passed": True, "checks": checks, "reasons": []} if number else None,
        "run": run if number else None,
        "manifest": {"base_model": "pocket", "kind": "adapter" if number else "base"},
        **more,
    }


def rejected(number: int) -> dict[str, Any]:
    """Return the fields of a rejected version that differ."""
    checks = [
        {"name": "weights_finite", "value": 1.0, "limit": ">= 1", "passed": True},
        {"name": "kl_to_live", "value": 5.31, "limit": "<= 4", "passed": False},
        {"name": "length_ratio", "value": 1.12, "limit": "0.2 .. 5", "passed": True},
        {"name": "held_out_gain", "value": -0.12, "limit": ">= 0", "passed": False},
    ]
    reasons = ["kl_to_live is 5.31, wanted <= 4", "held_out_gain is -0.12, wanted >= 0"]
    return {
        "state": "rejected",
        "passed": False,
        "live_at": None,
        "gate": {"passed": False, "checks": checks, "reasons": reasons},
    }


def samples(number: int, other: int) -> list[dict[str, Any]]:
    """Return the same questions answered by two versions."""
    asked = [
        "What is the capital of Japan?",
        "How many days are in a week?",
        "Sort these: pear, apple, fig.",
        "Tell me a joke.",
    ]
    newer, older = (0, 1) if number > other else (1, 0)
    rows = [
        {"messages": [{"role": "user", "content": text}], "text": answer(text, newer), "against": answer(text, older)}
        for text in asked
    ]
    rows[3]["against"] = rows[3]["text"]
    return rows


def feedback_of(items: int) -> list[dict[str, Any]]:
    """Return the feedback behind a version: choices, thumbs, corrections and preferences."""
    kinds = ["choice", "choice", "thumb", "choice", "correction", "thumb", "choice", "preference"]
    return [{"id": f"fb-{index}", "kind": kinds[index % len(kinds)], "created_at": ""} for index in range(items)]


def last_run(versions: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the newest run as GET /v1/learner shows it."""
    newest = versions[-1]
    if newest["run"] is None:
        return None
    return {**newest["run"], "version": newest["version"], "error": ""}


def _ago(minutes: float) -> str:
    return (datetime.now(UTC) - timedelta(minutes=minutes)).isoformat()


def lived_in(fake: Any) -> Any:
    """Fill a fake with a week's data: seven versions (one rejected, one withdrawn), feedback and conversations."""
    fake.versions.clear()
    plan = [
        (0, None, "retired"),
        (1, 0, "retired"),
        (2, 1, "retired"),
        (3, 2, "rejected"),
        (4, 2, "withdrawn"),
        (5, 2, "retired"),
        (6, 5, "live"),
    ]
    for number, parent, state in plan:
        minutes = (7 - number) * 47 - 40
        row = version(
            number,
            parent,
            state,
            items=0 if number == 0 else 16 + (number * 5) % 9,
            created_at=_ago(minutes),
            live_at=_ago(minutes - 1),
        )
        if state == "rejected":
            row.update(rejected(number))
        else:
            wins, losses, ties = [(3, 14, 2), (9, 10, 3), (14, 9, 4), (0, 0, 0), (5, 9, 1), (17, 7, 5), (11, 3, 2)][
                number
            ]
            total = wins + losses + ties
            rate = (wins + ties / 2) / total
            half = 1.96 * math.sqrt(rate * (1 - rate) / total)
            row.update(
                comparisons={"wins": wins, "losses": losses, "ties": ties},
                win_rate=rate,
                win_rate_interval=[max(0.0, rate - half), min(1.0, rate + half)],
                answers=60 + number * 37,
                thumbs={"up": 6 + number * 4, "down": max(1, 9 - number)},
            )
        fake.versions.append(row)
    kinds = ["choice", "thumb", "choice", "correction", "choice", "thumb", "preference"]
    for index in range(150):
        minutes = 300 - 300 * (index / 150) ** 0.7 + (index % 7)
        fake.feedback.append(
            {
                "id": f"fb-old-{index}",
                "kind": kinds[index % 7],
                "completion_id": "",
                "created_at": _ago(minutes),
                "thumb": "up",
            }
        )
    titles = [
        "What is the capital of Japan?",
        "Sort these: pear, apple, fig.",
        "Compare tea and coffee.",
        "Show me how to greet someone in Python.",
        "日本的首都是哪里？",
        "Tell me a joke.",
        "How many days are in a week?",
    ]
    for index, title in enumerate(titles):
        number = f"conv-old-{index}"
        when = _ago(index * 500 + 30)
        fake.conversations[number] = {"id": number, "title": title, "created_at": when, "updated_at": when}
        fake.completions[f"old-{index}"] = {
            "id": f"old-{index}",
            "choice": 0,
            "kind": "chat",
            "model": "attune@6",
            "messages": [{"role": "user", "content": title}],
            "content": answer(title),
            "finish_reason": "stop",
            "created_at": when,
            "conversation_id": number,
        }
    fake.waiting = 5
    return fake
