"""A system prompt and a template's arguments: what was in force is kept with the answer."""

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from learner import settings as learner
from policy.errors import InvalidChat
from service.errors import CannotStart
from service.learner_child import check_learner, learner_command
from service.settings import load_settings
from store.completions import get_completion
from tests.service.parrot import ParrotEncoder, ParrotModel
from tests.service.running import Running, running, serve_settings

SYSTEM = {"role": "system", "content": "Answer in one sentence."}


@dataclass
class TemplateModel(ParrotModel):
    """A parrot that remembers the arguments of its template, and refuses two user messages in a row."""

    arguments: list[Mapping[str, Any]] = field(default_factory=list)

    def prompt_encoder(
        self, is_interrupted: Callable[[], bool], arguments: Mapping[str, Any] | None = None
    ) -> ParrotEncoder:
        self.arguments.append(arguments or {})
        return super().prompt_encoder(is_interrupted)

    def prompt_ids(self, messages: Sequence[dict[str, Any]]) -> list[int]:
        roles = [message["role"] for message in messages]
        if ("user", "user") in itertools.pairwise(roles):
            raise InvalidChat("this model's chat template refuses messages in the order: user, user")
        return super().prompt_ids(messages)


def kept(served: Running, answer: dict[str, Any]) -> Any:
    """Return the completion that was stored for an answer."""
    with served.db() as db:
        return get_completion(db, answer["id"])


def test_a_conversation_without_a_system_message_gets_the_operators(tmp_path: Path) -> None:
    with running(tmp_path, system_prompt=SYSTEM["content"]) as served:
        first = kept(served, served.chat("Hello!"))
        assert first.messages == [SYSTEM, {"role": "user", "content": "Hello!"}]
        assert first.prompt_ids == served.model.prompt_ids(first.messages)
        for role in ("system", "developer"):
            own = [{"role": role, "content": "Mine."}, {"role": "user", "content": "Hello!"}]
            answer = served.http.post("/v1/chat/completions", json={"model": "attune", "messages": own}).json()
            assert [message["content"] for message in kept(served, answer).messages] == ["Mine.", "Hello!"]
        ask = {"messages": [{"role": "user", "content": "Hello!"}]}
        side = served.http.post("/v1/comparisons", json=ask).json()["candidates"][0]
        assert kept(served, {"id": side["completion_id"]}).messages[0] == SYSTEM


def test_arguments_of_the_template_are_passed_on_and_kept(tmp_path: Path) -> None:
    model = TemplateModel()
    with running(tmp_path, model) as served:
        answer = served.chat("Hello!", chat_template_kwargs={"enable_thinking": True})
        assert kept(served, answer).settings["chat_template_kwargs"] == {"enable_thinking": True}
        assert model.arguments[-1] == {"enable_thinking": True}
        assert "chat_template_kwargs" not in kept(served, served.chat("Hello!")).settings
        ask = {"messages": [{"role": "user", "content": "Hi"}], "chat_template_kwargs": {"style": "dry"}}
        assert served.http.post("/v1/comparisons", json=ask).status_code == 201
        assert model.arguments[-1] == {"style": "dry"}


@pytest.mark.parametrize(
    "wrong",
    [{"messages": []}, {"chat_template": "x"}, {"tools": []}, {"a b": 1}, {f"a{n}": n for n in range(17)}, [], "x", 3],
)
def test_arguments_that_callers_may_not_give_are_refused_by_name(wrong: Any, tmp_path: Path) -> None:
    with running(tmp_path) as served:
        body = {"model": "attune", "messages": [SYSTEM], "chat_template_kwargs": wrong}
        answer = served.http.post("/v1/chat/completions", json=body)
        assert answer.status_code == 400
        assert answer.json()["error"]["param"].startswith("chat_template_kwargs")


def test_what_the_template_refuses_is_the_callers_fault(tmp_path: Path) -> None:
    twice = [{"role": "user", "content": "Hello!"}] * 2
    with running(tmp_path, TemplateModel()) as served:
        answer = served.http.post("/v1/chat/completions", json={"model": "attune", "messages": twice})
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == "messages"
        assert answer.json()["error"]["code"] == "invalid_chat"
        assert "in the order: user, user" in answer.json()["error"]["message"]


def test_a_backend_takes_no_arguments_of_our_template(tmp_path: Path) -> None:
    with running(tmp_path / "there") as there, running(tmp_path / "here", compare=(f"other={there.url}",)) as here:
        body = {"model": "other", "messages": [SYSTEM], "chat_template_kwargs": {"enable_thinking": True}}
        answer = here.http.post("/v1/chat/completions", json=body)
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == "chat_template_kwargs"


def test_template_settings_have_three_spellings_and_reach_the_learner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    template, file = tmp_path / "mine.jinja", tmp_path / "attune.toml"
    template.write_text("{{ messages[0]['content'] }}")
    file.write_text(f'chat_template = "{template}"\n[chat_template_kwargs]\nenable_thinking = true\n')
    assert load_settings({}, file).chat_template_kwargs == {"enable_thinking": True}
    assert learner.load_settings({}, file).chat_template == str(template)
    assert learner.load_settings({}, file).chat_template_kwargs == {"enable_thinking": True}
    monkeypatch.setenv("ATTUNE_CHAT_TEMPLATE_KWARGS", '{"style": "dry"}')
    assert load_settings({}, file).chat_template_kwargs == {"style": "dry"}
    assert learner.load_settings({}, file).chat_template_kwargs == {"style": "dry"}
    assert load_settings({"chat_template_kwargs": "{}"}, file).chat_template_kwargs == {}
    monkeypatch.delenv("ATTUNE_CHAT_TEMPLATE_KWARGS")
    given = serve_settings(
        data=tmp_path, model="pocket-nano", chat_template=str(template), chat_template_kwargs={"style": "dry"}
    )
    command = learner_command(given)
    assert json.loads(command[command.index("--chat-template-kwargs") + 1]) == {"style": "dry"}
    check_learner(command)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"chat_template": "nothing.jinja"}, "--chat-template cannot be 'nothing.jinja': there is no such file"),
        ({"chat_template_kwargs": "{"}, "--chat-template-kwargs cannot be '{': must be a JSON object"),
        ({"chat_template_kwargs": "[]"}, "--chat-template-kwargs cannot be '[]': must be a JSON object"),
    ],
)
def test_wrong_template_settings_are_one_line(flags: dict[str, Any], message: str) -> None:
    with pytest.raises(CannotStart) as refused:
        load_settings(flags)
    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)
