"""Cards drawn in the terminal, and the exit code of `check`."""

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from rich.console import Console

from cdshooks.service import terminal
from cdshooks.service.config import Settings
from cdshooks.service.demo import TODAY, read_patients

SETTINGS = Settings(today=TODAY)
REQUESTS = {patient.key[:2]: patient.request for patient in read_patients()}
SILENT, WARNING, CRITICAL, TWO_CARDS = "10", "02", "05", "04"
Written = Callable[[str], str]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """Writes the request of a sample patient to a file."""

    def write(number: str) -> str:
        path = tmp_path / f"{number}.json"
        path.write_bytes(orjson.dumps(REQUESTS[number]))
        return str(path)

    return write


def drawn(answers: list[tuple[str, list[terminal.Card]]], **options: Any) -> str:
    console = Console(file=io.StringIO(), width=80, **options)
    terminal.draw(answers, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def cards_of(number: str, capsys: pytest.CaptureFixture[str], written: Written) -> list[terminal.Card]:
    terminal.check([written(number)], as_json=True, settings=SETTINGS)
    cards: list[terminal.Card] = orjson.loads(capsys.readouterr().out)[0]["cards"]
    return cards


@pytest.mark.parametrize(("number", "code"), [(SILENT, 0), (WARNING, 0), (CRITICAL, 1)])
def test_exit_code_tells_whether_a_card_is_critical(number: str, code: int, written: Written) -> None:
    assert terminal.check([written(number)], as_json=False, settings=SETTINGS) == code


def test_one_critical_card_among_several_files_is_enough(written: Written) -> None:
    files = [written(CRITICAL), written(SILENT)]
    assert terminal.check(files, as_json=False, settings=SETTINGS) == 1


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"no json", "not JSON"),
        (b"[]", "must be a JSON object"),
        (b"{}", "hook is missing"),
        (b'{"hook": "encounter-start", "hookInstance": "1", "context": {}}', "no service answers this hook"),
        (b'{"hook": "order-sign", "hookInstance": "1", "context": {}}', "context.patientId is missing"),
        (None, "cannot be read"),
    ],
)
def test_what_cannot_be_judged_is_named_and_the_other_files_are_judged(
    body: bytes | None, says: str, tmp_path: Path, written: Written, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.json"
    if body is not None:
        bad.write_bytes(body)
    assert terminal.check([str(bad), written(CRITICAL)], as_json=False, settings=SETTINGS) == 2
    told = capsys.readouterr()
    assert f"{bad}: not judged: " in told.err
    assert says in told.err
    assert "CRITICAL" in told.out


def test_json_holds_the_answer_of_each_file(written: Written, capsys: pytest.CaptureFixture[str]) -> None:
    silent, critical = written(SILENT), written(CRITICAL)
    assert terminal.check([silent, critical, "absent.json"], as_json=True, settings=SETTINGS) == 2
    first, second, third = orjson.loads(capsys.readouterr().out)
    assert first == {"file": silent, "cards": []}
    assert [card["source"]["topic"]["code"] for card in second["cards"]] == ["contraindication", "interaction"]
    assert third == {"file": "absent.json", "error": "cannot be read (No such file or directory)"}


def test_a_hyphen_reads_standard_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    body = io.TextIOWrapper(io.BytesIO(orjson.dumps(REQUESTS[CRITICAL])))
    monkeypatch.setattr("sys.stdin", body)
    assert terminal.check(["-"], as_json=False, settings=SETTINGS) == 1
    assert "CRITICAL" in capsys.readouterr().out


def test_a_card_reads_well_without_colour_at_80_columns(written: Written, capsys: pytest.CaptureFixture[str]) -> None:
    cards = cards_of(TWO_CARDS, capsys, written)
    text = drawn([("heart.json", cards)])
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 80
    flat = re.sub(r"[│\s]+", " ", text)
    for card in cards:
        assert f"{card['indicator'].upper()} {card['source']['topic']['display']}" in flat
        assert card["summary"] in flat
        assert f"Source: {card['source']['label']}" in flat
        for suggestion in card.get("suggestions", ()):
            assert f"-> {suggestion['label']}" in flat
    assert "**" not in text, "Markdown is drawn, not printed"
    assert text.index("CRITICAL") < text.index("WARNING")


def test_the_indicator_has_its_colour_on_a_colour_terminal(
    written: Written, capsys: pytest.CaptureFixture[str]
) -> None:
    cards = cards_of(TWO_CARDS, capsys, written)
    text = drawn([("heart.json", cards)], force_terminal=True, color_system="standard", no_color=False)
    assert re.search(r"\x1b\[1;7;31m +CRITICAL ", text)
    assert re.search(r"\x1b\[1;7;33m +WARNING ", text)


def test_silence_is_said_under_the_name_of_its_file() -> None:
    assert drawn([("right.json", [])]).split("\n")[:2] == ["right.json", "  no cards: nothing to say"]


def test_a_file_name_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert terminal.check(["\x1b[2Jgone\x07.json"], as_json=False, settings=SETTINGS) == 2
    told = capsys.readouterr()
    assert "\x07" not in told.out + told.err
    assert "\x1b[2J" not in told.out + told.err


def test_the_sample_calls_say_what_their_table_says(capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(__file__).parents[1] / "docs" / "samples"
    table = re.findall(
        r"^\| (\d\d-\S+) \|.*\| (\w+) \|$", (folder / "README.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert [name for name, _ in table] == sorted(path.stem for path in folder.glob("*.json"))
    for name, worst in table:
        terminal.check([str(folder / f"{name}.json")], as_json=True, settings=SETTINGS)
        cards = orjson.loads(capsys.readouterr().out)[0]["cards"]
        assert cards[0]["indicator"] == worst, name


def test_a_folder_is_not_taken_for_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert terminal.check([str(tmp_path)], as_json=True, settings=SETTINGS) == 2
    assert "is a folder: name the files in it" in capsys.readouterr().out
