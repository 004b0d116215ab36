"""The OpenAPI description is whole, needs nothing from elsewhere, and tells what the service really does."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import CHECKS, load_all_checks

from mien.apps.service.app import create_app
from mien.config import ServeConfig

load_all_checks()

TOKEN = "a-token"
HEADERS = {"Authorization": f"Bearer {TOKEN}", "Host": "localhost"}


@pytest.fixture(scope="module")
def app(bundled):
    app = create_app(bundled, ServeConfig(workers=1, upload_seconds=5), token=TOKEN)
    yield app
    app.state.service.engine.close()


@pytest.fixture
def description(shared_server) -> dict:
    return shared_server.get("/openapi.json").json()


def test_it_needs_nothing_from_elsewhere(description):
    text = json.dumps(description)
    assert "http://" not in text
    assert "https://" not in text
    assert "servers" not in description

    def references(node):
        if isinstance(node, dict):
            yield from [node["$ref"]] if "$ref" in node else []
            node = list(node.values())
        if isinstance(node, list):
            for one in node:
                yield from references(one)

    names = set(references(description))
    assert names
    for name in names:
        assert name.startswith("#/components/schemas/")
        assert name.rpartition("/")[2] in description["components"]["schemas"]


def test_it_tells_of_every_route_and_its_refusals(description):
    assert set(description["paths"]) == {
        "/v1/model",
        "/v1/predict",
        "/v1/predict/video",
        "/healthz",
        "/metrics",
    }
    for path in ("/v1/predict", "/v1/predict/video"):
        answers = description["paths"][path]["post"]["responses"]
        assert {"200", "400", "401", "403", "408", "413", "415", "422", "429", "503"} <= set(answers)
        for status, answer in answers.items():
            if status != "200":
                schema = answer["content"]["application/json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/ErrorAnswer"}, (path, status)


def test_the_model_answer_is_the_card_and_the_limits(shared_server, bundled):
    body = shared_server.get("/v1/model").json()
    card, config = bundled.card, shared_server.service.config
    assert body["card"] == json.loads(card.to_json())
    assert body["model"]["labels"] == list(card.labels)
    assert body["model"]["views"]["all"] == list(card.labels)
    assert body["model"]["views"]["7"] == list(card.view("7"))
    assert body["model"]["prior"] == dict(card.prior)
    assert body["model"]["abstain_threshold"] == card.abstain_threshold
    assert body["limits"]["deadline_seconds"] == config.deadline
    for name in body["limits"].keys() - {"deadline_seconds"}:
        assert body["limits"][name] == getattr(config, name)


LEFT_OUT = {
    "positive_data_acceptance": "bytes that are no picture fit `format: binary`, and are refused",
}


def check_case(app, case):
    response = case.call(headers=HEADERS)
    case.validate_response(
        response, excluded_checks=[check for check in CHECKS.get_all() if check.__name__ in LEFT_OUT]
    )


def schema_of(app):
    async def lasting(scope, receive, send):
        # Each of schemathesis' calls would start the application and stop it for good.
        if scope["type"] != "lifespan":
            await app(scope, receive, send)
            return
        for kind in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{kind}.complete"})

    return schemathesis.openapi.from_asgi("/openapi.json", lasting, headers=HEADERS)


def explore(app, examples: int) -> int:
    """Check the answers to drawn requests; how many there were."""
    seen = 0
    for operation in schema_of(app).get_all_operations():

        @settings(
            max_examples=examples,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.ok().as_strategy())
        def run(case):
            nonlocal seen
            seen += 1
            check_case(app, case)

        run()
    return seen


def test_what_it_describes_is_what_happens(app):
    assert explore(app, 100) > 150


@pytest.mark.parametrize(
    "examples",
    [20, pytest.param(2000, marks=[pytest.mark.soak, pytest.mark.timeout(3600)])],
)
def test_all_of_schemathesis_runs_clean_on_a_real_server(shared_server, tmp_path, examples):
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", "--no-color", "--continue-on-failure"),
            *("--seed", "1", "--max-examples", str(examples), "--generation-database", "none"),
            *("--exclude-checks", ",".join(LEFT_OUT)),
            f"http://127.0.0.1:{shared_server.port}/openapi.json",
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "5 selected" in done.stdout
    shared_server.idle()


def test_an_answer_fits_the_description(app, face_jpeg):
    """A picture with a face: what drawn bytes never are."""
    operation = schema_of(app)["/v1/predict"]["POST"]
    case = operation.Case(body=face_jpeg, media_type="image/jpeg", query={"view": "7"})
    response = case.call(headers=HEADERS)
    assert response.status_code == 200
    assert response.json()["pictures"][0]["faces"]
    case.validate_response(response)
