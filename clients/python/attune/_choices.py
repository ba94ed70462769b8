"""What the service answers to a choice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from attune._types import Choice, read


def choice_of(told: Any, winner: str, comparison_id: str) -> Choice:
    """Return a choice with its models named, from `models` ({"A": name}) or from the candidates that are named now."""
    body = dict(told) if isinstance(told, Mapping) else {}
    models = body.get("models")
    if not isinstance(models, Mapping):
        models = {str(one.get("label")): str(one["model"]) for one in body.get("candidates") or () if one.get("model")}
    body["models"] = dict(models)
    choice = read(Choice, {"id": comparison_id, "winner": winner, **body})
    return choice if choice.comparison_id else replace(choice, comparison_id=comparison_id)
