"""The ASGI application: routes, middleware, and the service's life around them."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError

from service.errors import CannotStart, install_error_handlers
from service.http.caller_checks import require_caller
from service.http.cors import Cors
from service.http.description import describe
from service.http.head import Head
from service.http.large_bodies import LargeBodies
from service.http.validation_errors import invalid_request
from service.installed import installed_release
from service.learner_child import LearnerChild
from service.lifecycle import MakeModel, Service
from service.limits import BodyLimit
from service.metrics import RequestMetrics
from service.request_checks import RequestChecks
from service.request_ids import RequestIds
from service.routes import (
    chat,
    comparisons,
    completions,
    conversations,
    events,
    export,
    feedback,
    health,
    learner,
    models,
    page,
    raters,
    version,
    versions,
    webhooks,
)
from service.settings import ServeSettings

log = logging.getLogger(__name__)
ROUTERS = (
    chat.router,
    completions.router,
    models.router,
    feedback.router,
    comparisons.router,
    versions.router,
    learner.router,
    raters.router,
    conversations.router,
    export.router,
    webhooks.router,
    events.router,
    health.router,
    version.router,
    page.router,
)


def create_app(
    settings: ServeSettings,
    make_model: MakeModel,
    *,
    learner: LearnerChild | None = None,
    began: Callable[[Service], None] = lambda service: None,
    failed: Callable[[str], None] = log.error,
) -> FastAPI:
    """Return the ASGI application. `began` is called once it answers, `failed` with one line when it cannot."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service = app.state.service = Service(settings, make_model, learner)
        service.open()
        beginning = asyncio.create_task(_begin(service, began, failed))
        try:
            yield
        finally:
            beginning.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await beginning
            await service.stop()

    summary = "A chat assistant that learns from the people who use it."
    app = FastAPI(
        title="Attune",
        summary=summary,
        version=installed_release(),
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # to http:// and whatever Host says, also where a proxy in front ends TLS
        generate_unique_id_function=lambda route: route.name,
    )
    for router in ROUTERS:
        app.include_router(router)
    app.openapi = describe(app)  # type: ignore[method-assign]
    install_error_handlers(app)
    app.add_exception_handler(RequestValidationError, invalid_request)
    page.mount_page(app)
    app.add_middleware(LargeBodies)
    app.add_middleware(
        BodyLimit,
        max_bytes=int(settings.limits.body_mb * 2**20),
        max_import_bytes=int(settings.limits.import_mb * 2**20),
        before=require_caller,
    )
    app.add_middleware(Head)
    app.add_middleware(RequestChecks, origins=settings.origins)
    if settings.origins:
        app.add_middleware(Cors, origins=settings.origins)
    app.add_middleware(RequestMetrics)
    app.add_middleware(RequestIds)
    return app


async def _begin(service: Service, began: Callable[[Service], None], failed: Callable[[str], None]) -> None:
    try:
        await service.begin()
    except CannotStart as error:
        failed(str(error))
    except Exception as error:
        log.exception("the service could not begin")
        failed(f"the service could not begin: {error}")
    else:
        began(service)
