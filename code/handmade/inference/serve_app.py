"""The endpoint: OpenAI's paths, answered by our engine.

GET /health, /v1/models, /v1/models/NAME; POST /v1/completions and
/v1/chat/completions, whole or as server-sent events. An error has the form
that OpenAI's clients read.

Left out: who may ask. There are no keys, so it is for this machine alone;
for more, put a proxy before it that knows its callers.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Collection
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from handmade import checks
from handmade.inference import serve_protocol
from handmade.inference.engine import QueueFull
from handmade.inference.serve_fields import Refusal
from handmade.inference.serve_protocol import Answer
from handmade.inference.serve_service import Service
from handmade.inference.serve_worker import EngineFailed, Job, Worker

# by what names it may be called: a page in somebody's browser can reach this
# machine too, under a name of its own that leads here
HERE = ("127.0.0.1", "localhost", "[::1]")


class Reply:
    """Answer a request while listening: who hangs up ends it."""

    def __init__(self, worker: Worker, job: Job, answer: Answer) -> None:
        self.worker, self.job, self.answer = worker, job, answer

    async def __call__(
        self, scope: Scope, receive: Receive, send: Send
    ) -> None:
        stream = self.answer.asked.stream
        speak = self.stream(send) if stream else self.whole(send)
        speaking = asyncio.create_task(speak)
        listening = asyncio.create_task(_hung_up(receive))
        try:
            await asyncio.wait(
                {speaking, listening}, return_when=asyncio.FIRST_COMPLETED
            )
            if speaking.done():
                speaking.result()  # raises what went wrong
        finally:
            # all is said, or nobody listens: its pages are free again
            self.worker.cancel(self.job)
            speaking.cancel()
            listening.cancel()

    async def stream(self, send: Send) -> None:
        """Send each piece of text as an event, as soon as it is there."""
        await send(_start(200, b"text/event-stream"))
        job, answer = self.job, self.answer
        try:
            await send(_event(answer.chunk("", first=True)))
            async for piece in job.pieces():
                await send(_event(answer.chunk(piece)))
            await send(_event(answer.chunk("", job.finish_reason)))
            if answer.asked.include_usage:
                await send(_event(answer.count(job.tokens)))
            await send(_part(b"data: [DONE]\n\n"))
        except EngineFailed as error:  # too late for another status
            await send(_event(_failure(error).body))
        await send(_part(b"", more=False))

    async def whole(self, send: Send) -> None:
        """Send the whole text, once it is there."""
        text = "".join([piece async for piece in self.job.pieces()])
        reason = self.job.finish_reason or ""
        body = self.answer.whole(text, reason, self.job.tokens)
        await send(_start(200, b"application/json"))
        await send(_part(json.dumps(body).encode(), more=False))


def app(service: Service, hosts: Collection[str] = HERE) -> Starlette:
    """Return the ASGI application; its lifespan runs the engine's thread.

    ``hosts`` are the names by which it may be called, "*" for any.
    """
    _check_app(service, hosts)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        service.worker.start()
        yield
        await run_in_threadpool(service.worker.stop)

    endpoints = _Endpoints(service)
    return Starlette(
        routes=[
            Route("/health", endpoints.health),
            Route("/v1/models", endpoints.models),
            Route("/v1/models/{name:path}", endpoints.model),
            Route("/v1/completions", endpoints.completion, methods=["POST"]),
            Route("/v1/chat/completions", endpoints.chat, methods=["POST"]),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=[*hosts])],
        exception_handlers={
            Refusal: _refused,
            EngineFailed: _refused,
            HTTPException: _refused,
            ClientDisconnect: _refused,  # nobody will read it
            Exception: _refused,
        },
        lifespan=lifespan,
    )


class _Endpoints:
    """What each path answers."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.since = int(time.time())

    async def health(self, _: Request) -> Response:
        worker = self.service.worker
        pool = worker.engine.pool
        failed = worker.error is not None
        body = {
            "status": "failed" if failed else "ok",
            "running": len(worker.engine.running),
            "waiting": len(worker.engine.waiting),
            "free_pages": len(pool.free),
            "pages": pool.n_pages,
        }
        return JSONResponse(body, 503 if failed else 200)

    async def models(self, _: Request) -> Response:
        return JSONResponse({"object": "list", "data": [self._model()]})

    async def model(self, request: Request) -> Response:
        self._check_name(request.path_params["name"])
        return JSONResponse(self._model())

    async def completion(self, request: Request) -> Reply:
        return await self._reply(request, "completion")

    async def chat(self, request: Request) -> Reply:
        return await self._reply(request, "chat")

    async def _reply(self, request: Request, kind: str) -> Reply:
        """Read a body, hand its job to the engine, hear if that took it."""
        service = self.service
        body = await _body(request, service.max_body)
        asked = serve_protocol.read_body(kind, body)
        self._check_name(asked.model)
        # a long prompt takes a while to split: other connections go on
        ids = await run_in_threadpool(service.ids_of, asked)
        job = service.job(asked, ids)
        service.worker.submit(job)
        try:
            await job.accepted()
        except QueueFull as full:
            wait = {"Retry-After": "1"}
            raise Refusal(
                str(full), status=429, code="queue_full", headers=wait
            ) from None
        except ValueError as error:
            raise Refusal(str(error)) from None
        except asyncio.CancelledError:
            service.worker.cancel(job)
            raise
        return Reply(service.worker, job, Answer(asked, len(ids)))

    def _check_name(self, name: str) -> None:
        if name != self.service.name:
            raise Refusal(
                f"model: got {name!r}, want {self.service.name!r}",
                status=404,
                param="model",
                code="model_not_found",
            )

    def _model(self) -> dict[str, Any]:
        return {
            "id": self.service.name,
            "object": "model",
            "created": self.since,
            "owned_by": "handmade",
        }


async def _body(request: Request, most: int) -> bytes:
    kind = request.headers.get("content-type", "").partition(";")[0].strip()
    if kind.lower() != "application/json":
        # anything else a page in a browser may send without being asked
        message = f"content-type: got {kind!r}, want 'application/json'"
        raise Refusal(message, status=415)
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > most:
            message = f"body: got more, want at most {most} bytes"
            raise Refusal(message, status=413)
    return bytes(body)


async def _hung_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _refused(_: Request, error: Exception) -> Response:
    refusal = _failure(error)
    return JSONResponse(refusal.body, refusal.status, headers=refusal.headers)


def _failure(error: Exception) -> Refusal:
    """Return any error as one that can be sent."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, HTTPException):
        status, headers = error.status_code, error.headers
        return Refusal(error.detail, status=status, headers=headers)
    told = isinstance(error, EngineFailed)
    return Refusal(str(error) if told else "an error of ours", status=500)


def _start(status: int, kind: bytes) -> dict[str, Any]:
    headers = [(b"content-type", kind), (b"cache-control", b"no-store")]
    start = {"type": "http.response.start", "status": status}
    return {**start, "headers": headers}


def _part(body: bytes, more: bool = True) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": more}


def _event(body: dict[str, Any]) -> dict[str, Any]:
    return _part(b"data: " + json.dumps(body).encode() + b"\n\n")


def _check_app(service: Service, hosts: Collection[str]) -> None:
    checks.kind("service", service, Service, "a Service")
    checks.several("hosts", hosts, "names of hosts")
    for host in hosts:
        checks.text("hosts", host)
