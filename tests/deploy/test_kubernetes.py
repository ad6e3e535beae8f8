"""The manifests: valid for the API, and true to the settings that the code reads."""

from __future__ import annotations

import re
import warnings
from typing import Any

import pytest
import yaml
from tests.deploy.compose import ROOT

from gauntlet.settings import Settings

FOLDER = ROOT / "deploy" / "kubernetes"
VERSION = "1.33"


def documents() -> list[tuple[str, dict[str, Any]]]:
    names = [*yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["resources"], "secrets.example.yaml"]
    return [
        (f"{name}: {document['kind']} {document['metadata']['name']}", document)
        for name in names
        for document in yaml.safe_load_all((FOLDER / name).read_text())
    ]


DOCUMENTS = documents()


def of(kind: str, name: str) -> dict[str, Any]:
    return next(one for _, one in DOCUMENTS if (one["kind"], one["metadata"]["name"]) == (kind, name))


@pytest.mark.parametrize("document", [one for _, one in DOCUMENTS], ids=[name for name, _ in DOCUMENTS])
def test_a_manifest_is_valid_for_the_api(document: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import kubernetes_validate

        kubernetes_validate.validate(document, VERSION, strict=True)


def pods() -> list[tuple[str, dict[str, Any]]]:
    return [
        (one["metadata"]["name"], one["spec"]["template"]["spec"])
        for _, one in DOCUMENTS
        if one["kind"] in ("Deployment", "StatefulSet")
    ]


@pytest.mark.parametrize(("name", "pod"), pods(), ids=[name for name, _ in pods()])
def test_no_pod_runs_as_root_or_writes_its_image(name: str, pod: dict[str, Any]) -> None:
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    for container in pod["containers"]:
        own = container["securityContext"]
        assert own["readOnlyRootFilesystem"] is True
        assert own["allowPrivilegeEscalation"] is False
        assert own["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["memory"]
        assert "readinessProbe" in container
        assert "livenessProbe" in container
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}


def test_services_find_the_pods_of_the_model_server() -> None:
    labels = of("Deployment", "model-server")["spec"]["template"]["metadata"]["labels"].items()
    ports = {
        port["name"] for port in of("Deployment", "model-server")["spec"]["template"]["spec"]["containers"][0]["ports"]
    }
    for kind, name, selector in (
        ("Service", "model-server", ("selector",)),
        ("Service", "model-server-admin", ("selector",)),
        ("PodDisruptionBudget", "model-server", ("selector", "matchLabels")),
        ("NetworkPolicy", "model-server", ("podSelector", "matchLabels")),
    ):
        chosen = of(kind, name)["spec"]
        for key in selector:
            chosen = chosen[key]
        assert chosen.items() <= labels, name
    for name in ("model-server", "model-server-admin"):
        assert {port["targetPort"] for port in of("Service", name)["spec"]["ports"]} <= ports
    assert of("HorizontalPodAutoscaler", "model-server")["spec"]["minReplicas"] >= 2


def test_settings_are_those_the_code_reads() -> None:
    values: dict[str, str] = of("ConfigMap", "gauntlet")["data"] | of("Secret", "gauntlet")["stringData"]
    values |= {
        each["name"]: each["value"]
        for each in of("Deployment", "model-server")["spec"]["template"]["spec"]["containers"][0]["env"]
    }
    ours = {name for name in values if name.startswith("GAUNTLET_")}
    assert ours <= {f"GAUNTLET_{name.upper()}" for name in Settings.model_fields}
    admin = of("Service", "model-server-admin")["spec"]["ports"][0]["port"]
    assert values["GAUNTLET_SERVER_ADMIN"] == f"dns:http://model-server-admin:{admin}"
    assert values["GAUNTLET_SERVER_ADMIN_LISTEN"].endswith(f":{admin}")


def test_no_secret_has_a_value() -> None:
    for name in ("gauntlet", "gauntlet-server-token"):
        assert set(of("Secret", name)["stringData"].values()) == {""}


def test_the_admin_token_is_a_file_that_can_be_replaced_for_everybody() -> None:
    """Servers and Airflow's tasks read the same mounted secret; an environment variable would need a restart."""
    place = of("ConfigMap", "gauntlet")["data"]["GAUNTLET_SERVER_TOKEN_FILE"]
    airflow = yaml.safe_load((FOLDER / "airflow-values.yaml").read_text())
    pod = of("Deployment", "model-server")["spec"]["template"]["spec"]
    for volumes, mounts in (
        (pod["volumes"], pod["containers"][0]["volumeMounts"]),
        (airflow["volumes"], airflow["volumeMounts"]),
    ):
        (volume,) = [each for each in volumes if each["name"] == "token"]
        (mount,) = [each for each in mounts if each["name"] == "token"]
        assert "subPath" not in mount, "what is mounted so is never replaced"
        assert f"{mount['mountPath']}/token" == place
        assert set(of("Secret", volume["secret"]["secretName"])["stringData"]) == {"token"}
    assert "GAUNTLET_SERVER_TOKEN" not in of("Secret", "gauntlet")["stringData"]


def test_airflow_of_the_chart_is_the_airflow_that_is_locked() -> None:
    values = yaml.safe_load((FOLDER / "airflow-values.yaml").read_text())
    locked = re.search(r"^apache-airflow==([\d.]+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert locked is not None
    assert values["airflowVersion"] == locked[1]
    tags = {image["newTag"] for image in yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["images"]}
    assert tags == {values["defaultAirflowTag"]}


def test_probes_are_routes_of_the_server() -> None:
    served = (ROOT / "include/gauntlet/serving/app.py").read_text()
    container = of("Deployment", "model-server")["spec"]["template"]["spec"]["containers"][0]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert f'"{container[probe]["httpGet"]["path"]}"' in served, probe
