"""Manifests that no cluster has run: schemas, exit codes, and the tools' own checks."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from likewise.errors import ExitCode
from likewise.runner import STAGES

INFRA = Path(__file__).resolve().parents[2] / "infra"
FINAL = {ExitCode.USAGE, ExitCode.CREDENTIALS, ExitCode.FINGERPRINT}
"""What asking again cannot mend."""


def _documents() -> list[dict[str, Any]]:
    files = sorted((INFRA / "kubernetes").glob("*.yaml"))
    found = [d for f in files for d in yaml.safe_load_all(f.read_text(encoding="utf-8"))]
    return [d for d in found if d["kind"] != "Kustomization"]


def _pods() -> list[tuple[str, dict[str, Any]]]:
    pods = []
    for document in _documents():
        spec = document.get("spec", {})
        job = spec.get("jobTemplate", {}).get("spec", spec)
        if "template" in job:
            pods.append((document["metadata"]["name"], job))
    return pods


@pytest.mark.parametrize(
    "document", _documents(), ids=lambda d: f"{d['kind']}-{d['metadata']['name']}"
)
def test_each_document_is_valid_and_of_a_kind_that_was_checked(document: dict[str, Any]) -> None:
    # kubernetes-validate only warns about kinds without a schema; the error filter makes it fail.
    kubernetes_validate.validate(document, "1.30", strict=True)


def test_kustomize_names_every_file() -> None:
    text = (INFRA / "kubernetes" / "kustomization.yaml").read_text(encoding="utf-8")
    named = set(yaml.safe_load(text)["resources"])
    assert named == {f.name for f in (INFRA / "kubernetes").glob("*.yaml")} - {"kustomization.yaml"}


def test_the_night_is_neither_doubled_nor_silently_skipped() -> None:
    (cron,) = [d for d in _documents() if d["kind"] == "CronJob"]
    spec = cron["spec"]
    assert spec["concurrencyPolicy"] == "Forbid"  # an enum that the schema does not check
    assert spec["startingDeadlineSeconds"] > 600
    job = spec["jobTemplate"]["spec"]
    assert job["activeDeadlineSeconds"] < 86400
    assert job["template"]["spec"]["restartPolicy"] == "Never"  # podFailurePolicy demands it


@pytest.mark.parametrize(("name", "job"), _pods(), ids=lambda x: x if isinstance(x, str) else "")
def test_failures_are_handled_by_exit_code(name: str, job: dict[str, Any]) -> None:
    containers = {c["name"] for c in job["template"]["spec"]["containers"]}
    by_action: dict[str, set[int]] = {}
    for rule in job["podFailurePolicy"]["rules"]:
        assert rule["action"] in {"Ignore", "FailJob", "Count"}
        if "onExitCodes" in rule:
            assert rule["onExitCodes"]["containerName"] in containers
            assert rule["onExitCodes"]["operator"] in {"In", "NotIn"}
            by_action.setdefault(rule["action"], set()).update(rule["onExitCodes"]["values"])
    assert by_action["FailJob"] == {int(code) for code in FINAL}
    if name == "likewise-night":  # every code of the contract is spoken of
        said = by_action["FailJob"] | by_action["Count"] | {0}
        assert said == {int(code) for code in ExitCode}


@pytest.mark.parametrize(("name", "job"), _pods(), ids=lambda x: x if isinstance(x, str) else "")
def test_pods_run_without_rights_and_within_limits(name: str, job: dict[str, Any]) -> None:
    pod = job["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["terminationGracePeriodSeconds"] >= 10  # likewise needs up to 10 s
    for container in pod["containers"]:
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"]["drop"] == ["ALL"]
        assert "memory" in container["resources"]["limits"]
        mounts = {m["name"] for m in container["volumeMounts"]}
        assert mounts <= {volume["name"] for volume in pod["volumes"]}
        for variable in container.get("env", []):
            assert not re.search(r"(?i)secret|token|password|key", variable["name"])


def test_systemd_knows_the_same_final_codes_and_makes_up_a_missed_night() -> None:
    service = (INFRA / "systemd" / "likewise@.service").read_text(encoding="utf-8")
    final = re.search(r"^RestartPreventExitStatus=(.*)$", service, re.M)
    assert final is not None
    assert {int(code) for code in final[1].split()} == {int(code) for code in FINAL}
    timer = (INFRA / "systemd" / "likewise@.timer").read_text(encoding="utf-8")
    assert "Persistent=true" in timer


def test_the_dag_has_the_stages_of_run_and_the_final_codes() -> None:
    tree = ast.parse((INFRA / "airflow" / "likewise_night.py").read_text(encoding="utf-8"))
    constants = {
        target.id: ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name) and target.id in {"STAGES", "FINAL", "PARTIAL"}
    }
    assert constants["STAGES"] == STAGES
    assert set(constants["FINAL"]) == {int(code) for code in FINAL}
    assert constants["PARTIAL"] == ExitCode.PARTIAL


def _tool(*command: str) -> subprocess.CompletedProcess[str]:
    # hadolint comes as a Python package: its program lies beside this interpreter.
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    tool = shutil.which(command[0], path=path)
    if tool is None:
        pytest.skip(f"{command[0]} is not installed")
    return subprocess.run(
        (tool, *command[1:]), capture_output=True, text=True, check=False, cwd=INFRA
    )


@pytest.mark.parametrize(
    "command",
    [
        ("promtool", "check", "rules", "alarms/rules.yml"),
        ("promtool", "test", "rules", "alarms/rules_test.yml"),
        ("promtool", "check", "config", "alarms/prometheus.yml"),
        ("amtool", "check-config", "alarms/alertmanager.yml"),
        ("hadolint", "Dockerfile"),
    ],
    ids=" ".join,
)
def test_the_tools_own_checks_pass(command: tuple[str, ...]) -> None:
    done = _tool(*command)
    assert done.returncode == 0, done.stdout + done.stderr


def test_systemd_verifies_the_units() -> None:
    done = _tool(
        "systemd-analyze", "verify", "systemd/likewise@.service", "systemd/likewise@.timer"
    )
    # The command is installed where the service runs, not here: that one line is expected.
    rest = [line for line in done.stderr.splitlines() if "is not executable" not in line]
    assert rest == []
