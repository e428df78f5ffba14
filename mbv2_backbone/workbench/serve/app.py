"""Request handlers of the page."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from ...common.messages import UserError
from .answer import MAX_BYTES, answer, too_large

if TYPE_CHECKING:
    from ..configs.summary import Classes
    from ..predict.file_predictor import FilePredictor

_PAGE = Path(__file__).parent / 'page'
_LOOK = ('mbv2_backbone.workbench.drawing', 'page')  # what the page of an export has too


def build_app(
    predictor: FilePredictor, *, name: str, score_thr: float, hosts: Sequence[str]
) -> Starlette:
    """Build the app: the page, the facts about the model that it needs, and predictions.

    Args:
        predictor: Returns boxes of all scores; the page filters them.
        name: Name of the model, for the page.
        score_thr: Initial value of the threshold.
        hosts: Host names to accept, as returned by `server.allowed_hosts`.
    """
    # A single thread: one image at a time for all clients.
    worker = ThreadPoolExecutor(1)
    painter = predictor.painter
    about = dict(
        name=name,
        threshold=score_thr,
        max_bytes=MAX_BYTES,
        boxes=_coloured(painter.boxes),
        masks=_coloured(painter.masks),
        images=_coloured(painter.images),
    )

    async def describe(_request: Request) -> JSONResponse:
        return JSONResponse(about)

    async def predict(request: Request) -> JSONResponse:
        if _is_foreign(request):
            return JSONResponse(
                dict(error='Requests from other sites are refused.'), status_code=403
            )
        try:
            data = await _read(request)
            loop = asyncio.get_running_loop()
            return JSONResponse(await loop.run_in_executor(worker, answer, predictor, data))
        except UserError as error:
            return JSONResponse(dict(error=str(error)), status_code=400)

    return Starlette(
        routes=[
            Route('/about', describe),
            Route('/predict', predict, methods=['POST']),
            Mount('/', StaticFiles(directory=_PAGE, packages=[_LOOK], html=True)),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=hosts)],
    )


def _is_foreign(request: Request) -> bool:
    """Check whether a browser sends a request on behalf of another site's page."""
    origin = request.headers.get('origin')
    return origin is not None and urlsplit(origin).netloc != request.headers.get('host')


async def _read(request: Request) -> bytes:
    """Read the image; data beyond the limit is read too, but not kept.

    A browser whose upload is cut off does not show the response.
    """
    data = bytearray()
    size = 0
    async for part in request.stream():
        size += len(part)
        if size <= MAX_BYTES:
            data += part
    if size > MAX_BYTES:
        raise too_large(size)
    return bytes(data)


def _coloured(classes: Classes) -> list[dict]:
    pairs = zip(classes.names, classes.palette, strict=False)
    return [dict(name=name, colour=[int(v) for v in colour]) for name, colour in pairs]
