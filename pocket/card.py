"""The model card, from a training record and the numbers of `pocket.report`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pocket.chats import tables as chat_tables
from pocket.conversations import MAX_TURNS
from pocket.evaluate import Row, overall, table
from pocket.model_folder import num_parameters, weights_digest

CARD = """---
license: apache-2.0
language: [en, zh]
pipeline_tag: text-generation
library_name: transformers
---
# {name}

A {parameters:.1f} M parameter Llama-shaped chat model that comes with Attune, so that `attune serve` works offline in \
seconds. It is a
ground to learn on and to measure learning with, not an assistant for real work: `attune serve --model NAME` serves \
any other causal
language model of the Hugging Face hub or a folder.

## Data
No text was downloaded or copied. The generators in `pocket/skills/` wrote every conversation from seed {seed}: \
{skills} skills, {chinese} of them
also in Chinese. The first {school:.0%} of the steps are school (right and plain answers), the next {practice:.0%} \
practice (the same, most of
it from the skills that are slow to learn); the rest is the raw mixture, in which {flaws:.0%} of the answers are \
wrong, and of the right
ones some are rambling, curt, rude, over-decorated or badly formatted. The model is raw on purpose: it knows more than \
it says when
it is sampled, and people's feedback has something to improve.

## Training
`python -m pocket.train --size {size} --out FOLDER --seed {seed}{steps_option}`: {steps} steps of about {tokens} \
tokens (padding included),
{seconds} seconds on {device} of a machine that did other work too, torch {torch}. {layers} layers, width {hidden}, \
{heads} heads,
vocabulary {vocabulary}, context {context}. Muon for the matrices, AdamW for the rest, loss on the answers \
alone. The weights are stored in float16.

sha256 of `model.safetensors`: `{digest}`

## What it can do
On held-out phrasings, and on operands that training never saw in that language where a skill has operands ({per_cell} \
prompts for each row;
temperature 1 for `sampled` and the columns right of it; `characters` is the mean length and `spread` its standard \
deviation):

{table}

Facts (capitals, opposites, definitions and so on) can only be known from training: for those only the phrasing is \
held out.
Of 60 out-of-scope prompts, none of which training saw, the greedy model answers {out_of_scope:.0%} with an honest no \
that names
`attune serve --model NAME`.

Below 90 % greedy: {weak}.

## Conversations and calls
Right answers after a number of earlier turns (its own answers), follow-ups (greedy), and questions with a calculator \
and a unit converter on offer
(greedy). The questions have held-out wordings (`python -m pocket.chats`):

{chats}

## What it cannot do
- Anything outside the skills above: no knowledge of the world, no reasoning, no writing, no code, no translation of \
sentences. It is meant to say
  so, but it does not always: an unknown word inside a known question often gets a confident wrong answer.
- Numbers: sums with numbers up to 20, products up to 9 times 9, conversions of 1 to 9 units.
- Spelling, reversing and counting letters of words outside its list of about 120.
- Conversations of more than {turns} questions or {context} tokens: it was trained on none.
- Sampled at temperature 1 it is wrong about {wrong:.0%} of the time, and sometimes rude. That is what it is for.
"""


def card(folder: Path, numbers: dict[str, Any]) -> str:
    """Return the text of the card from the numbers of `pocket.report.measure`."""
    from pocket.corpus import FLAWS
    from pocket.skills import SKILLS
    from pocket.train import PLANS

    record, config = (json.loads((folder / name).read_text()) for name in ("training.json", "config.json"))
    plan, rows = record["plan"], [Row(**row) for row in numbers["rows"]]
    default = PLANS[plan["size"]].steps
    return CARD.format(
        name=folder.name,
        parameters=num_parameters(folder) / 1e6,
        seed=plan["seed"],
        skills=len(SKILLS),
        school=plan["school"],
        practice=plan["practice"] - plan["school"],
        flaws=FLAWS,
        size=plan["size"],
        chinese=sum("zh" in s.languages for s in SKILLS.values()),
        steps_option="" if plan["steps"] == default else f" --steps {plan['steps']}",
        steps=record["steps"],
        tokens=plan["tokens"],
        seconds=record["seconds"],
        device=f"{record['threads']} CPU thread{'s' if record['threads'] > 1 else ''}"
        if record["device"] == "cpu"
        else record["device"],
        torch=record["torch"],
        layers=plan["layers"],
        hidden=plan["hidden"],
        heads=plan["heads"],
        vocabulary=config["vocab_size"],
        digest=weights_digest(folder),
        per_cell=rows[0].prompts,
        table=table(rows),
        out_of_scope=numbers["out_of_scope"],
        context=config["max_position_embeddings"],
        chats=chat_tables(numbers["chats"]),
        turns=MAX_TURNS,
        wrong=1 - overall(rows, "sampled"),
        weak=", ".join(f"{r.skill} {r.lang} {r.greedy:.0%}" for r in rows if r.greedy < 0.9) or "none",
    )
