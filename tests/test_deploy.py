"""What deploy/ says fits together: schemas, names, hardening, settings. It is rendered where kubectl is installed."""

import importlib.metadata
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

import cdshooks
from cdshooks.service.config import load_settings

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
VERSIONS = ("1.30", "1.33", importlib.metadata.version("kubernetes-validate").rpartition(".")[0])
SECRETS = ("database", "audit-key")

Json = dict[str, Any]


def documents(text: str) -> list[Json]:
    return [document for document in yaml.safe_load_all(text) if document]


def written() -> list[Json]:
    """Every manifest as it stands in the repository."""
    listed = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text(encoding="utf-8"))["resources"]
    files = {path.name for path in KUBERNETES.glob("*.yaml")} - {"kustomization.yaml"}
    assert set(listed) == files, "every manifest is in the kustomization"
    return [one for name in listed for one in documents((KUBERNETES / name).read_text(encoding="utf-8"))]


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> list[Json]:
    """As they are sent to a cluster, with secrets made up for the test."""
    if not shutil.which("kubectl"):
        pytest.skip("kubectl is not installed on this machine: the kustomization is not rendered")
    folder = Path(shutil.copytree(KUBERNETES, tmp_path_factory.mktemp("deploy") / "kubernetes"))
    shutil.copy(DEPLOY / "cdshooks.toml", folder)
    (folder / "secrets").mkdir(exist_ok=True)
    for name in SECRETS:
        (folder / "secrets" / name).write_text("x" * 40, encoding="utf-8")
    done = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr, "nothing deprecated"
    return documents(done.stdout)


def pods(manifests: list[Json]) -> Iterator[tuple[str, Json, Json]]:
    """(kind, labels, spec) of every pod template."""
    for one in manifests:
        template = one.get("spec", {}).get("template")
        if template:
            yield one["kind"], template["metadata"]["labels"], template["spec"]


def of_kind(manifests: list[Json], kind: str) -> Json:
    (found,) = [one for one in manifests if one["kind"] == kind]
    return found


@pytest.mark.parametrize("version", VERSIONS)
def test_every_manifest_is_valid(version: str) -> None:
    for one in written():
        kubernetes_validate.validate(one, version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_rendered_is_valid(version: str, rendered: list[Json]) -> None:
    assert len(rendered) == len(written()) + 2  # settings and secrets
    for one in rendered:
        kubernetes_validate.validate(one, version, strict=True)


def test_the_check_itself_finds_a_mistake() -> None:
    broken = of_kind(written(), "PodDisruptionBudget") | {"spec": {"maxUnavailabel": 1}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, VERSIONS[-1], strict=True)


def test_pods_may_do_nothing_but_their_work() -> None:
    found = list(pods(written()))
    assert [kind for kind, _, _ in found] == ["Job", "Deployment"]
    for _, _, spec in found:
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert f"--uid {spec['securityContext']['runAsUser']} " in (ROOT / "Dockerfile").read_text(encoding="utf-8")
        for container in spec["containers"]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["requests"]
            assert container["resources"]["limits"]["memory"]
            assert all(mount["readOnly"] for mount in container["volumeMounts"])


def test_names_labels_and_ports_fit_together() -> None:
    manifests = written()
    deployment = of_kind(manifests, "Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert of_kind(manifests, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels
    service = of_kind(manifests, "Service")
    assert service["spec"]["selector"] == labels
    assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports.keys()
    assert container["args"][-1] == str(ports["http"])
    scaler = of_kind(manifests, "HorizontalPodAutoscaler")["spec"]
    assert scaler["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert scaler["minReplicas"] >= 2
    assert "replicas" not in deployment["spec"], "the autoscaler's business"
    rule = of_kind(manifests, "Ingress")["spec"]["rules"][0]["http"]
    assert {path["backend"]["service"]["name"] for path in rule["paths"]} == {service["metadata"]["name"]}
    assert not any(path["path"].startswith(("/metrics", "/health")) for path in rule["paths"])
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["port"] in ports
    assert container["readinessProbe"]["httpGet"]["path"] == "/health/ready"
    assert container["livenessProbe"]["httpGet"]["path"] == "/health/live"


def test_the_network_is_closed_but_for_what_is_named() -> None:
    policies = {one["metadata"]["name"]: one["spec"] for one in written() if one["kind"] == "NetworkPolicy"}
    closed = policies.pop("nothing-by-default")
    assert closed == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for policy in policies.values():
        for rule in [*policy.get("ingress", []), *policy.get("egress", [])]:
            assert rule["ports"]
            assert rule.get("from") or rule.get("to")


def test_settings_and_secrets_are_mounted_where_they_are_read(rendered: list[Json]) -> None:
    settings, secrets = of_kind(rendered, "ConfigMap"), of_kind(rendered, "Secret")
    assert set(secrets["data"]) == set(SECRETS)
    for _, _, spec in pods(rendered):
        sources = {volume["name"]: volume for volume in spec["volumes"]}
        assert sources["settings"]["configMap"]["name"] == settings["metadata"]["name"]
        assert sources["secrets"]["secret"]["secretName"] == secrets["metadata"]["name"]
        (container,) = spec["containers"]
        assert container["image"] == f"cdshooks:{cdshooks.__version__}"
        variables = {one["name"]: one["value"] for one in container["env"]}
        places = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert variables["CDSHOOKS_CONFIG"] == f"{places['settings']}/{next(iter(settings['data']))}"
        assert places["secrets"] == "/run/secrets"
        assert variables["CDSHOOKS_DATABASE"] == "", "else the file of the image would win over the settings"


def test_the_settings_can_be_read(tmp_path: Path) -> None:
    text = (DEPLOY / "cdshooks.toml").read_text(encoding="utf-8")
    assert set(re.findall(r"/run/secrets/([\w-]+)", text)) == set(SECRETS)
    for name in SECRETS:
        (tmp_path / name).write_text("postgresql+psycopg://cdshooks:sesame@database/cdshooks\n", encoding="utf-8")
    path = tmp_path / "cdshooks.toml"
    path.write_text(text.replace("/run/secrets", str(tmp_path)), encoding="utf-8")
    settings = load_settings(path, {"CDSHOOKS_DATABASE": ""})
    assert settings.database == "postgresql+psycopg://cdshooks:sesame@database/cdshooks"
    assert settings.audit_key
    assert settings.mode == "silent", "nothing is shown before the site has looked"
    assert settings.clients, "never open on a network"
    assert "sesame" not in repr(settings)


def compose() -> Json:
    found: Json = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text(encoding="utf-8"))
    return found


def test_compose_runs_two_replicas_behind_tls_and_publishes_nothing_else() -> None:
    services = compose()["services"]
    assert services["service"]["deploy"]["replicas"] == 2
    assert {name for name, one in services.items() if "ports" in one} == {"proxy"}
    assert services["proxy"]["ports"] == ["443:443"]
    assert services["database"]["networks"] == ["back"]
    assert compose()["networks"]["back"] == {"internal": True}
    assert services["service"]["depends_on"]["upgrade"]["condition"] == "service_completed_successfully"
    assert services["upgrade"]["command"] == ["database", "upgrade"]
    for name in ("service", "upgrade", "proxy"):
        assert services[name]["read_only"] is True
        assert services[name]["cap_drop"] == ["ALL"]
        assert services[name]["security_opt"] == ["no-new-privileges:true"]
    assert all(re.fullmatch(r"[a-z]+:\d[\w.-]+", one["image"]) for one in services.values()), "no floating tag"


def test_compose_names_only_what_it_declares() -> None:
    whole = compose()
    services = whole["services"]
    used: dict[str, set[str]] = {"secrets": set(), "networks": set(), "configs": set()}
    for one in services.values():
        used["secrets"] |= set(one.get("secrets", []))
        used["networks"] |= set(one.get("networks", []))
        used["configs"] |= {config["source"] for config in one.get("configs", [])}
        assert set(one.get("depends_on", {})) <= services.keys()
    for kind, names in used.items():
        assert names == whole[kind].keys(), kind
    for config in whole["configs"].values():
        assert (DEPLOY / "compose" / config["file"]).is_file()
    told = (DEPLOY / "README.md").read_text(encoding="utf-8")
    for secret in whole["secrets"].values():
        assert Path(secret["file"]).name in told


def test_the_proxy_settings_are_read_by_nginx(tmp_path: Path) -> None:
    nginx = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if not nginx:
        pytest.skip("nginx is not installed on this machine")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=cds.example.org",
         "-keyout", str(tmp_path / "tls-key"), "-out", str(tmp_path / "tls-certificate")],
        check=True, capture_output=True,
    )  # fmt: skip
    text = (DEPLOY / "compose" / "nginx.conf").read_text(encoding="utf-8")
    assert "access_log off;" in text
    text = text.replace("/run/secrets", str(tmp_path)).replace("/run/nginx.pid", str(tmp_path / "pid"))
    version = subprocess.run([nginx, "-v"], capture_output=True, text=True, check=True).stderr
    major, minor, patch = map(int, re.findall(r"(\d+)\.(\d+)\.(\d+)", version)[0])
    if (major, minor, patch) < (
        1,
        27,
        3,
    ):  # what an older one does not know: names looked up again, http2 on its own line
        text = text.replace("service:8000 resolve", "127.0.0.1:8000").replace("http2 on;", "")
    (tmp_path / "nginx.conf").write_text(text, encoding="utf-8")
    done = subprocess.run(
        [nginx, "-t", "-c", str(tmp_path / "nginx.conf")], capture_output=True, text=True, check=False
    )
    assert "syntax is ok" in done.stderr, done.stderr  # it may still miss folders of its own package


def test_no_secret_is_in_the_repository() -> None:
    listed = subprocess.run(["git", "ls-files", "deploy"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "secrets/" not in listed
    assert not [one for one in written() if one["kind"] == "Secret"]
