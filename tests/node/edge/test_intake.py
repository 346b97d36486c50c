"""The intake API under requests that make no sense: one line of reason, no 5xx, no exception, and nothing lost."""

import asyncio
import hashlib
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts import events
from node.edge.intake import MAX_RECORD_BYTES, Intake
from node.edge.openapi import DOCUMENT
from tests.node.edge.world import SERVERS, TOKEN, Update, World

Request = tuple[str, str, bytes | None]

DEEP = [opening * 100_000 for opening in (b"[", b'{"a":', b"(", b"\x93", b"\x81")]


def asked(world: World, *requests: Request, member: int = 1) -> list[httpx.Response]:
    """Send requests one after the other; an exception in a handler comes out here."""
    app = Intake(world.servers[member], world.clock).app

    async def ask() -> list[httpx.Response]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server") as http:
            return [await http.request(method, path, content=content) for method, path, content in requests]

    return asyncio.run(ask())


def refused(answer: httpx.Response) -> str:
    """Return the one-line reason of a refusal."""
    assert answer.status_code in {400, 404, 422}, answer
    told = answer.json()
    assert told["status"] == "refused"
    reason = told["reason"]
    assert reason
    assert "\n" not in reason
    assert "Traceback" not in reason
    return str(reason)


@pytest.mark.parametrize(
    ("method", "path", "words"),
    [
        ("GET", "/v1/jobs/one", "job is a whole number"),
        ("GET", "/v1/jobs/-1", "job is a whole number"),
        ("GET", "/v1/jobs/\N{FULLWIDTH DIGIT ONE}", "job is a whole number"),
        ("GET", "/v1/jobs/" + "9" * 5000, "job is a whole number"),
        ("GET", "/v1/jobs/7", "no job 7 on this ledger"),
        ("GET", "/v1/jobs/1?after=x", "after is a whole number"),
        ("GET", "/v1/jobs/1?wait=nan", "wait is a number of seconds"),
        ("GET", "/v1/jobs/1?wait=inf", "wait is a number of seconds"),
        ("GET", "/v1/jobs/1?wait=soon", "wait is a number of seconds"),
        ("GET", "/v1/jobs/1/models/9", "version 9 is not decided yet"),
        ("GET", "/v1/jobs/1/clients/x", "client is a whole number"),
        ("GET", "/v1/members/0x12", "an address is 40 hexadecimal digits"),
        ("GET", "/v1/members/" + "00" * 20, "no member has this address"),
        ("GET", "/v1/jobs/1/clients/5/records/ab", "a digest is a SHA-256"),
        ("GET", f"/v1/jobs/1/clients/5/records/{'ab' * 32}?until=later", "until is one of settled, recorded"),
        ("GET", "/v1/blobs/" + "AB" * 32, "a digest is a SHA-256"),
        ("GET", "/v1/blobs/" + "ab" * 32, "is not in this store"),
        ("PUT", "/v1/blobs/%2E%2E%5C", "a digest is a SHA-256"),
        ("PUT", "/v1/blobs/" + "ab" * 32, "the bytes do not hash to the name"),
        ("POST", "/v1/records", "is cut short"),
    ],
)
def test_a_request_that_makes_no_sense_is_answered_with_one_line(
    world: World, method: str, path: str, words: str
) -> None:
    (answer,) = asked(world, (method, path, None if method == "GET" else b""))
    assert words in refused(answer)


def test_a_blob_damaged_on_disk_is_not_served(world: World) -> None:
    digest = world.log().terms.model
    world.stores[1].path(digest).write_bytes(b"damaged")
    (answer,) = asked(world, ("GET", f"/v1/blobs/{digest.hex()}", None))
    assert "does not hash to its name" in refused(answer)


@pytest.mark.parametrize("body", DEEP)
def test_deep_nesting_is_no_record_and_no_blob(world: World, body: bytes) -> None:
    digest = hashlib.sha256(body).hexdigest()
    record, blob, other = asked(
        world,
        ("POST", "/v1/records", body),
        ("PUT", f"/v1/blobs/{digest}", body),
        ("POST", "/v1/records", body[:MAX_RECORD_BYTES]),
    )
    assert refused(record) == f"more than {MAX_RECORD_BYTES} bytes"
    assert "no final record names this blob" in refused(blob)
    assert refused(other)
    assert sum(world.servers[1].refusals.values()) == 2


def test_an_upload_without_end_is_refused_before_all_of_it_is_here(world: World) -> None:
    app = Intake(world.servers[1], world.clock).app
    sent = 0

    async def endless() -> Any:
        nonlocal sent
        while True:
            sent += 1
            yield bytes(MAX_RECORD_BYTES)

    async def post() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server") as http:
            return await http.post("/v1/records", content=endless())

    assert refused(asyncio.run(post())) == f"more than {MAX_RECORD_BYTES} bytes"
    assert sent <= 3


def test_a_client_that_goes_away_amid_its_upload_raises_nothing(world: World) -> None:
    app = Intake(world.servers[1], world.clock).app
    messages = [
        {"type": "http.request", "body": b"half", "more_body": True},
        {"type": "http.disconnect"},
    ]
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/records",
        "raw_path": b"/v1/records",
        "query_string": b"",
        "headers": [],
        "http_version": "1.1",
        "scheme": "http",
        "server": ("server", 80),
    }
    answered: list[Any] = []

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        answered.append(message)

    asyncio.run(app(scope, receive, send))
    assert answered[0]["status"] == 400


def test_the_waiting_requests_answer_when_their_time_is_over(world: World) -> None:
    digest = world.contribute(1)[0].digest.hex()
    began = world.clock.monotonic()
    job, record = asked(
        world,
        ("GET", "/v1/jobs/1?after=0&wait=9999999", None),
        ("GET", f"/v1/jobs/1/clients/5/records/{digest}?wait=5", None),
    )
    assert (job.json()["version"], record.json()["status"]) == (0, "held")
    assert 35 <= world.clock.monotonic() - began < 36


def test_the_openapi_document_names_every_route(world: World) -> None:
    app = Intake(world.servers[1], world.clock).app
    served = {(route.path, method.lower()) for route in app.routes for method in route.methods}  # type: ignore[attr-defined]
    documented = {(path, method) for path, methods in DOCUMENT["paths"].items() for method in methods}  # type: ignore[attr-defined]
    assert {pair for pair in served if pair[1] != "head"} == documented | {("/openapi.json", "get")}


def mutations(whole: bytes) -> st.SearchStrategy[bytes]:
    """Give bytes near `whole`: cut, doubled, bits flipped, a stretch replaced."""
    places = st.integers(0, len(whole) - 1)

    def flip(at: int, bit: int) -> bytes:
        return whole[:at] + bytes([whole[at] ^ (1 << bit)]) + whole[at + 1 :]

    def splice(at: int, gone: int, noise: bytes) -> bytes:
        return whole[:at] + noise + whole[at + gone :]

    return st.one_of(
        places.map(lambda at: whole[:at]),
        st.builds(flip, places, st.integers(0, 7)),
        st.builds(flip, st.integers(0, 97), st.integers(0, 7)),
        st.builds(splice, places, st.integers(0, 64), st.binary(max_size=64)),
        st.just(whole + whole),
    )


def test_garbled_requests_get_no_5xx_and_raise_nothing_and_honest_updates_still_get_through(world: World) -> None:
    honest = [world.update(1), world.update(2)]
    recorded: Update = world.update(3, header={"base": 5})
    world.offer(recorded)
    world.step()
    world.step()
    app = Intake(world.servers[1], world.clock).app
    digests = st.sampled_from([update.digest.hex() for update in (*honest, recorded)]) | st.text("0123456789abcdef")
    bodies = st.one_of(
        st.binary(max_size=200),
        st.sampled_from(DEEP),
        mutations(world.update(4).signed.encode()),
        mutations(recorded.blob),
        st.just(recorded.blob),
    )
    values = st.one_of(st.integers().map(str), st.floats().map(str), st.text(max_size=8))
    queries: st.SearchStrategy[dict[str, str]] = st.dictionaries(
        st.sampled_from(["wait", "after", "until"]), values, max_size=3
    )

    def get(path: str, query: dict[str, str]) -> Request:
        return "GET", str(httpx.URL("http://server" + path, params=query)), None

    segments = st.sampled_from(["1", "0", "99", "5"]) | values.map(lambda text: str(httpx.QueryParams({"": text}))[1:])
    gets = st.one_of(
        st.builds(lambda job, query: get(f"/v1/jobs/{job}", query), segments, queries),
        st.builds(lambda job, version: get(f"/v1/jobs/{job}/models/{version}", {}), segments, segments),
        st.builds(
            lambda job, client, digest, query: get(f"/v1/jobs/{job}/clients/{client}/records/{digest}", query),
            segments, segments, digests, queries,
        ),
        st.builds(lambda address: get(f"/v1/members/{address}", {}), segments | digests),
        st.builds(lambda digest: get(f"/v1/blobs/{digest}", {}), digests),
    )  # fmt: skip
    requests: st.SearchStrategy[Request] = st.one_of(
        bodies.map(lambda body: ("POST", "/v1/records", body)),
        bodies.map(lambda body: ("PUT", f"/v1/blobs/{hashlib.sha256(body).hexdigest()}", body)),
        st.builds(lambda digest, body: ("PUT", f"/v1/blobs/{digest}", body), digests, bodies),
        st.builds(lambda method, body: (method, "/v1/records", body), st.sampled_from(["GET", "PUT", "PATCH"]), bodies),
        gets,
    )

    async def send(method: str, path: str, content: bytes | None) -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server") as http:
            return await http.request(method, path, content=content)

    with asyncio.Runner() as runner:

        @settings(max_examples=300)
        @given(requests)
        def answered(request: Request) -> None:
            answer = runner.run(send(*request))
            assert answer.status_code < 500
            assert b"Traceback" not in answer.content

        answered()

    assert world.servers[1].refusals
    world.deliver(*honest)
    world.run()
    assert world.outcomes[0].agreed
    assert [event.client for event in world.events(events.Credited)] == [SERVERS + 1, SERVERS + 2]
    assert sum(event.reward for event in world.events(events.Credited)) == 10 * TOKEN
