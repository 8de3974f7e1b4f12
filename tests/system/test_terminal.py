"""Control sequences and formulas in names are escaped; files are read in any locale."""

import csv
import json
import types

import pytest

import train
from ensembles import __main__ as ensembles_main
from ensembles import trainings
from zoo import __main__ as zoo_main
from zoo import describe
from zoo.inference import prediction
from zoo.system import terminal


@pytest.mark.parametrize(
    "name, shown",
    [
        ("cat\x1b[31mred\x1b[0m", "catred"),
        ("\x1b]0;title\x07cat", "cat"),
        ("\x1b]8;;http://evil\x1b\\cat\x1b]8;;\x1b\\", "cat"),
        ("\x1b]52;c;cm0gLXJm", ""),  # the clipboard, without an end
        ("\x1bPq\x1b\\cat\x1bc", "cat"),
        ("\x9b2Jcat", "cat"),
        ("a\x07\x08\x00\x7f", r"a\x07\x08\x00\x7f"),
        ("dog\rcat", r"dog\rcat"),
        ("gpj.\u202etac", r"gpj.\u202etac"),
        ("caf\xe9 \u732b \U0001f408\ttab\nline", "caf\xe9 \u732b \U0001f408\ttab\nline"),
        ("not_utf8_\udce9", r"not_utf8_\udce9"),
    ],
)
def test_what_commands_a_terminal_is_taken_out_of_names_or_shown(name, shown):
    assert terminal.plain(name) == shown


@pytest.mark.parametrize("module", [train, zoo_main, ensembles_main, trainings])
def test_all_that_is_printed_is_plain(module, capsys):
    module.print("bad", "\x1b[2Jname\rover", end="!\n")
    module.print("\r3 of \x1b[2J4 ", end="")
    assert capsys.readouterr().out == "bad name\\rover!\n\r3 of 4 "


def test_mistakes_on_the_command_line_are_plain(capsys):
    with pytest.raises(SystemExit):
        terminal.Parser("zoo").parse_args(["\x1b]0;title\x07--colour"])
    assert "\x1b" not in capsys.readouterr().err


def test_names_stay_in_their_cells():
    rows = [{"file": "a\nb\x1b[31m", "class": "c\td", "probability": 0.5}]
    assert describe.rows_table(rows).splitlines()[1].split() == ["a\\nb", "c\\td", "0.500"]
    layer = types.SimpleNamespace(name="x\ny\x1b[2J", output=None, count_params=lambda: 1)
    model = types.SimpleNamespace(layers=[layer], weights=[], trainable_weights=[])
    assert "  x\\ny " in describe.layer_table(model)


def test_tables_hold_no_formulas_and_json_no_bare_nan(tmp_path):
    row = {
        "file": "=HYPERLINK(1).png",
        "class": "@sum",
        "probability": float("nan"),
        "probabilities": {"+cat": -0.25, "-dog": float("-inf")},
        "-first": -1.5,
        "written": ["-x.png"],
    }
    names = ["\udce9.png", "-5", "+1e3", "plain"]
    prediction.save_tables([row, *({**row, "file": name} for name in names)], tmp_path)
    text = (tmp_path / "predictions.json").read_text(encoding="utf-8")
    rows = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))
    assert rows[0]["file"] == "=HYPERLINK(1).png" and rows[0]["probability"] is None
    assert rows[0]["probabilities"] == {"+cat": -0.25, "-dog": None}
    with open(tmp_path / "predictions.csv", encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert lines[0]["file"] == "'=HYPERLINK(1).png" and lines[0]["class"] == "'@sum"
    assert lines[0]["'-first"] == "-1.5" and lines[0]["probabilities.+cat"] == "-0.25"
    assert lines[0]["written"] == "'-x.png"
    assert [line["file"] for line in lines[1:]] == [r"\udce9.png", *names[1:]]
