"""Conversations: one's own, or anybody's for an admin."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from sqlite_utils import Database

from service.auth import Caller
from service.engine.router import version_name
from service.http.checked_route import CheckedRoute
from service.http.dependencies import ChatCaller, service_of
from service.http.feedback_json import feedback_json
from service.http.pagination import CONVERSATION_CURSOR, page_of
from service.personal_fields import shown_rater
from store.completions import Completion, completions_of_conversation
from store.conversations import Conversation, conversations, delete_conversation, get_conversation
from store.feedback import Feedback, list_feedback

router = APIRouter(tags=["people"], route_class=CheckedRoute)


@router.get("/v1/conversations")
async def list_conversations(
    request: Request,
    caller: ChatCaller,
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    search: Annotated[str, Query(max_length=500)] = "",
    rater: str | None = None,
) -> dict[str, Any]:
    """Page through the caller's conversations, latest first; an admin may name another rater.

    For others there are no conversations of another rater.
    """
    whose, before = rater if rater is not None else caller.rater_id, CONVERSATION_CURSOR.read(cursor)
    if caller.owner_to_read not in (None, whose):
        return page_of([], limit, _head, _cursor)
    found = await service_of(request).records.read(
        lambda db: conversations(db, whose, before=before, limit=limit + 1, search=search)
    )
    return page_of(found, limit, _head, _cursor)


@router.get("/v1/conversations/{conversation_id}")
async def show_conversation(request: Request, conversation_id: str, caller: ChatCaller) -> dict[str, Any]:
    """Show a conversation: each answer with the messages before it and the caller's feedback.

    An admin sees everybody's feedback; `own` marks the caller's.
    """

    def look_up(db: Database) -> dict[str, Any]:
        conversation = get_conversation(db, conversation_id, rater_id=caller.owner_to_read)
        completions = [
            _row(
                completion,
                list_feedback(db, completion_id=completion.id, rater_id=caller.owner_to_read),
                caller,
            )
            for completion in completions_of_conversation(db, conversation_id)
            if caller.owner_to_read in (None, completion.rater_id)
        ]
        return {**_head(conversation), "completions": completions}

    return await service_of(request).records.read(look_up)


@router.delete("/v1/conversations/{conversation_id}", status_code=204)
async def remove_conversation(request: Request, conversation_id: str, caller: ChatCaller) -> Response:
    """Hide a conversation for good."""

    def remove(db: Database) -> None:
        get_conversation(db, conversation_id, rater_id=caller.owner_to_read)
        delete_conversation(db, conversation_id)

    await service_of(request).records.write(remove)
    return Response(status_code=204)


def _head(conversation: Conversation) -> dict[str, Any]:
    return {
        "id": conversation.id,
        "title": conversation.title,
        "rater": conversation.rater_id,
        "created_at": conversation.created_at,
        "updated_at": conversation.updated_at,
    }


def _cursor(conversation: Conversation) -> str:
    return CONVERSATION_CURSOR.of(conversation.updated_at, conversation.id)


def _row(completion: Completion, feedback: list[Feedback], caller: Caller) -> dict[str, Any]:
    # newest first
    standing = [one for one in feedback if one.choice == completion.choice and one.retracted_at is None]
    return {
        "id": completion.id,
        "choice": completion.choice,
        "kind": completion.kind,
        "rater": shown_rater(completion),
        "model": version_name(completion.version) if completion.version is not None else completion.backend,
        "messages": completion.messages,
        "content": completion.text,
        "finish_reason": completion.finish_reason,
        "created_at": completion.created_at,
        "feedback": [
            {**feedback_json(one), "value": one.value, "text": one.text, "own": one.rater_id == caller.rater_id}
            for one in standing
        ],
    }
