"""REST keeps what its OpenAPI document promises, whatever is sent."""

from __future__ import annotations

import json
from typing import Any

import hypothesis
import pytest
import schemathesis
from page_server import Running
from schemathesis import checks

from likewise.study import Study

EXPECTED = {
    "/api/v1/rankings",
    "/api/v1/rankings/counts",
    "/api/v1/rankings/export",
    "/api/v1/pictures/{picture_id}",
    "/api/v1/pictures/{picture_id}/neighbours",
    "/api/v1/runs",
    "/api/v1/snapshot",
    "/healthz",
    "/readyz",
    "/metrics",
}


def document(server: Running) -> dict[str, Any]:
    with server.client() as client:
        found: dict[str, Any] = client.get("/api/v1/openapi.json").json()
    return found


def test_the_document_is_openapi_3_1_and_names_every_answer(server: Running) -> None:
    found = document(server)
    assert found["openapi"].startswith("3.1")
    assert set(found["paths"]) >= EXPECTED
    for path, methods in found["paths"].items():
        for method, operation in methods.items():
            if path.startswith("/api/"):
                assert {"403", "422"} <= set(operation["responses"]), (method, path)


PROMISED = (
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
)


def schema_of(server: Running, path: str | None = None) -> Any:
    raw = document(server)
    for name in [one for one in raw["paths"] if one.endswith("/events") or one == "/api/v1/forget"]:
        del raw["paths"][name]  # a stream without end; and what would delete the study's people
    if path is not None:
        raw["paths"] = {path: raw["paths"][path]}
    return schemathesis.openapi.from_dict(raw)


def run(server: Running, examples: int, path: str | None = None) -> None:
    """Call every operation with generated values: no 5xx, no undocumented answer."""
    for result in schema_of(server, path).get_all_operations():

        @hypothesis.settings(
            max_examples=examples,
            deadline=None,
            database=None,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(case=result.ok().as_strategy())
        def calls(case: Any) -> None:
            answer = case.call(base_url=server.url)
            case.validate_response(answer, checks=PROMISED)

        calls()


@pytest.mark.parametrize("path", ["/api/v1/rankings", "/api/v1/pictures/{picture_id}"])
def test_generated_requests_get_documented_answers(server: Running, path: str) -> None:
    run(server, 8, path)


@pytest.mark.slow
def test_every_operation_gets_documented_answers(server: Running) -> None:
    run(server, 60)


@pytest.mark.slow
def test_chains_of_requests_get_documented_answers(server: Running) -> None:
    """Stateful: what one answer holds is sent on in the next request."""
    schema = schema_of(server)
    schema.config.update(base_url=server.url)

    class Machine(schema.as_state_machine()):  # type: ignore[misc]
        def validate_response(self, response: Any, case: Any, *_: Any, **__: Any) -> None:
            case.validate_response(response, checks=PROMISED)

    settings = hypothesis.settings(
        max_examples=20,
        stateful_step_count=6,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    Machine.run(settings=settings)


def test_pages_answer_what_links_give(server: Running, ranked_study: Study) -> None:
    """A walk from answer to answer: list, picture, its neighbours, theirs, counts, export."""
    with server.client() as client:
        seen = set()
        page = client.get("/api/v1/rankings", params={"limit": 3}).json()
        waiting = [one["id"] for one in page["items"]]
        while waiting and len(seen) < 12:
            picture = waiting.pop()
            seen.add(picture)
            found = client.get(f"/api/v1/pictures/{picture}")
            assert found.status_code == 200 and found.json()["id"] == picture
            near = client.get(f"/api/v1/pictures/{picture}/neighbours", params={"k": 3}).json()
            waiting += [
                one["picture"]["id"] for one in near["items"] if one["picture"]["id"] not in seen
            ]
        assert len(seen) == 12
        assert json.loads(client.get("/api/v1/runs").text)["nights"][0]["night"] == 1
