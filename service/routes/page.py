"""The web page, from clients/web, with headers that let it load nothing from elsewhere; and the list of routes."""

import html
from pathlib import Path

from fastapi import APIRouter, FastAPI, Request, Response
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

router = APIRouter(include_in_schema=False)
FOLDER = Path(__file__).resolve().parents[2] / "clients" / "web"
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data: blob:; font-src 'self'; connect-src 'self'; manifest-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # under no-referrer some browsers call the page's own origin null
    "Cross-Origin-Opener-Policy": "same-origin",
}
# browsers keep the files but revalidate them (ETag), since no build step renames changed ones
FRESH = {**HEADERS, "Cache-Control": "no-cache"}
NO_PAGE = (
    "Attune is running, but the page (clients/web/index.html) is not installed here. The API is described at /docs.\n"
)


class PageFiles(StaticFiles):
    """Files of the page with our headers; the vendored libraries may be kept for a day."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers.update(FRESH)
        if path.startswith("vendor/"):
            response.headers["Cache-Control"] = "public, max-age=86400"
        return response


@router.get("/")
async def page() -> Response:
    """Give the page."""
    index = FOLDER / "index.html"
    return FileResponse(index, headers=FRESH) if index.is_file() else PlainTextResponse(NO_PAGE)


@router.get("/docs")
async def docs(request: Request) -> Response:
    """List every route from the schema. The page loads nothing, so it works offline."""
    app: FastAPI = request.app
    rows = []
    for path, methods in app.openapi()["paths"].items():
        for method, route in methods.items():
            description = html.escape(route.get("description", ""))
            rows.append(f"<dt><code>{method.upper()} {html.escape(path)}</code></dt><dd>{description}</dd>")
    text = (
        "<!doctype html><html lang=en><meta charset=utf-8><title>Attune: the API</title><h1>Attune: the API</h1>"
        f"<p>The full schema is at <a href=/openapi.json>/openapi.json</a>.</p><dl>{''.join(rows)}</dl></html>"
    )
    return HTMLResponse(text, headers=FRESH)


def mount_page(app: FastAPI) -> None:
    """Serve the page's files under /static."""
    if FOLDER.is_dir():
        app.mount("/static", PageFiles(directory=FOLDER), name="static")
