"""The corpus: the same for a seed, with the stated share of flaws, and without held-out prompts."""

import itertools
import subprocess
import sys

from pocket.conversations import FLAWS, NEVER_FLAWED
from pocket.corpus import examples
from pocket.held_out_refusals import OUT_OF_SCOPE
from pocket.skills import SKILLS


def take(count, seed=0, **options):
    return list(itertools.islice(examples(seed, **options), count))


def test_same_seed_same_corpus():
    assert take(200) == take(200)
    assert take(200) != take(200, seed=1)
    assert take(200) != take(200, part=1)


def test_about_a_quarter_of_the_raw_answers_is_wrong_and_none_before():
    raw = [e for e in take(3000) if e.skill not in NEVER_FLAWED]
    assert abs(sum(not e.right for e in raw) / len(raw) - FLAWS) < 0.03
    assert all(e.right for e in take(300, stage="school"))
    assert all(e.right for e in take(300, stage="practice"))


def test_every_skill_and_language_is_in_it():
    assert {(e.skill, e.lang) for e in take(6000)} == {(s.name, lang) for s in SKILLS.values() for lang in s.languages}


def test_greetings_are_always_answered_by_one():
    assert all(e.right for e in take(3000) if e.skill == "greeting")


def test_the_person_or_a_function_comes_last_and_the_completion_is_not_empty():
    for e in take(500):
        assert e.messages[-1]["role"] == ("tool" if e.messages[-1]["role"] == "tool" else "user")
        assert e.completion.strip()
        assert all(e.messages[index]["role"] == "assistant" for index in e.learned)


def test_conversations_are_of_one_to_a_dozen_questions():
    questions = [sum(m["role"] == "user" for m in e.messages) for e in take(3000)]
    assert sum(n == 1 for n in questions) > 600
    assert sum(3 <= n <= 6 for n in questions) > 500
    assert sum(n >= 10 for n in questions) > 50


def test_out_of_scope_list_is_sixty_prompts_that_training_never_sees():
    assert len(set(OUT_OF_SCOPE)) == 60
    asked = {m["content"].lower().rstrip(".?。？") for e in take(8000) if e.skill == "refusing" for m in e.messages}
    assert not asked & {text.lower().rstrip(".?。？") for text in OUT_OF_SCOPE}


def test_skills_and_weights_folder_need_no_torch():
    code = (
        "import sys, pocket, pocket.skills, pocket.corpus, pocket.commands; "
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
