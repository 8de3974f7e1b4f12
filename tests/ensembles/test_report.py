"""The report of an ensemble: its content, accessibility and self-contained page."""

import base64
import csv
import html.parser
import io
import re
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from ensembles.reporting import report
from zoo import plots

NASTY = '<script>alert("a & b")</script> \'$\\frac{$ ünet'


def row(name, kind, dice, nll=0.1, **more):
    """Return a row of the report."""
    scores = {"dice": dice, "mean_iou": dice - 0.1}
    rest = {"ece": 0.02, "parameters": 1_946_705, "milliseconds": 41.5, "weight": None}
    return {"name": name, "kind": kind, "scores": scores, "nll": nll, **rest, **more}


@pytest.fixture
def rows():
    """Return four rows; the third has the best Dice score, and the second the best log-loss."""
    return [
        row("unet_dsb2018", "member", 0.894211, 0.0712, weight=0.6),
        row("unet_dsb2018_bce", "member", 0.887134, 0.0555, weight=0.4),
        row("weights", "ensemble", 0.901278, 0.0601, parameters=3_893_410, milliseconds=None),
        row("student", "student", 0.896122, 0.0688, parameters=122_000, milliseconds=12.25),
    ]


class Page(html.parser.HTMLParser):
    """A parsed page.

    Attributes:
        tags: list of (tag, dictionary of attributes).
        rows: the table's rows, each a list of (text, whether it is marked).
        texts: the text in each tag, joined.
    """

    def __init__(self, text):
        super().__init__()
        self.tags, self.rows, self.texts, self.stack = [], [], {}, []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "img", "wbr"):
            self.stack.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append(("", False))

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag, "tags close in order"

    def handle_data(self, data):
        for tag in self.stack:
            self.texts[tag] = self.texts.get(tag, "") + data
        if "td" in self.stack or "th" in self.stack:
            text, marked = self.rows[-1][-1]
            self.rows[-1][-1] = (text + data, marked or "mark" in self.stack)

    def all(self, tag):
        """Return the attributes of every such tag."""
        return [attributes for name, attributes in self.tags if name == tag]


def written(folder, rows, title="stack: dsb2018", **more):
    """Write a report, and return its parsed page."""
    report.write(folder, title, rows, **more)
    page = Page((folder / "report.html").read_text(encoding="utf-8"))
    assert not page.stack and not [*folder.rglob(".*")], (
        "all tags are closed, and no temporary file is left"
    )
    return page


def figure():
    """Return a figure of a line."""
    line = Figure(figsize=(3, 2))
    line.add_subplot().plot([0, 1])
    return line


def test_spreadsheet_holds_every_number_in_full(tmp_path, rows):
    rows[0]["name"] = 'a, "b"\nc'
    written(tmp_path, rows)
    with open(tmp_path / "report.csv", newline="", encoding="utf-8") as file:
        lines = [*csv.DictReader(file)]
    assert [line["name"] for line in lines] == [row["name"] for row in rows]
    for row, line in zip(rows, lines, strict=True):
        assert line["kind"] == row["kind"]
        for key, value in {**row["scores"], **row}.items():
            if key not in ("name", "kind", "scores"):
                assert line[key] == "" if value is None else float(line[key]) == value


def test_table_is_aligned_and_marks_the_best(rows):
    lines = report.table(rows).split("\n")
    assert max(map(len, lines)) <= 100
    heads = next(line for line in lines if "dice" in line)
    for title, texts in {
        "dice": ["0.8942", "0.8871", "0.9013*", "0.8961"],
        "IoU": ["0.7942", "0.7871", "0.8013*", "0.7961"],
        "NLL": ["0.0712", "0.0555*", "0.0601", "0.0688"],
        "ECE": ["0.0200"] * 4,
        "parameters": ["1,946,705", "1,946,705", "3,893,410", "122,000"],
        "(ms)": ["41.50", "41.50", "–", "12.25*"],
        "weight": ["0.600", "0.400", "–", "–"],
    }.items():
        end = heads.index(title) + len(title)
        for row, text in zip(rows, texts, strict=True):
            line = next(line for line in lines if line.startswith(f"  {row['name']} "))
            assert line[:end].endswith(text.rstrip("*"))
            assert line[end : end + 1].strip() == text[len(text.rstrip("*")) :]


def test_table_of_many_scores_goes_on_below(rows):
    for line in rows:
        line["scores"] |= {f"score_{i}": 0.5 for i in range(12)}
    blocks = report.table(rows).split("\n\n")
    assert len(blocks) == 3 and all(len(line) <= 100 for line in "\n".join(blocks).split("\n"))
    assert all(line["name"] in block for line in rows for block in blocks[:2])
    long = "n" * 300
    assert long in report.table([row(long, "member", 0.5)])


def test_report_txt_holds_the_table_and_the_facts(tmp_path, rows):
    facts = {"data": "dsb2018 (d2bdcfb7)", "members": "a, sha256 01\nb, sha256 23"}
    written(tmp_path, rows, facts=facts)
    text = (tmp_path / "report.txt").read_text(encoding="utf-8")
    assert text.startswith("stack: dsb2018\n") and report.table(rows) in text
    for line in ("data     dsb2018 (d2bdcfb7)", "members  a, sha256 01", "b, sha256 23"):
        assert line in [part.strip() for part in text.split("\n")]


def test_page_shows_the_numbers_and_marks_the_best(tmp_path, rows):
    page = written(tmp_path, rows)
    heads, *lines = page.rows
    assert [text.split("\xa0")[0] for text, _ in heads] == [
        "Name", "Dice", "Mean IoU", "NLL", "ECE", "Parameters", "Time (ms)", "Weight"
    ]  # fmt: skip
    assert [text[-1] for text, _ in heads[1:5]] == ["↑", "↑", "↓", "↓"]
    assert [line[0][0] for line in lines if len(line) == 1] == ["Members", "Ensembles", "Students"]
    lines = [line for line in lines if len(line) > 1]
    assert [[text for text, _ in line] for line in lines] == [
        ["unet_dsb2018", "0.8942", "0.7942", "0.0712", "0.0200", "1,946,705", "41.50", "0.600"],
        ["unet_dsb2018_bce", "0.8871", "0.7871", "0.0555", "0.0200", "1,946,705", "41.50", "0.400"],
        ["weights", "0.9013", "0.8013", "0.0601", "0.0200", "3,893,410", "–", "–"],
        ["student", "0.8961", "0.7961", "0.0688", "0.0200", "122,000", "12.25", "–"],
    ]
    marked = [[text for text, best in line if best] for line in lines]
    assert marked == [[], ["0.0555"], ["0.9013", "0.8013"], ["12.25"]]
    places = [float(re.search(r"[\d.]+(?=%)", i["style"])[0]) for i in page.all("i")]
    assert places == pytest.approx([50.0, 0.0, 100.0, 63.6], abs=0.5)
    assert [i["class"] for i in page.all("i")] == [row["kind"] for row in rows]


def test_what_reads_alike_is_marked_alike(rows):
    rows[0]["scores"]["dice"] = 0.901282  # displayed as 0.9013, like the third row
    rows[1]["nll"], rows[2]["nll"] = float("nan"), float("-inf")
    dice, _, _, nll, *_ = report.columns(rows)
    assert dice["best"] == {0, 2}
    assert nll["best"] == {3} and nll["texts"][1:3] == ["nan", "-inf"]


def test_summary_says_who_is_best(rows):
    assert report.summary(rows) == (
        "Highest dice: weights, 0.9013, which is 0.0071 above the best member, "
        "unet_dsb2018 (0.8942)."
    )
    rows[0]["scores"]["dice"] = 0.91
    text = "Highest dice: unet_dsb2018, 0.9100"
    assert report.summary(rows) == f"{text}, a member; no combination is above it."
    assert report.summary(rows[:2]) == f"{text}."
    assert report.summary(rows[2:]) == "Highest dice: weights, 0.9013."
    rows[0]["scores"]["dice"] = float("nan")
    assert report.summary(rows[:1]) == "No row has a dice."


def test_page_escapes_every_text(tmp_path, rows):
    rows[0]["name"] = NASTY
    rows[2] = {**rows[2], "scores": {"dice": 0.91, "mean_iou": 0.8}}
    for line in rows:
        line["scores"]['<i>&"'] = 0.5
    facts = {NASTY: NASTY, f"warning {NASTY}": NASTY}
    page = written(tmp_path, rows, NASTY, facts=facts, figures={"<b>{x}": figure()})
    assert not page.all("script") and not page.all("b") and len(page.all("i")) == len(rows)
    assert page.texts["title"] == page.texts["h1"] == NASTY
    assert NASTY in [line[0][0] for line in page.rows]
    assert NASTY in page.texts["dt"] and page.texts["dd"] == NASTY
    assert NASTY in page.texts["p"] and "<b>{x}" in page.texts["h2"]
    assert page.all("img")[-1]["alt"] == "<b>{x}"


def test_page_stands_alone(tmp_path, rows):
    facts = {"homepage": "https://example.org/data"}
    page = written(tmp_path, rows, facts=facts, figures={"learning_curves": figure()})
    assert not {"script", "link", "iframe", "object", "a"} & {tag for tag, _ in page.tags}
    for tag, attributes in page.tags:
        for name in ("src", "href", "srcset", "poster"):
            assert attributes.get(name, "data:").startswith("data:"), tag
        assert "url(" not in attributes.get("style", "")
    assert not re.search(r"url\(|@import|https?:", page.texts["style"])
    policy = next(meta for meta in page.all("meta") if "http-equiv" in meta)
    assert policy["content"].startswith("default-src 'none'")


def test_page_is_accessible(tmp_path, rows):
    rows.insert(0, row("third", "member", 0.88))
    page = written(tmp_path, rows, agreement=np.eye(3), figures={"reliability": figure()})
    assert page.all("html") == [{"lang": "en"}] and page.texts["title"] == "stack: dsb2018"
    assert all(th["scope"] in ("col", "row", "rowgroup") for th in page.all("th"))
    assert len(page.all("img")) == 3 and all(img["alt"] for img in page.all("img"))
    assert any(meta.get("name") == "viewport" for meta in page.all("meta"))
    assert "prefers-color-scheme: dark" in page.texts["style"]
    region = next(div for div in page.all("div") if div.get("role") == "region")
    assert region["tabindex"] == "0" and region["aria-label"]


def test_further_tables_and_the_least_certain_examples_are_shown(tmp_path, rows):
    tables = {
        f"Sets {NASTY}": [{"class": NASTY, "coverage": "0.9"}, {"class": "b", "coverage": "1"}]
    }
    figure = Figure(figsize=(2, 2))
    figure.add_subplot().plot([0, 1])
    others = {"examples": figure, "risk_coverage": figure}
    gallery = [(figure, f"entropy 0.5, {NASTY}"), (figure, "entropy 0.4")]
    report.write(tmp_path, "t", rows, figures=others, tables=tables, gallery=gallery)
    text = (tmp_path / "report.txt").read_text(encoding="utf-8")
    lines = text.splitlines()
    first = lines.index(f"Sets {NASTY}")
    assert lines[first + 2].split() == ["class", "coverage"] and lines[first + 5].split() == [
        "b",
        "1",
    ]
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert NASTY not in page and page.count("<script") == 0
    titles = re.findall("<h2>(.*?)</h2>", page)
    assert titles[:2] == ["Scores", "Least certain examples"] and titles[2].startswith("Sets")
    assert titles[3:] == ["Risk coverage", "Examples"]
    assert page.index("entropy 0.5") < page.index("entropy 0.4") < page.index("Sets")
    assert (tmp_path / "plots" / "least_certain_2.png").is_file()
    parsed = Page(page)
    regions = [own for tag, own in parsed.tags if own.get("role") == "region"]
    assert all(own.get("tabindex") == "0" and own.get("aria-label") for own in regions)
    assert len(regions) == 2


def test_warnings_stand_above_the_numbers(tmp_path, rows):
    facts = {"seed": 0, "warning": "leakage allowed", "task": "image segmentation"}
    page = written(tmp_path, rows, facts=facts)
    text = page.texts["main"]
    assert text.index("leakage allowed") < text.index("Scores") < text.index("image segmentation")
    assert page.texts["dt"] == "SeedTask" and page.texts["dd"] == "0image segmentation"


def test_figures_are_saved_and_embedded(tmp_path, rows):
    figures = {"reliability": figure(), "learning_curves": plots.learning_curves({"loss": [2, 1]})}
    rows.insert(0, row("third", "member", 0.88))
    page = written(tmp_path, rows, agreement=np.full((3, 3), 0.9), figures=figures)
    names = ["scores", "reliability", "agreement", "learning_curves"]
    assert {path.name for path in (tmp_path / "plots").iterdir()} == {f"{n}.png" for n in names}
    for name, img in zip(names, page.all("img"), strict=True):
        data = base64.b64decode(img["src"].removeprefix("data:image/png;base64,"))
        assert data == (tmp_path / "plots" / f"{name}.png").read_bytes()
        width, height = Image.open(io.BytesIO(data)).size
        assert (int(img["width"]), int(img["height"])) == (
            round(width / 1.25),
            round(height / 1.25),
        )
    assert page.texts["h2"] == "ScoresReliabilityAgreementLearning curves"


def test_scores_figure_is_sorted_with_members_grey(rows):
    rows[1]["name"] = "the_quite_long_name_of_a_run_that_goes_on-17"
    axes = report.scores_figure(rows).axes[0]
    ticks = [tick.get_text() for tick in axes.get_yticklabels()]
    assert ticks == ["the_quite_lon…hat_goes_on-17", "unet_dsb2018", "student", "weights"]
    assert [text.get_text() for text in axes.texts] == ["0.8871", "0.8942", "0.8961", "0.9013"]
    drawn = {line.get_label(): line for line in axes.lines}
    assert drawn["member"].get_color() == plots.QUIET != drawn["ensemble"].get_color()
    assert [*drawn["member"].get_ydata()] == [0, 1]
    assert set(drawn["best member"].get_xdata()) == {0.894211}


def test_agreement_figure_numbers_every_pair_once_each_way():
    matrix = np.array([[1, 0.91, np.nan], [0.91, 1, 0.97], [np.nan, 0.97, 1]])
    axes = report.agreement_figure(["a", "b", "c"], matrix).axes[0]
    numbers = {text.get_position(): text.get_text() for text in axes.texts}
    assert numbers == {(1, 0): "0.910", (0, 1): "0.910", (2, 1): "0.970", (1, 2): "0.970"}
    assert matrix[0, 0] == 1, "the caller's numbers stay"
    assert not report.agreement_figure(["a"], [[1.0]]).axes[0].texts


@pytest.mark.parametrize("kind", report.COLOURS)
def test_one_row_is_enough(tmp_path, kind):
    single = row("unet", kind, 0.9, None, ece=None, parameters=None, milliseconds=None)
    page = written(tmp_path, [single], agreement=np.ones((1, 1)))
    assert page.rows[-1] == [("unet", False), ("0.9000", False), ("0.8000", False)]
    assert len(page.all("img")) == 1 and not page.all("mark") and not page.all("i")
    assert "*" not in report.table([single]) and "Provenance" not in page.texts["main"]


def test_thirty_members_and_numbers_that_are_missing(tmp_path):
    rows = [row(f"runs/{'long-' * 20}{i}", "member", 0.8 + i / 300) for i in range(30)]
    rows.append(row("average", "ensemble", float("nan")))
    page = written(tmp_path, rows, agreement=np.ones((30, 30)))
    assert [line[0][0] for line in page.rows if len(line) > 1][1:] == [
        line["name"] for line in rows
    ]
    assert page.rows[-1][1] == ("nan", False) and len(page.all("i")) == 30


def test_numpy_numbers_are_numbers(tmp_path, rows):
    rows[0]["scores"] = {key: np.float32(value) for key, value in rows[0]["scores"].items()}
    rows[0]["nll"], rows[0]["parameters"] = np.float64(0.5), np.int64(7)
    page = written(tmp_path, rows)
    assert [text for text, _ in page.rows[2]][1:4] == ["0.8942", "0.7942", "0.5000"]
    assert "unet_dsb2018,member,0.8942" in (tmp_path / "report.csv").read_text()


def test_a_report_is_written_over(tmp_path, rows):
    written(tmp_path, rows)
    page = written(tmp_path, rows[:1], "other")
    assert page.texts["h1"] == "other" and "weights" not in (tmp_path / "report.csv").read_text()


def test_what_does_not_fit_is_refused(tmp_path, rows):
    def refused(words, rows, **more):
        with pytest.raises(ValueError, match=words):
            report.write(tmp_path / "none", "title", rows, **more)

    refused("rows have the scores", [])
    refused("rows have the scores", [{**rows[0], "scores": {}}])
    refused("mean_iou.*accuracy", [rows[0], {**rows[1], "scores": {"accuracy": 0.5}}])
    refused("teacher", [{**rows[0], "kind": "teacher"}])
    refused("scores", rows, figures={"scores": figure()})
    refused(r"\(3, 3\)", rows, agreement=np.eye(3))
    assert not (tmp_path / "none").exists()


def test_nothing_about_models_is_imported():
    script = (
        "import sys, ensembles.reporting.report; print({'keras', 'tensorflow'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr


def test_the_agreement_of_two_members_is_a_sentence_and_no_picture(tmp_path, rows):
    written(tmp_path, rows, agreement=[[1, 0.953], [0.953, 1]])
    assert not (tmp_path / "plots" / "agreement.png").exists()
    assert "the members predict the same class for 95.3%" in (tmp_path / "report.txt").read_text()


def test_a_gain_within_chance_is_no_headline(rows):
    assert report.summary(rows).startswith("Highest dice: weights, 0.9013, which is 0.0071 above")
    rows[2]["gain"] = {"over": "unet_dsb2018", "value": 0.0071, "interval": [-0.002, 0.016]}
    text = report.summary(rows)
    assert text.startswith(
        "No row is significantly better than the best member, unet_dsb2018 (0.8942)"
    )
    assert "+0.0071" in text and "from -0.0020 to +0.0160" in text
    rows[2]["gain"]["interval"] = [0.001, 0.016]
    assert report.summary(rows).startswith("Highest dice: weights")


def test_intervals_stand_beside_the_first_score_in_table_page_and_spreadsheet(tmp_path, rows):
    for line in rows:
        line["interval"] = [line["scores"]["dice"] - 0.02, line["scores"]["dice"] + 0.01]
    page = written(tmp_path, rows)
    text = (tmp_path / "report.txt").read_text(encoding="utf-8")
    assert "0.874–0.904" in text and report.INTERVAL in text
    assert "95% interval" in page.rows[0][2][0] and report.INTERVAL in page.texts["figcaption"]
    with open(tmp_path / "report.csv", newline="", encoding="utf-8") as file:
        first = next(csv.DictReader(file))
    assert float(first["interval_low"]) == pytest.approx(0.874211)


def test_the_fastest_is_marked_only_beyond_the_noise_of_the_measurement(rows):
    rows[0]["milliseconds_range"], rows[1]["milliseconds_range"] = [40.0, 43.0], [41.0, 44.0]
    rows[3]["milliseconds_range"] = [12.0, 13.0]
    times = next(column for column in report.columns(rows) if column["key"] == "milliseconds")
    assert times["best"] == {3}
    rows[3]["milliseconds_range"] = [12.0, 41.0]
    times = next(column for column in report.columns(rows) if column["key"] == "milliseconds")
    assert times["best"] == set()
