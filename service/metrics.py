"""Numbers for Prometheus, in a registry of their own."""

import time
from collections.abc import Awaitable, Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import Message, Receive, Scope, Send

Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]
SECONDS = (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120)


class Metrics:
    """Every number that the service exports."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        r = self.registry
        self.requests = Counter(
            "attune_http_requests_total",
            "HTTP requests by route, method and status",
            ["route", "method", "status"],
            registry=r,
        )
        self.request_s = Histogram(
            "attune_http_request_seconds",
            "Seconds to the last byte of an answer",
            ["route"],
            buckets=SECONDS,
            registry=r,
        )
        self.answers = Counter(
            "attune_answers_total", "Answers begun, by version and kind", ["version", "kind"], registry=r
        )
        self.first_token_s = Histogram(
            "attune_first_token_seconds", "Seconds from the start to the first token", buckets=SECONDS, registry=r
        )
        self.tokens = Counter("attune_tokens_total", "Tokens sampled, by version", ["version"], registry=r)
        self.prompt_tokens = Counter(
            "attune_prompt_tokens_total", "Prompt tokens read, by version", ["version"], registry=r
        )
        self.feedback = Counter("attune_feedback_total", "Feedback taken, by kind", ["kind"], registry=r)
        self.swaps = Counter("attune_swaps_total", "Changes of the live version", registry=r)
        self.rollbacks = Counter(
            "attune_rollbacks_total", "Versions taken back because of people's feedback", registry=r
        )
        self.fingerprint_alarm = Gauge(
            "attune_probe_alarm",
            "1 for a version whose loaded weights were not what was trained",
            ["version"],
            registry=r,
        )
        self.refused = Counter(
            "attune_versions_refused_total", "Versions whose weights were not what was trained", registry=r
        )
        self.slot_failures = Counter(
            "attune_slot_failures_total", "Runners that ended by themselves or hung", registry=r
        )
        self.learner_starts = Counter("attune_learner_starts_total", "Starts of the learner's process", registry=r)
        self.learner_hangs = Counter(
            "attune_learner_hangs_total", "Learner's processes killed without a sign of life", registry=r
        )
        self.live_version = Gauge("attune_live_version", "The version that is live", registry=r)
        self.slots = Gauge("attune_slots_loaded", "Versions in memory", registry=r)
        self.active = Gauge("attune_replies_active", "Completions being generated", registry=r)
        self.tasks = Gauge("attune_tasks", "Tasks of the event loop", registry=r)
        self.leases = Gauge("attune_leases", "Answers that hold a version in memory", registry=r)
        self.queued = Gauge("attune_requests_queued", "Requests waiting in the queue", registry=r)

    def count_refused_version(self, number: int) -> None:
        """Raise the alarm for a version whose weights were not what was trained."""
        self.refused.inc()
        self.fingerprint_alarm.labels(str(number)).set(1)

    def count_answer(self, answered_by: str, kind: str, prompt_tokens: int) -> None:
        """Count an answer that begins; `answered_by` is a version's number or a backend's name."""
        self.answers.labels(answered_by, kind).inc()
        self.prompt_tokens.labels(answered_by).inc(prompt_tokens)

    def count_answer_end(self, answered_by: str, completion_tokens: int, first_token_s: float | None) -> None:
        """Count what an answer took, once it has ended in whatever way; `first_token_s` None: it had no token."""
        self.tokens.labels(answered_by).inc(completion_tokens)
        if first_token_s is not None:
            self.first_token_s.observe(first_token_s)

    def text(self) -> bytes:
        """Return all numbers in Prometheus' text format."""
        return generate_latest(self.registry)


class RequestMetrics:
    """ASGI middleware that counts and times requests by route, so that ids in paths make no new series."""

    def __init__(self, app: Asgi) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.monotonic(), 0

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, noted)
        finally:
            metrics: Metrics = scope["app"].state.service.metrics
            route = getattr(scope.get("route"), "path", "other")
            metrics.requests.labels(route, scope["method"], str(status)).inc()
            metrics.request_s.labels(route).observe(time.monotonic() - began)
