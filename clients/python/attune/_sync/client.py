# Written by make_sync.py from attune/_async/client.py.
# Change that file, then run `python clients/python/make_sync.py`.
"""The client: chat, feedback, conversations, data and events. Operators' methods are in `operators`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Literal, overload

from attune._answers import AnswerData, Messages, answers_of, asked, turns
from attune._sync.answers import Answer, Comparison, Stream, answer_of
from attune._sync.connection import Connection
from attune._sync.events import Events
from attune._sync.operators import OperatorMethods
from attune._errors import UnexpectedResponse
from attune._transfer import CHUNK_BYTES, content_type_of, sink_of
from attune._transport import Address, Request, Retry, body_of, faults_of, get, post, post_once, segment
from attune._types.chat import Model, Sampling
from attune._types.comparisons import Candidate, Choice, Winner
from attune._types.conversations import Conversation
from attune._types.data_transfer import ExportFormat, Imported, ImportFormat, Progress
from attune._types.feedback import Feedback, Reason, Thumb
from attune._types.monitoring import Health
from attune._types.reading import read

if TYPE_CHECKING:
    import httpx
    from typing_extensions import Self, Unpack


class Client(OperatorMethods):
    """A connection to an Attune service.

    `base_url` and `api_key` default to `ATTUNE_BASE_URL` and `ATTUNE_API_KEY`; without either, the address is port 8000
    of this machine. `rater` names the end user for whom you act; the key needs the scope `act-as`. `timeout` is the
    longest wait for the next byte, in seconds. `http` is an httpx client of your own. Keep one client for the whole
    program: it pools connections, and threads or tasks may share it.

    >>> with attune.Client() as client:
    ...     answer = client.chat("Hello!")
    ...     feedback = answer.rate("up")
    ...     print(answer.text)
    Hello to you!
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        rater: str | None = None,
        timeout: float = 120.0,
        retry: Retry = Retry(),
        http: httpx.Client | None = None,
    ) -> None:
        self.address = Address.of(base_url, api_key, rater)
        self._connection = Connection(self.address, timeout, retry, http)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.address.url!r})"

    def close(self) -> None:
        """Close the connections. `with` does it by itself.

        >>> client = attune.Client()
        >>> client.close()
        """
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Chat

    @overload
    def chat(
        self,
        messages: Messages,
        *,
        model: str = ...,
        stream: Literal[False] = ...,
        conversation_id: str | None = ...,
        **sampling: Unpack[Sampling],
    ) -> Answer: ...

    @overload
    def chat(
        self,
        messages: Messages,
        *,
        model: str = ...,
        stream: Literal[True],
        conversation_id: str | None = ...,
        **sampling: Unpack[Sampling],
    ) -> Stream: ...

    def chat(
        self,
        messages: Messages,
        *,
        model: str = "attune",
        stream: bool = False,
        conversation_id: str | None = None,
        **sampling: Unpack[Sampling],
    ) -> Answer | Stream:
        """Ask a question: one sentence, or a whole conversation as messages.

        `model` is "attune" (the live version), "attune@N" (that version) or the name of a backend. `Sampling` describes
        the other settings. With `stream=True` the text arrives in deltas. Raises BadRequest, NotFound for an unknown
        model, Overloaded, and what every call raises.

        >>> answer = client.chat("Hello!", temperature=0, max_tokens=48)
        >>> answer.text
        'Hello to you!'
        >>> answer = client.chat([{"role": "user", "content": "Hello!"}], model="attune@0")
        >>> answer.version
        0
        """
        question = asked(messages, model, sampling)
        body = {"model": model, "messages": question.messages, "conversation_id": conversation_id, **question.settings}
        if stream:
            request = post("/v1/chat/completions", **body, stream=True, stream_options={"include_usage": True})
            return Stream(self, self._connection.respond(request, stream=True), question)
        response = self._connection.respond(post("/v1/chat/completions", **body))
        answers = answers_of(body_of(response), response.headers.get("x-attune-version"), question)
        return answer_of(self, answers, 0)

    def models(self) -> list[Model]:
        """The names that `chat(model=...)` accepts: "attune", its versions and the backends.

        >>> [model.id for model in client.models()]
        ['attune', 'attune@0', 'attune@1']
        """
        return [model for model in self._connection.pages(get("/v1/models"), Model)]

    # Feedback

    def compare(
        self,
        messages: Messages,
        models: tuple[str, str] | None = None,
        *,
        conversation_id: str | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
    ) -> Comparison:
        """Ask for two answers to one prompt, side by side and blind.

        Without `models` the service picks the two from which it learns most.

        >>> comparison = client.compare("Tell me a joke.", models=("attune@0", "attune@1"))
        >>> choice = comparison.choose("tie")
        >>> choice.winner
        'tie'
        """
        sampling = {"temperature": temperature, "max_tokens": max_tokens}
        body = {
            "messages": turns(messages),
            "conversation_id": conversation_id,
            "models": list(models) if models else None,
            **sampling,
        }
        created = self._connection.json(post("/v1/comparisons", **body))
        if not isinstance(created, Mapping) or len(created.get("candidates") or ()) != 2:
            raise UnexpectedResponse("The comparison does not have two candidates. Is this an Attune service?")
        sides = sorted((read(Candidate, one) for one in created["candidates"]), key=lambda side: side.label)
        return Comparison(str(created.get("id")), tuple(sides), self)

    def choose(
        self,
        comparison_id: str,
        winner: Winner,
        *,
        reason: Reason | None = None,
        comment: str | None = None,
        idempotency_key: str | None = None,
    ) -> Choice:
        """Choose the better side of a comparison by its id; with the object, `comparison.choose` is shorter.

        >>> comparison = client.compare("Hello!")
        >>> choice = client.choose(comparison.id, "B")
        >>> choice.winner
        'B'
        """
        path = f"/v1/comparisons/{segment(comparison_id)}/choice"
        body = self._connection.json(post_once(path, idempotency_key, winner=winner, reason=reason, comment=comment))
        return read(Choice, {"id": comparison_id, "comparison_id": comparison_id, "winner": winner, **(body or {})})

    def feedback(
        self,
        completion_id: str,
        *,
        choice: int = 0,
        thumb: Thumb | None = None,
        score: float | None = None,
        correction: str | None = None,
        preferred_over: tuple[str, int] | None = None,
        reason: Reason | None = None,
        comment: str | None = None,
        metadata: dict[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Feedback:
        """Give feedback on an answer: exactly one of `thumb`, `score`, `correction`, `preferred_over`.

        `preferred_over` is the id and choice of the worse answer. The feedback is on the service's disk when this
        returns. An idempotency key keeps it single when the network needs several tries; give your own key to make a
        whole program repeatable. Raises NotFound, Unprocessable, Conflict (the key with another body).

        >>> answer = client.chat("Hello!")
        >>> feedback = client.feedback(answer.id, score=0.9, metadata={"page": "help"})
        >>> feedback.kind, feedback.score
        ('score', 0.9)
        """
        worse = {"completion_id": preferred_over[0], "choice": preferred_over[1]} if preferred_over else None
        rating = {"thumb": thumb, "score": score, "correction": correction, "preferred_over": worse}
        about = {
            "completion_id": completion_id,
            "choice": choice,
            "reason": reason,
            "comment": comment,
            "metadata": metadata,
        }
        request = post_once("/v1/feedback", idempotency_key, **about, **rating)
        return read(Feedback, self._connection.json(request))

    def rate(
        self,
        completion_id: str,
        thumb: Thumb,
        *,
        choice: int = 0,
        reason: Reason | None = None,
        comment: str | None = None,
    ) -> Feedback:
        """Give a thumb, "up" or "down", to the answer with this id.

        >>> answer = client.chat("Hello!")
        >>> feedback = client.rate(answer.id, "up")
        >>> feedback.thumb
        'up'
        """
        return self.feedback(completion_id, choice=choice, thumb=thumb, reason=reason, comment=comment)

    def score(
        self,
        completion_id: str,
        score: float,
        *,
        choice: int = 0,
        reason: Reason | None = None,
        comment: str | None = None,
    ) -> Feedback:
        """Give a score from 0.0 to 1.0 to the answer with this id.

        >>> answer = client.chat("Hello!")
        >>> feedback = client.score(answer.id, 0.5)
        >>> feedback.score
        0.5
        """
        return self.feedback(completion_id, choice=choice, score=score, reason=reason, comment=comment)

    def correct(self, completion_id: str, text: str, *, choice: int = 0, comment: str | None = None) -> Feedback:
        """Give a correction of the answer with this id.

        >>> answer = client.chat("What is 7 + 5?")
        >>> feedback = client.correct(answer.id, "12")
        >>> feedback.kind
        'correction'
        """
        return self.feedback(completion_id, choice=choice, correction=text, comment=comment)

    def prefer(
        self,
        better: AnswerData | str,
        worse: AnswerData | str,
        *,
        reason: Reason | None = None,
        comment: str | None = None,
    ) -> Feedback:
        """Prefer one of two answers to the same prompt, given as answers or as ids.

        >>> one = client.chat("Hello!", model="attune@1")
        >>> other = client.chat("Hello!", model="attune@0")
        >>> feedback = client.prefer(one, other)
        >>> feedback.preferred_over["completion_id"] == other.id
        True
        """
        (completion_id, choice), lost = _pointer(better), _pointer(worse)
        return self.feedback(completion_id, choice=choice, preferred_over=lost, reason=reason, comment=comment)

    def list_feedback(
        self, *, completion_id: str | None = None, rater: str | None = None, limit: int | None = None
    ) -> Iterator[Feedback]:
        """All feedback, newest first, in pages of `limit` rows that load as you iterate. Needs an admin key.

        >>> answer = client.chat("Hello!")
        >>> feedback = answer.rate("up")
        >>> [one.thumb for one in client.list_feedback(completion_id=answer.id)]
        ['up']
        """
        for one in self._connection.pages(
            get("/v1/feedback", completion_id=completion_id, rater=rater, limit=limit), Feedback
        ):
            yield one

    def retract(self, feedback: Feedback | str) -> None:
        """Retract feedback: your own, or anybody's with an admin key. The learner ignores it. Raises NotFound.

        >>> answer = client.chat("Hello!")
        >>> feedback = answer.rate("down")
        >>> client.retract(feedback)
        """
        feedback_id = feedback if isinstance(feedback, str) else feedback.id
        self._connection.json(Request("DELETE", f"/v1/feedback/{segment(feedback_id)}"))

    # Conversations

    def conversations(self, *, limit: int | None = None) -> Iterator[Conversation]:
        """Your conversations without their messages, latest first; pages load as you iterate.

        >>> [conversation.title for conversation in client.conversations()]
        ['Hello!']
        """
        for one in self._connection.pages(get("/v1/conversations", limit=limit), Conversation):
            yield one

    def conversation(self, conversation_id: str) -> Conversation:
        """One conversation with its messages. Raises NotFound.

        >>> conversation = client.conversation("c1")
        >>> [message.content for message in conversation.messages]
        ['Hello!', 'Hello to you!']
        """
        return read(Conversation, self._connection.json(get(f"/v1/conversations/{segment(conversation_id)}")))

    def delete_conversation(self, conversation_id: str) -> None:
        """Delete a conversation. Raises NotFound.

        >>> client.delete_conversation("c1")
        """
        self._connection.json(Request("DELETE", f"/v1/conversations/{segment(conversation_id)}"))

    # Data

    def export_file(
        self,
        target: str | PathLike[str] | IO[bytes],
        format: ExportFormat = "preference",
        *,
        progress: Progress | None = None,
    ) -> int:
        """Write the feedback as JSON Lines; return the number of lines. Needs an admin key.

        TRL reads all formats but "raw", which holds every row. `target` is a path or a file open for bytes; a path gets
        the whole file or none. `progress(done, total)` is called with bytes; the total may be None.

        >>> client.export_file("pairs.jsonl", "preference")
        2
        """
        response = self._connection.respond(get("/v1/export", format=format), stream=True)
        total = response.headers.get("content-length")
        try:
            with sink_of(target) as file, faults_of(self.address):
                for received in response.iter_bytes():
                    file.write(received)
                    if progress:
                        progress(file.done, int(total) if total else None)
                file.keep()
                return file.lines
        finally:
            response.close()

    def import_file(
        self, path: str | PathLike[str], format: ImportFormat | None = None, *, progress: Progress | None = None
    ) -> Imported:
        """Import preferences, ratings or demonstrations from a file. Needs an admin key.

        It reads what `export_file` writes and Open WebUI's feedback. Without `format` the service finds it in the file.
        `progress(done, total)` is called with bytes.

        >>> client.export_file("pairs.jsonl")
        2
        >>> imported = client.import_file("pairs.jsonl", progress=lambda done, total: print(done == total))
        True
        >>> imported.imported
        2
        """
        request = Request(
            "POST",
            "/v1/import",
            {"format": format},
            headers={"Content-Type": content_type_of(Path(path))},
            timeout_s=600.0,
        )
        response = self._connection.respond(request, content=_chunks(Path(path), progress))
        return read(Imported, body_of(response) or {})

    # What happens

    def events(self, after: int | None = None) -> Events:
        """Follow the events after number `after`, or new ones only; restarts of the service do not end it.

        >>> with client.events(after=0) as events:
        ...     for event in events:
        ...         if event.kind == "version.live":
        ...             print(event.data["version"])
        ...             break
        1
        """
        return Events(self._connection, after)

    def health(self) -> Health:
        """Whether the service is alive and ready to chat. Raises only ServiceUnreachable and Timeout.

        >>> health = client.health()
        >>> health.alive, health.ready
        (True, True)
        """
        alive, _ = self._connection.status("/healthz")
        ready, detail = self._connection.status("/readyz")
        return Health(alive == 200, ready == 200, detail if isinstance(detail, dict) else {})


def _pointer(answer: AnswerData | str) -> tuple[str, int]:
    return (answer, 0) if isinstance(answer, str) else (answer.id, answer.choice)


def _chunks(path: Path, progress: Progress | None) -> Iterator[bytes]:
    done, total = 0, path.stat().st_size
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
            done += len(chunk)
            if progress:
                progress(done, total)
