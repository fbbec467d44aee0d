"""One thread owns the engine; the event loop talks to it by messages.

A step of the engine keeps a thread busy for as long as the model computes.
On the event loop it would leave every connection unheard, and an engine may
be touched by one thread only: so orders go to the thread in a queue, and
text comes back as events of the loop that asked.
"""

import asyncio
import contextlib
import queue
import threading
from collections.abc import AsyncIterator

from handmade import checks
from handmade.inference.engine import Engine, QueueFull, Request
from handmade.inference.serve_text import TextStream


class EngineFailed(RuntimeError):  # noqa: N818
    """The engine is no more, and nobody's text will go on."""


class Job:
    """One request on its way: what the loop hears of it, and when.

    Made on the event loop that wants to hear. ``accepted`` first, then
    ``pieces``; ``finish_reason`` and ``tokens`` are there after the last.
    """

    def __init__(self, request: Request, text: TextStream) -> None:
        self.request, self.text = request, text
        self.finish_reason: str | None = None
        self.tokens = 0
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[str | Exception | None] = asyncio.Queue()

    def tell(self, event: str | Exception | None) -> None:
        """Send text, None for the end, or what went wrong; any thread may."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody
            self._loop.call_soon_threadsafe(self._events.put_nowait, event)

    async def accepted(self) -> None:
        """Return when the engine has it; raises what the engine did."""
        await self._event()

    async def pieces(self) -> AsyncIterator[str]:
        """Yield its text as it comes; raises EngineFailed."""
        while (piece := await self._event()) is not None:
            if piece:
                yield piece

    async def _event(self) -> str | None:
        event = await self._events.get()
        if isinstance(event, Exception):
            raise event
        return event


class Worker:
    """Step an engine in a thread of its own, for all who submit."""

    def __init__(self, engine: Engine) -> None:
        checks.kind("engine", engine, Engine, "an Engine")
        self.engine = engine
        self.error: EngineFailed | None = None
        self._jobs: dict[int, Job] = {}  # by the id of its request
        self._orders: queue.SimpleQueue[tuple[str, Job | None]]
        self._orders = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to step."""
        self.error = None
        self._thread = threading.Thread(
            target=self._run, name="engine", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Let the step that runs end, and no other begin."""
        self._order("stop", None)
        if self._thread is not None:
            self._thread.join()

    def submit(self, job: Job) -> None:
        """Hand a job to the engine; ``job.accepted`` tells what it said."""
        self._order("add", job)

    def cancel(self, job: Job) -> None:
        """Take a job out of the engine; one that has ended stays as it is."""
        self._order("cancel", job)

    def _order(self, what: str, job: Job | None) -> None:
        with self._lock:  # after a failure nobody reads orders any more
            if self.error is None:
                self._orders.put((what, job))
            elif job is not None:
                job.tell(self.error)

    def _run(self) -> None:
        why = "the server is being shut down"
        try:
            while self._obey():
                for request, token in self.engine.step():
                    self._hand_on(self._jobs[id(request)], token)
            for job in self._jobs.values():
                self.engine.cancel(job.request)
        except Exception as error:
            why = f"the engine failed: {type(error).__name__}: {error}"
        self._end(EngineFailed(why))

    def _obey(self) -> bool:
        """Do what was ordered; wait for orders where there is no work."""
        while not self._orders.empty() or not self.engine.has_work:
            what, job = self._orders.get()
            if job is None:
                return False
            if what == "add":
                self._add(job)
            elif id(job.request) in self._jobs:
                self.engine.cancel(job.request)
                self._finish(job, "cancelled")
        return True

    def _add(self, job: Job) -> None:
        try:
            self.engine.add(job.request)
        except (QueueFull, ValueError) as error:
            job.tell(error)
            return
        self._jobs[id(job.request)] = job
        job.tell("")

    def _hand_on(self, job: Job, token: int) -> None:
        """Tell a job what its new token adds to its text."""
        request, text = job.request, job.text
        job.tokens += 1
        if token not in request.eos_ids:
            job.tell(text.push(token))
        if request.finish_reason is not None and not text.stopped:
            job.tell(text.rest())
        if text.stopped:
            self.engine.cancel(request)
            self._finish(job, "stop")
        elif request.finish_reason is not None:
            self._finish(job, request.finish_reason)

    def _finish(self, job: Job, reason: str) -> None:
        del self._jobs[id(job.request)]
        job.finish_reason = reason
        job.tell(None)

    def _end(self, error: EngineFailed) -> None:
        """Answer all who wait, and all who will ask."""
        with self._lock:
            self.error = error
            while not self._orders.empty():
                what, job = self._orders.get()
                if what == "add" and job is not None:
                    job.tell(error)
            for job in self._jobs.values():
                job.tell(error)
            self._jobs.clear()
