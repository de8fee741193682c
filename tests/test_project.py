"""Guards around the code: locks, packaging, documents. What they protect breaks silently otherwise."""

import ast
import importlib.metadata
import importlib.resources
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import cdshooks

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LOCKS = ("requirements.txt", "requirements-dev.txt", "requirements-build.txt")
# Loaded by release; its script is served, its Python is not; by SQLAlchemy; by zoneinfo.
NOT_IMPORTED_BY_NAME = {"fhir-resources", "plotly", "psycopg", "tzdata"}


def repository_files() -> list[Path]:
    """Every file that is, or is about to be, under version control, relative to the root."""
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listing, cwd=ROOT, capture_output=True, check=True, text=True).stdout.split("\0")
    return [Path(name) for name in names if name and (ROOT / name).is_file()]


def normal_name(requirement: str) -> str:
    """`fhir.resources>=8.0` and `Fhir_Resources[xml]==8.1` are the same project: `fhir-resources`."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\s<>=!~;\[]", requirement)[0]).lower()


def locked(lock: str) -> dict[str, str]:
    """Project -> its block in a lock file."""
    text = (ROOT / lock).read_text(encoding="utf-8")
    blocks = re.findall(r"^[A-Za-z0-9].*(?:\n[ \t]+.*)*", text, re.MULTILINE)
    return {normal_name(block): block for block in blocks}


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_pins_every_package_by_hash(lock: str) -> None:
    blocks = locked(lock)
    assert blocks
    for name, block in blocks.items():
        assert re.match(r"\S+==\S+", block), f"{lock}: {name} is not pinned"
        assert "--hash=sha256:" in block, f"{lock}: {name} has no hash"


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_no_place_to_fetch_from(lock: str) -> None:
    text = (ROOT / lock).read_text(encoding="utf-8")
    for word in ("://", "index-url", "find-links", "trusted-host", "@ file"):
        assert word not in text, f"{lock} names a host or folder ({word}): make it again with `make lock`"


def test_the_locks_hold_what_pyproject_asks_for() -> None:
    runtime = {normal_name(requirement) for requirement in PROJECT["dependencies"]}
    development = {normal_name(requirement) for requirement in PROJECT["optional-dependencies"]["dev"]}
    assert runtime <= locked("requirements.txt").keys()
    assert runtime | development <= locked("requirements-dev.txt").keys()


def test_both_locks_agree_on_versions() -> None:
    def versions(lock: str) -> dict[str, str]:
        return {name: block.split()[0].partition("==")[2] for name, block in locked(lock).items()}

    assert versions("requirements.txt").items() <= versions("requirements-dev.txt").items()


def test_declared_dependencies_are_exactly_the_imported_ones() -> None:
    imported: set[str] = set()
    for path in (ROOT / "cdshooks").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imported.add(node.module.partition(".")[0])
    owners = importlib.metadata.packages_distributions()
    foreign = imported - set(sys.stdlib_module_names) - {"cdshooks", "_typeshed"}
    needed = {normal_name(owners[module][0]) for module in foreign}
    declared = {normal_name(requirement) for requirement in PROJECT["dependencies"]}
    assert needed | NOT_IMPORTED_BY_NAME == declared


def test_no_file_names_a_folder_of_one_machine_or_a_package_index() -> None:
    place = re.compile(rb"(?<![\w.:/>-])/(?:home|Users|root|work|tmp)/\w|[A-Z]:\\Users\\|pypi\.org|pythonhosted\.org")
    found = {str(path): match[0] for path in repository_files() if (match := place.search((ROOT / path).read_bytes()))}
    assert found == {}


def test_the_data_is_found_through_the_package() -> None:
    folder = importlib.resources.files("cdshooks.mappings")
    data = [path.relative_to("mappings") for path in repository_files() if path.parts[0] == "mappings"]
    assert any(path.suffix == ".csv" for path in data)
    for path in data:
        assert folder.joinpath(*path.parts).is_file(), f"mappings/{path} is not part of the package"


def test_the_wheel_holds_the_code_and_all_data(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for path in repository_files():
        if path.parts[0] in ("cdshooks", "mappings", "pyproject.toml", "README.md"):
            (source / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / path, source / path)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    subprocess.run([*build, str(tmp_path), str(source)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    wanted = {path.as_posix() for path in repository_files() if path.parts[0] == "cdshooks"}
    wanted |= {f"cdshooks/{path.as_posix()}" for path in repository_files() if path.parts[0] == "mappings"}
    assert held == wanted


def test_the_readme_shows_the_three_steps() -> None:
    opening = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()[:15]
    commands = [line.split("#")[0].strip() for line in opening]
    for command in ("make setup", "make demo", "make test"):
        assert command in commands


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_documents_name_only_what_exists(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"(?:`|^ *)make ([a-z-]+)", text, re.MULTILINE))
    assert named
    assert named <= targets
    links = {link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link}
    paths = set(re.findall(r"`((?:cdshooks|mappings|tests|docs|bench)/[\w/.-]*)`", text))
    missing = {name for name in links | paths if not (ROOT / name).exists()}
    assert missing == set()


def test_the_changelog_opens_with_this_version() -> None:
    versions = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert versions[0] == cdshooks.__version__


def test_continuous_integration_runs_the_test_command_of_the_readme() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert script.read_text(encoding="utf-8").splitlines()[-1].removeprefix("exec ") == "make test"
