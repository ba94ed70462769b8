"""Talk to an Attune service: chat, give feedback on the answers, and watch it learn.

>>> import attune
>>> client = attune.Client()
>>> answer = client.chat("Hello!")
>>> print(answer.text)
Hello to you!
>>> feedback = answer.rate("up")
"""

from attune._address import VERSION as __version__
from attune._async.answers import AsyncAnswer
from attune._async.client import AsyncClient
from attune._async.comparisons import AsyncComparison
from attune._async.events import AsyncEvents
from attune._async.streams import AsyncStream
from attune._errors import (
    APIError,
    AttuneError,
    BadRequest,
    Conflict,
    Forbidden,
    NotFound,
    Overloaded,
    ServerError,
    ServiceUnreachable,
    Timeout,
    TooLarge,
    TooManyRequests,
    Unauthorized,
    UnexpectedResponse,
    Unprocessable,
)
from attune._retry import Retry
from attune._sync.answers import Answer
from attune._sync.client import Client
from attune._sync.comparisons import Comparison
from attune._sync.events import Events
from attune._sync.streams import Stream
from attune._tracking import track
from attune._types.chat import Message, Model, Sampling, Token, Usage
from attune._types.comparisons import Candidate, Choice, Record
from attune._types.conversations import Completion, Conversation
from attune._types.data_transfer import Imported
from attune._types.feedback import Feedback, Tally
from attune._types.learner import Learner, Preparation, Run, Trigger
from attune._types.monitoring import Event, Health, ServiceVersion
from attune._types.raters import Erased, Proposal, Rater, Withdrawn
from attune._types.versions import Check, Gate, Sample, Version

__all__ = [
    "APIError",
    "Answer",
    "AsyncAnswer",
    "AsyncClient",
    "AsyncComparison",
    "AsyncEvents",
    "AsyncStream",
    "AttuneError",
    "BadRequest",
    "Candidate",
    "Check",
    "Choice",
    "Client",
    "Comparison",
    "Completion",
    "Conflict",
    "Conversation",
    "Erased",
    "Event",
    "Events",
    "Feedback",
    "Forbidden",
    "Gate",
    "Health",
    "Imported",
    "Learner",
    "Message",
    "Model",
    "NotFound",
    "Overloaded",
    "Preparation",
    "Proposal",
    "Rater",
    "Record",
    "Retry",
    "Run",
    "Sample",
    "Sampling",
    "ServerError",
    "ServiceUnreachable",
    "ServiceVersion",
    "Stream",
    "Tally",
    "Timeout",
    "Token",
    "TooLarge",
    "TooManyRequests",
    "Trigger",
    "Unauthorized",
    "UnexpectedResponse",
    "Unprocessable",
    "Usage",
    "Version",
    "Withdrawn",
    "__version__",
    "track",
]

for _name in __all__:  # errors and help show attune.X, whichever module defines X
    if hasattr(globals()[_name], "__module__"):
        globals()[_name].__module__ = "attune"
del _name
