"""A broken night on its way to a person: node_exporter, Prometheus, Alertmanager, a webhook.

All of them are Debian's real programs, on loopback.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

import likewise
from infra.sandbox import World, WorldSpec, running
from likewise.config import render
from likewise.errors import CredentialsError, LikewiseError, PartialError
from likewise.study import Study, write_json

INFRA = Path(__file__).resolve().parents[2] / "infra"
PROGRAMS = ("prometheus", "prometheus-alertmanager", "prometheus-node-exporter")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        not all(map(shutil.which, (*PROGRAMS, "prometheus-pushgateway"))),
        reason="apt install prometheus prometheus-alertmanager prometheus-pushgateway "
        "prometheus-node-exporter",
    ),
]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@contextlib.contextmanager
def program(*command: str, ready: str) -> Iterator[None]:
    """A server that ends with the block."""
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        until(lambda: requests.get(ready, timeout=5).ok)
        yield
    finally:
        process.terminate()
        process.wait(20)


def until(found: Callable[[], Any], seconds: float = 60) -> Any:
    """Ask again until there is an answer."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(requests.ConnectionError):
            if answer := found():
                return answer
        time.sleep(0.25)
    raise AssertionError(f"nothing within {seconds} s")


class Webhook(ThreadingHTTPServer):
    """Keeps what Alertmanager posts."""

    def __init__(self) -> None:
        self.alerts: list[dict[str, Any]] = []
        super().__init__(("127.0.0.1", 0), _Keeper)


class _Keeper(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert isinstance(self.server, Webhook)
        self.server.alerts += said["alerts"]
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Silent."""


Monitoring = tuple[str, Path, str, Webhook]


@pytest.fixture(scope="module")
def monitoring(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Monitoring]:
    """Address of Prometheus, folder of text files, address of a Pushgateway, and the webhook."""
    folder = tmp_path_factory.mktemp("monitoring")
    text = folder / "text"
    text.mkdir()
    ports = {name: free_port() for name in ("prometheus", "alert", "node", "push", "cluster")}
    hook = Webhook()
    threading.Thread(target=hook.serve_forever, daemon=True).start()
    config = yaml.safe_load((INFRA / "alarms" / "prometheus.yml").read_text(encoding="utf-8"))
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    at = {"9093": "alert", "9100": "node", "9091": "push"}
    found = json.dumps(config)
    for port, name in at.items():
        found = found.replace(f"127.0.0.1:{port}", f"127.0.0.1:{ports[name]}")
    (folder / "prometheus.yml").write_text(found, encoding="utf-8")
    shutil.copy(INFRA / "alarms" / "rules.yml", folder)
    routes = yaml.safe_load((INFRA / "alarms" / "alertmanager.yml").read_text(encoding="utf-8"))
    routes["route"] |= {"group_wait": "1s", "group_interval": "1s"}
    routes["receivers"][0]["webhook_configs"][0]["url"] = f"http://127.0.0.1:{hook.server_port}/"
    (folder / "alertmanager.yml").write_text(json.dumps(routes), encoding="utf-8")
    address = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
    with contextlib.ExitStack() as stack:
        for command, name, ready in (
            (
                ["prometheus-node-exporter", "--collector.disable-defaults",
                 "--collector.textfile", f"--collector.textfile.directory={text}"],
                "node", "/metrics",
            ),
            (["prometheus-pushgateway"], "push", "/-/ready"),
            (
                ["prometheus-alertmanager", f"--config.file={folder}/alertmanager.yml",
                 f"--storage.path={folder}/alerts",
                 "--cluster.listen-address="],
                "alert", "/-/ready",
            ),
            (
                ["prometheus", f"--config.file={folder}/prometheus.yml",
                 f"--storage.tsdb.path={folder}/series"],
                "prometheus", "/-/ready",
            ),
        ):  # fmt: skip
            listen = f"--web.listen-address=127.0.0.1:{ports[name]}"
            stack.enter_context(program(*command, listen, ready=address[name] + ready))
        yield address["prometheus"], text, address["push"], hook
    hook.shutdown()
    hook.server_close()


@pytest.fixture(scope="module")
def study(monitoring: Monitoring, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Study]:
    """A study of the sandbox, run until its labels, that tells both places."""
    folder = tmp_path_factory.mktemp("studies") / "study"
    folder.mkdir()
    _, text, push, _ = monitoring
    with running(World(WorldSpec(seed=3, authors=60, posts=200))) as sandbox:
        sandbox.limiter.enabled = False
        source = {"platform": "mastodon", "host": sandbox.url, "permission": "a test",
                  "tags": ["photo"]}  # fmt: skip
        values = {
            "collect": {"sources": [source]},
            "download": {"allow_hosts": ["127.0.0.1"]},
            "faces": {"detector": "none"},
            "label": {"require_faces": False},
            "monitor": {"textfile": str(text), "pushgateway": push},
        }
        (folder / "likewise.toml").write_text(render(values), encoding="utf-8")
        found = Study.open(folder)
        run(found)
        yield found


def run(study: Study) -> LikewiseError | None:
    try:
        likewise.run(study, until="label")
    except PartialError:
        return None
    except LikewiseError as error:
        return error
    return None


def answers(prometheus: str, query: str) -> list[dict[str, Any]]:
    said = requests.get(f"{prometheus}/api/v1/query", {"query": query}, timeout=10).json()
    assert said["status"] == "success", said
    found: list[dict[str, Any]] = said["data"]["result"]
    return found


def test_both_ways_reach_prometheus(monitoring: Monitoring, study: Study) -> None:
    prometheus = monitoring[0]
    query = "likewise_last_success_timestamp_seconds"
    found = until(lambda: len(answers(prometheus, query)) == 2 and answers(prometheus, query))
    assert {one["metric"]["job"] for one in found} == {"node", "likewise"}
    assert {one["metric"]["study"] for one in found} == {str(study.root)}
    rows = until(lambda: answers(prometheus, 'likewise_items_new{stage="collect",job="node"}'))
    assert int(rows[0]["value"][1]) == study.require("posts").rows


def test_every_query_of_the_dashboard_is_answered(monitoring: Monitoring, study: Study) -> None:
    """No Grafana is to be had here: its queries are asked as it would ask them."""
    board = json.loads((INFRA / "alarms" / "dashboard.json").read_text(encoding="utf-8"))
    queries = {
        target["expr"]: panel["title"] for panel in board["panels"] for target in panel["targets"]
    }
    assert len(queries) == len(board["panels"]) == 12
    for query, title in queries.items():
        filled = query.replace("$study", ".*")
        if "token_expiry" in query:  # this study needs no token: the query is right and empty
            assert answers(monitoring[0], filled) == []
            continue
        assert until(lambda q=filled: answers(monitoring[0], q)), title  # type: ignore[misc]


def test_a_broken_night_reaches_the_webhook(
    monitoring: Monitoring, study: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    prometheus, *_, hook = monitoring
    seen = json.loads((study.root / "observed.json").read_text(encoding="utf-8"))
    seen["last_success"] = time.time() - 27 * 3600  # the night before the last one
    write_json(study.root / "observed.json", seen)
    config = (study.root / "likewise.toml").read_text(encoding="utf-8")
    broken = config.replace('platform = "mastodon"', 'platform = "flickr"')  # has no key: code 4
    (study.root / "likewise.toml").write_text(broken, encoding="utf-8")
    again = Study.open(study.root)
    assert isinstance(run(again), CredentialsError)
    found = until(lambda: answers(prometheus, "likewise_last_exit_code == 4"))
    assert found[0]["metric"]["study"] == str(study.root)
    alerts = until(lambda: [a for a in hook.alerts if a["status"] == "firing"])
    assert {a["labels"]["alertname"] for a in alerts} == {"LikewiseNoSuccess"}
    assert alerts[0]["labels"]["severity"] == "page"
    assert alerts[0]["annotations"]["summary"].startswith(f"{study.root}: no night has succeeded")
    with capsys.disabled():
        print("\nwebhook:", json.dumps(alerts[0], indent=1))
    (study.root / "likewise.toml").write_text(config, encoding="utf-8")
    assert run(Study.open(study.root)) is None
    until(lambda: any(a["status"] == "resolved" for a in hook.alerts), 120)
    assert os.fspath(study.root) in hook.alerts[-1]["annotations"]["summary"]
