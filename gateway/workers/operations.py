"""The supervisor's operations listener: queries the workers and merges answers.

    /healthz, /readyz            the machine's own
    /metrics                     of all workers, with the label `worker`
    /ops/fleet, /ops/streams     of all workers in one answer
    POST /ops/drain              drains all workers
    everything else              by one worker: the first that is ready

Each request is forwarded to the workers with its headers, and a worker verifies its token, cookie
and origin: the supervisor answers only requests that a worker has allowed.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec
from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from yarl import URL

from gateway.errors import GatewayError, NotReady
from gateway.http.caller import Callers
from gateway.http.problem import problems
from gateway.http.transport.listen import bind, listen_on
from gateway.http.transport.malformed import server_log
from gateway.settings.setting_types import url_of
from gateway.workers.expositions import merged
from gateway.workers.plan import readiness

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from prometheus_client import Metric

    from gateway.http.transport.acceptor import Acceptor
    from gateway.workers.process import WorkerProcess
    from gateway.workers.supervisor import Supervisor

    Answers = Sequence[tuple[WorkerProcess, "Answer"]]
    Merge = Callable[[Answers], bytes]

ANSWER_SECONDS = 5.0
"""Timeout of a worker's answer; sums leave out a worker that hangs."""

_HOP = frozenset(
    {"connection", "content-length", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
)
"""Headers of one connection, which are not passed on (RFC 9110, §7.6.1)."""


class Answer:
    """One worker's answer: status, end-to-end headers, body."""

    def __init__(self, response: aiohttp.ClientResponse, body: bytes) -> None:
        self.status = response.status
        self.headers = [
            (name, value) for name, value in response.headers.items() if name.lower() not in _HOP
        ]
        self.body = body

    def response(self, body: bytes | None = None) -> web.Response:
        """Return the supervisor's response, with another body if given."""
        response = web.Response(status=self.status, body=self.body if body is None else body)
        response.headers.clear()
        for name, value in self.headers:
            response.headers.add(name, value)
        return response


class Operations:
    """The listener, while the supervisor runs."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Processes(supervisor))
        app = web.Application(
            middlewares=[problems(Callers(supervisor.settings.trusted_proxies), metrics=None)]
        )
        app.add_routes(
            [
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._metrics),
                web.get("/ops/fleet", partial(self._merged, merge=_of_json(_all_workers))),
                web.get("/ops/streams", partial(self._merged, merge=_of_json(_all_streams))),
                web.delete("/ops/streams", partial(self._merged, merge=_of_json(_all_ended))),
                web.delete("/ops/streams/{stream}", self._end_stream),
                web.post("/ops/drain", self._drain),
                web.route("*", "/{path:.*}", self._by_one),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, logger=server_log(None))
        self._sites: list[Acceptor] = []
        self._http: aiohttp.ClientSession | None = None

    @property
    def url(self) -> str:
        """The URL for operators."""
        return url_of("http", *self._runner.addresses[0][:2])

    async def start(self) -> None:
        """Listen. Raises `GatewayError` for a port in use."""
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        )
        try:
            sockets = await bind(self._supervisor.settings.ops_listen, "GATEWAY_OPS_LISTEN")
            self._sites = await listen_on(self._runner, sockets)
        except GatewayError:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Close the listener."""
        await self._runner.cleanup()
        for site in self._sites:
            site.cut_off()
        if self._http is not None:
            await self._http.close()

    # Answers of the machine.

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _readyz(self, _: web.Request) -> web.Response:
        states = [process.state for process in self._supervisor.processes if not process.leaving]
        report = readiness(states, stopping=self._supervisor.stopping)
        return web.json_response(report, status=200 if report["ready"] else 503)

    async def _metrics(self, request: web.Request) -> web.Response:
        encode, _ = choose_encoder(request.headers.get("Accept", ""))

        def merge(answers: Answers) -> bytes:
            texts = {_label(process): answer.body.decode() for process, answer in answers}
            return merged(texts, encode(self._registry).decode()).encode()

        return await self._merged(request, merge)

    async def _merged(self, request: web.Request, merge: Merge) -> web.Response:
        """Return one answer with the bodies of all workers, or that of one that rejects."""
        answers = await self._ask_all(request)
        for _, answer in answers:
            if answer.status != 200:
                return answer.response()
        return answers[0][1].response(merge(answers))

    async def _end_stream(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["stream"]
        for process in self._reachable():
            if name.startswith(f"{process.name}-"):
                return (await self._ask(process, request)).response()
        return await self._by_one(request)

    async def _drain(self, request: web.Request) -> web.Response:
        # A read-only request, to check whether a worker allows the drain.
        answer = await self._ask(self._one(), request, "GET", "/version")
        if answer.status != 200:
            return answer.response()
        self._supervisor.stop()
        return web.json_response({"status": "draining"}, status=202)

    async def _by_one(self, request: web.Request) -> web.StreamResponse:
        """Pass a request on to one worker, and its answer back as it arrives."""
        process = self._one()
        body = await request.read() if request.can_read_body else None
        response: web.StreamResponse | None = None
        try:
            async with self._request(process, request, request.method, request.raw_path, body) as (
                answer
            ):
                response = web.StreamResponse(status=answer.status)
                for name, value in answer.headers.items():
                    if name.lower() not in _HOP:
                        response.headers.add(name, value)
                if answer.content_length is not None:
                    response.content_length = answer.content_length
                await response.prepare(request)
                async for part in answer.content.iter_any():
                    await response.write(part)
                await response.write_eof()
                return response
        except (aiohttp.ClientError, TimeoutError):
            if response is None:
                raise _unanswered(process) from None
            if request.transport is not None:
                request.transport.abort()  # a truncated response must not look complete
            return response

    # Requests to workers.

    def _reachable(self) -> list[WorkerProcess]:
        return [process for process in self._supervisor.processes if process.report is not None]

    def _one(self) -> WorkerProcess:
        """Return the worker that answers for all. Raises `NotReady` if none runs."""
        found = self._reachable()
        if not found:
            raise NotReady("no worker of this machine is running; see the log")
        return min(found, key=lambda process: (not process.state.ready, process.leaving))

    async def _ask_all(self, request: web.Request) -> Answers:
        """Return the answers of all workers that answer in time, at least one."""
        processes = self._reachable() or [self._one()]
        answers = await asyncio.gather(
            *(self._ask(process, request) for process in processes), return_exceptions=True
        )
        found = []
        for process, answer in zip(processes, answers, strict=True):
            if isinstance(answer, Answer):
                found.append((process, answer))
            elif not isinstance(answer, NotReady):
                raise answer
        if not found:
            raise _unanswered(processes[0])
        return found

    async def _ask(
        self, process: WorkerProcess, request: web.Request, method: str = "", path: str = ""
    ) -> Answer:
        """Return a worker's answer to a request. Raises `NotReady` on timeout or failure."""
        try:
            async with (
                asyncio.timeout(ANSWER_SECONDS),
                self._request(
                    process, request, method or request.method, path or request.raw_path
                ) as response,
            ):
                return Answer(response, await response.read())
        except (aiohttp.ClientError, TimeoutError):
            raise _unanswered(process) from None

    def _request(
        self,
        process: WorkerProcess,
        request: web.Request,
        method: str,
        path: str,
        body: bytes | None = None,
    ) -> Any:
        assert self._http is not None
        assert process.report is not None
        url = URL(f"http://127.0.0.1:{process.report.ops_port}{path}", encoded=True)
        headers = [
            (name, value) for name, value in request.headers.items() if name.lower() not in _HOP
        ]
        return self._http.request(
            method,
            url,
            headers=headers,
            data=body,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=ANSWER_SECONDS),
        )


class _Processes:
    """The supervisor's own metrics."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    def collect(self) -> Iterator[Metric]:
        """Return the metrics as they are now."""
        processes = GaugeMetricFamily(
            "gateway_worker_processes", "Worker processes of this machine", labels=["state"]
        )
        states = [
            "draining" if process.leaving else "up" if process.state.up else "starting"
            for process in self._supervisor.processes
        ]
        for state in ("starting", "up", "draining"):
            processes.add_metric([state], states.count(state))
        yield processes
        restarts = CounterMetricFamily(
            "gateway_worker_restarts", "Restarts of workers that died", labels=["worker"]
        )
        for slot, number in enumerate(self._supervisor.restarts):
            restarts.add_metric([str(slot)], number)
        yield restarts


def _of_json(merge: Callable[[list[Any]], object]) -> Merge:
    """Return a function that merges answers by their JSON documents."""

    def merge_bodies(answers: Answers) -> bytes:
        return msgspec.json.encode(merge([msgspec.json.decode(each.body) for _, each in answers]))

    return merge_bodies


def _all_workers(fleets: list[Any]) -> object:
    newest: dict[str, dict[str, Any]] = {}
    for status in (status for fleet in fleets for status in fleet["workers"]):
        known = newest.get(status["worker"])
        if known is None or status["age_seconds"] < known["age_seconds"]:
            newest[status["worker"]] = status
    return {**fleets[0], "workers": [newest[name] for name in sorted(newest)]}


def _all_streams(found: list[Any]) -> object:
    partitions = [each["partition"] for each in found if each["partition"] is not None]
    streams = [stream for each in found for stream in each["streams"]]
    return {"partition": partitions[0] if partitions else None, "streams": streams}


def _all_ended(found: list[Any]) -> object:
    return {"ended": sum(each["ended"] for each in found)}


def _label(process: WorkerProcess) -> str:
    """Return the value of the label `worker`: the slot, which outlives the process."""
    return f"{process.slot}-draining" if process.leaving else str(process.slot)


def _unanswered(process: WorkerProcess) -> NotReady:
    return NotReady(f"worker {process.name} does not answer; see the log")
