"""What is in deploy/ fits the programs that it is for."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from config.reading import load_config
from config.sections import ServerConfig
from gateway.services import services_for
from server.metrics import Metrics
from server.supervision import EngineState
from tests.harness.balancer import CONFIGURATION, find_haproxy
from tests.harness.server import PROJECT

DEPLOY = PROJECT / "deploy"
OPERATIONS = (PROJECT / "docs" / "operations.md").read_text(encoding="utf-8")


def read_yaml(path: str) -> Any:
    return yaml.safe_load((DEPLOY / path).read_text(encoding="utf-8"))


def read_all(path: str) -> list[Any]:
    return list(yaml.safe_load_all((DEPLOY / path).read_text(encoding="utf-8")))


# --- figures, alerts, dashboard


def alerts() -> list[dict[str, Any]]:
    return [rule for group in read_yaml("alerts.yml")["groups"] for rule in group["rules"]]


def dashboard_expressions() -> list[str]:
    dashboard = json.loads((DEPLOY / "grafana" / "stt.json").read_text(encoding="utf-8"))
    variables = [variable["query"]["query"] for variable in dashboard["templating"]["list"]]
    return [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])] + variables


def exported_text() -> str:
    metrics = Metrics()
    metrics.watch_engines(lambda: list(EngineState), lambda: {0: os.getpid()})
    metrics.runs("1", "base", "int8", "cpu")
    return "".join(exporter.told(None)[0].decode() for exporter in (metrics, services_for(ServerConfig()).metrics))


def names_in(expressions: list[str]) -> set[str]:
    return {name for text in expressions for name in re.findall(r"\bstt_\w+", text)}


def test_every_figure_that_alerts_and_dashboard_name_is_exported() -> None:
    named = names_in([rule["expr"] for rule in alerts()] + dashboard_expressions())
    assert len(named) > 15
    text = exported_text()
    assert not {name for name in named if not re.search(rf"^{name}[{{ ]", text, re.MULTILINE)}


def test_every_value_of_a_label_that_alerts_name_is_one_that_there_is() -> None:
    """A typo there would be an alert that never comes."""
    text = exported_text()
    found = 0
    for rule in alerts():
        for name, label, operator, values in re.findall(r'(stt_\w+)\{(\w+)(=~?)"([^"]+)"', rule["expr"]):
            for value in values.split("|") if operator == "=~" else [values]:
                assert re.search(rf'^{name}\{{[^}}]*{label}="{value}"', text, re.MULTILINE), (name, label, value)
                found += 1
    assert found >= 5


def test_every_alert_is_explained() -> None:
    for rule in alerts():
        assert f"`{rule['alert']}`" in OPERATIONS, rule["alert"]


def test_alerts_come_when_they_should() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed; apt-get install prometheus brings it")
    subprocess.run([promtool, "check", "config", DEPLOY / "prometheus.yml"], check=True)
    done = subprocess.run(
        [promtool, "test", "rules", DEPLOY / "alerts-test.yml"], capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    tried = {
        case["alertname"]
        for test in read_yaml("alerts-test.yml")["tests"]
        for case in test["alert_rule_test"]
        if case.get("exp_alerts")
    }
    assert tried == {rule["alert"] for rule in alerts()}


# --- containers


@pytest.fixture
def container() -> ServerConfig:
    return load_config(DEPLOY / "container" / "config.yaml")


def services() -> dict[str, Any]:
    return dict(read_yaml("compose.yaml")["services"])


def workloads() -> dict[str, Any]:
    documents = [one for name in ("server", "balancer", "gateway") for one in read_all(f"kubernetes/{name}.yaml")]
    return {one["metadata"]["name"]: one["spec"] for one in documents if one["kind"] == "Deployment"}


def stops_within_s(container: ServerConfig) -> float:
    """The longest that a server takes to stop."""
    return container.network.stop_delay + container.network.drain_timeout + container.model.hang_timeout


def test_whoever_stops_a_container_waits_for_its_longest_session(container: ServerConfig) -> None:
    longest_s = stops_within_s(container)
    assert container.gateway.drain_timeout >= container.network.drain_timeout
    for name in ("server", "gateway", "balancer"):
        assert int(services()[name]["stop_grace_period"].rstrip("s")) > longest_s
        assert workloads()[name]["template"]["spec"]["terminationGracePeriodSeconds"] > longest_s


def test_the_balancer_gives_a_server_as_many_sessions_as_it_has_engines(container: ServerConfig) -> None:
    (haproxy,) = workloads()["balancer"]["template"]["spec"]["containers"]
    pods = {variable["name"]: variable["value"] for variable in haproxy["env"]}
    for environment in (services()["balancer"]["environment"], pods):
        assert environment["STT_CHANNELS"] == str(container.model.channel)
        assert environment["STT_AGENT"] == str(container.agent.port)
        assert environment["STT_SERVERS"].endswith(f":{container.network.port}")
        assert environment["STT_GATEWAYS"].endswith(f":{container.gateway.port}")


def test_a_balancer_has_time_to_notice_that_a_server_stops(container: ServerConfig) -> None:
    match = re.search(r"agent-inter (\d+)s", CONFIGURATION.read_text(encoding="utf-8"))
    assert match is not None
    assert container.network.stop_delay >= 3 * int(match.group(1))


def test_a_configuration_that_is_named_is_there() -> None:
    for config in read_yaml("compose.yaml")["configs"].values():
        assert (DEPLOY / config["file"]).is_file(), config
    kustomization = read_yaml("kubernetes/kustomization.yaml")
    for resource in kustomization["resources"]:
        assert (DEPLOY / "kubernetes" / resource).is_file(), resource
    for generator in kustomization["configMapGenerator"]:
        for file in generator["files"]:
            assert (DEPLOY / "kubernetes" / file.partition("=")[2]).is_file(), file


def test_probes_ask_ports_that_are_open(container: ServerConfig) -> None:
    ports = {"speech": container.network.port, "metrics": container.metrics.port, "agent": container.agent.port}
    (pod,) = workloads()["server"]["template"]["spec"]["containers"]
    assert {port["name"]: port["containerPort"] for port in pod["ports"]} == ports
    (gateway,) = workloads()["gateway"]["template"]["spec"]["containers"]
    ports = {"http": container.gateway.port, "metrics": container.gateway.metrics_port}
    assert {port["name"]: port["containerPort"] for port in gateway["ports"]} == ports


def test_prometheus_asks_where_figures_are(container: ServerConfig) -> None:
    asked = {
        job["job_name"]: discovery["port"]
        for job in read_yaml("prometheus.yml")["scrape_configs"]
        for discovery in job.get("dns_sd_configs", [])
    }
    assert asked == {"stt-server": container.metrics.port, "stt-gateway": container.gateway.metrics_port}
    for name, port in (("server", container.metrics.port), ("gateway", container.gateway.metrics_port)):
        annotations = workloads()[name]["template"]["metadata"]["annotations"]
        assert annotations == {"prometheus.io/scrape": "true", "prometheus.io/port": str(port)}


def test_the_image_holds_all_that_server_and_gateway_import(tmp_path: Path) -> None:
    """Nothing else is on the path, so a module that .dockerignore leaves out is missed."""
    pytest.importorskip("torch")
    lines = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    for name in (line[1:] for line in lines if line.startswith("!")):
        if (PROJECT / name).is_dir():
            shutil.copytree(PROJECT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(PROJECT / name, tmp_path / name)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    code = "import tcp_server, gateway.__main__, forkserver.template, engine.main, recognizer.weights"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)


# --- HAProxy


@pytest.mark.parametrize(
    "environment", [{}, {"STT_SERVERS": "server:5000", "STT_GATEWAYS": "gateway:8000"}], ids=["addresses", "a name"]
)
def test_haproxy_takes_its_configuration_without_a_warning(environment: dict[str, str]) -> None:
    done = subprocess.run(
        [find_haproxy(), "-c", "-f", CONFIGURATION],
        env={**os.environ, **environment},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
