"""What a chat sends and receives: settings, messages, tokens and models."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypedDict


class Sampling(TypedDict, total=False):
    """How an answer is sampled; every field is optional and the service has the defaults.

    `temperature` 0 is greedy; `top_k` 0 is off; `n` is 1-8 answers to the same prompt. `stop` ends an answer before
    the given text. `repetition_penalty` (1 is off) makes tokens of prompt and answer rarer, `min_p` (0 is off) leaves
    out tokens with less than this share of the likeliest one's probability. `logprobs` asks for each token's
    log-probability and `top_logprobs` for that many alternatives. `metadata` is stored with the answer.
    `chat_template_kwargs` are arguments of the model's chat template, such as `enable_thinking`.

    >>> settings: attune.Sampling = {"temperature": 0.0, "max_tokens": 48, "seed": 7}
    >>> client.chat("Hello!", **settings).text
    'Hello to you!'
    """

    temperature: float
    top_p: float
    top_k: int
    max_tokens: int
    n: int
    seed: int
    stop: str | list[str]
    logprobs: bool
    top_logprobs: int
    presence_penalty: float
    frequency_penalty: float
    repetition_penalty: float
    min_p: float
    chat_template_kwargs: dict[str, Any]
    metadata: dict[str, Any]


@dataclass(frozen=True)
class Message:
    """One turn of a conversation; `role` is system, user or assistant.

    >>> client.chat([attune.Message("system", "Be brief."), attune.Message("user", "Hello!")]).text
    'Hello to you!'
    """

    role: str
    content: str


@dataclass(frozen=True)
class Usage:
    """Token counts of an answer.

    >>> client.chat("Hello!").usage.completion_tokens
    3
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0


@dataclass(frozen=True)
class Token:
    """One token of an answer with its log-probability in nats, and the likeliest alternatives for `top_logprobs`.

    >>> answer = client.chat("Hello!", logprobs=True, top_logprobs=2)
    >>> answer.tokens[0]
    Token(token='Hello', logprob=-0.5, top={'Hello': -0.5, 'Hi': -1.5})
    """

    token: str
    logprob: float
    top: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Model:
    """A name that `chat(model=...)` accepts.

    >>> [model.id for model in client.models()]
    ['attune', 'attune@0', 'attune@1']
    """

    id: str
    owned_by: str = ""
    created: int = 0
    version: int | None = None
    state: str | None = None
