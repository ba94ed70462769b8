"""What schemathesis finds and stands, each with its reason. It loads this file as its hooks."""

import json
import re
from typing import Any, NamedTuple

import schemathesis

REJECTED = "RejectedPositiveData"  # a request that fits the description is refused
ACCEPTED = "AcceptedNegativeData"  # a request that does not fit the description is answered
ALLOW = "AllowHeaderMismatch"  # the header Allow of a 405 has other methods than the description
METHOD = "UnsupportedMethodResponse"  # a method that the description does not have is answered with another status


class Known(NamedTuple):
    """A finding that stands: its kind, the operations, a pattern of the service's or schemathesis' message, and why."""

    kind: str
    operations: str
    message: str
    reason: str


KNOWN = (
    Known(
        REJECTED,
        "POST /v1/(chat/completions|completions|comparisons)",
        "this model's context holds",
        "how long a prompt may be depends on the model, which no description knows",
    ),
    Known(
        REJECTED,
        "POST /v1/(chat/completions|completions)",
        "stream_options is only allowed|top_logprobs needs logprobs|are the same thing here",
        "OpenAI's description does not express which fields depend on one another either, so generated clients agree",
    ),
    Known(
        REJECTED,
        "POST /v1/feedback",
        "exactly one of thumb, score, correction and preferred_over|cannot be empty",
        "oneOf over fields of one object makes generated clients unusable; the text names the rule",
    ),
    Known(
        REJECTED,
        "POST /v1/feedback",
        "the two answers are to different prompts|cannot be preferred over itself",
        "which answers go together depends on what is stored",
    ),
    Known(
        REJECTED,
        "GET /v1/(feedback|conversations)",
        "is no next_cursor of this list",
        "a cursor is what the list gave before, which no pattern expresses",
    ),
    Known(
        REJECTED,
        ".*",
        "an integer must fit 64 bits|a number must be finite",
        "free objects have no bounds in the description, and schemathesis compares a seed's bounds as floats",
    ),
    Known(
        REJECTED,
        "POST /v1/(chat/completions|completions)",
        "user: a rater's name",
        "a rater's name is printable, which is a matter of Unicode that no pattern expresses",
    ),
    Known(
        ACCEPTED,
        ".*",
        "parameter `x-openwebui-user-id`",
        "the header is not read where X-Attune-Rater names the user",
    ),
    Known(
        ACCEPTED,
        "POST /v1/import",
        "",
        "an import answers with what is wrong with each record, and takes the others",
    ),
    Known(
        ACCEPTED,
        ".*",
        "(header|query) - object with unexpected properties|(header|query): violates `additionalProperties`",
        "a header or query parameter that nobody knows is ignored, as elsewhere on the web",
    ),
    Known(
        ALLOW,
        ".*",
        "/v1/versions/rollback does not take",
        "the path of GET /v1/versions/{number} takes it too, with a number that is none, so Allow has GET",
    ),
    Known(
        METHOD,
        ".*",
        "number: must be an integer, not .*rollback",
        "GET /v1/versions/rollback is GET /v1/versions/{number} with a number that is none: 400",
    ),
    Known(
        REJECTED,
        "POST /v1/webhooks/open-webui",
        "no record with data and snapshot|no feedback of Open WebUI",
        "the body is another program's record, which has no description",
    ),
)


@schemathesis.hook
def filter_failure(context: Any, failure: Any, case: Any, response: Any) -> bool:
    """Keep a failure unless it is known."""
    kind, operation = type(failure).__name__, case.operation.label
    try:
        message = json.loads(response.content)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        message = ""
    texts = f"{message}\n{failure.message}"
    return not any(
        known.kind == kind and re.fullmatch(known.operations, operation) and re.search(known.message, texts)
        for known in KNOWN
    )
