"""The pages are fresh, their links lead somewhere, and their commands are ones that exist."""

import importlib.util
import pathlib
import re
import shlex

import pytest

import train
from benchmarks import pages, records, tables
from datasets import builders
from ensembles import options as ensembles_options
from zoo import __main__ as zoo_command
from zoo import index

ROOT = pages.ROOT
PAGES = pages.pages()
WAYS = {"average", "vote", "weights", "select", "stack", "calibrate", "soup", "fuse", "folds"}
OPTION_OF_DATA = ("--data", "--init", "--teacher")


def name(path):
    return path.relative_to(ROOT).as_posix()


def test_everything_generated_is_fresh():
    texts = pages.generated()
    stale = [name(p) for p, text in texts.items() if p.read_text(encoding="utf-8") != text]
    assert not stale, "run `make table`"
    known = {path for path in texts if path.suffix == ".svg"}
    assert set(pages.DRAWINGS.glob("*.svg")) == known, "run `make table`"


def test_every_kind_has_its_page():
    for kind in pages.kinds():
        text = (pages.DOCS / "models" / f"{kind}.md").read_text(encoding="utf-8")
        assert f"<!-- kind {kind} -->" in text, "run `make table`, and enter it into mkdocs.yml"


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 250


def test_every_page_is_in_the_menu():
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    listed = set(re.findall(r"- (?:.*: )?([\w/]+\.md)", text.partition("\nnav:")[2]))
    assert listed == {path.relative_to(pages.DOCS).as_posix() for path in pages.DOCS.rglob("*.md")}


def test_presets_have_the_scores_of_their_records():
    runs = {
        (run["command"], run["seconds"]): run for run in records.gather(records.RESULTS)["runs"]
    }
    same = 0
    for preset, card in index.presets().items():
        run = runs.get((card.get("command"), card.get("seconds")))
        if run is not None:
            assert records.plain(card["scores"]["test"]) == run["scores"]["test"], preset
            same += 1
    assert same, "the card of a preset has the command and the seconds of its run"


def anchors(path):
    """Return the addresses of the headings of a page."""
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    heads = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).strip().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        if target.startswith("https://"):
            continue
        file, _, anchor = target.partition("#")
        place = (path.parent / file).resolve() if file else path
        assert place.exists(), target
        if path.is_relative_to(pages.DOCS):
            assert place.is_relative_to(pages.DOCS), f"the site has no {target}"
        assert not anchor or anchor in anchors(place), target


def blocks(path):
    """Return the lines of the shell's code blocks of a page."""
    text = path.read_text(encoding="utf-8")
    return "\n".join(re.findall(r"^```sh\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL))


def commands(path):
    """Return the commands of a page, split into words: of its code blocks, and of its lines."""
    inline = re.findall(r"`((?:\w+=\w+ )?python [^`]+|make [^`]+)`", path.read_text("utf-8"))
    inline = [line for line in inline if not re.search(r"<|\.\.\.|K/", line)]
    lines = [*blocks(path).splitlines(), *inline]
    words = [shlex.split(line, comments=True) for line in lines]
    return [word for word in words if word]


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_commands_exist(path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for words in commands(path):
        while re.match(r"[A-Z_]+=", words[0]):
            words = words[1:]
        if words[0] == "make":
            check_make(words[1:])
        elif words[0].endswith("python") and words[1] == "train.py":
            check_training(words[2:])
        elif words[0].endswith("python") and words[1] == "-m":
            check_module(words[2], words[3:])
        else:
            assert words[0] in ("pip", ".venv/bin/pip", ".ci/run"), words


def check_make(words):
    """Check that make has a target, and that the model named is one."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(rf"^{words[0]}:.*##", text, flags=re.MULTILINE), words
    for word in words[1:]:
        key, _, value = word.partition("=")
        assert key in ("MODEL", "ARGS", "PYTHON"), word
        assert key != "MODEL" or value in index.models(), word


def stand_in(word):
    """Make an empty file or folder where a command names the user's own."""
    path = pathlib.Path(word)
    if path.is_absolute() or path.exists() or word.startswith("$"):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch() if path.suffix else path.mkdir()


def check_training(words):
    """Parse a command line of train.py, with stand-ins for the user's files."""
    if words in (["--list"], ["--help"]):
        return
    if words[0] == "--resume":
        return check_member(words[1])
    words = [re.sub(r"^\$ZOO_DATA/", "", word) for word in words]
    for option, word in zip(words, words[1:], strict=False):
        if option in OPTION_OF_DATA and word not in index.presets() and not builders.known(word):
            stand_in(word)
    model = words[words.index("--model") + 1]
    if model == "deepsets" or "image_regression" in words:  # which docs/extend adds
        return
    tries = [words] if "--task" in words else [[*words, "--task", t] for t in tasks_of(model)]
    settings = next(filter(None, map(parsed, tries)), None) or train.parse(words)
    encoder = settings["options"].get("encoder", settings["options"].get("backbone"))
    assert encoder is None or encoder in index.models()


def tasks_of(model):
    """Return the tasks of a model, one of which a command without `--task` is for."""
    assert model in index.models(), model
    return index.models()[model].tasks


def parsed(words):
    """Return the settings of a command line of train.py; None if it is refused."""
    try:
        return train.parse(words)
    except SystemExit:
        return None


def check_module(module, words):
    """Parse a command line of zoo or ensembles; of another module, check that it exists."""
    if module == "zoo":
        args = zoo_command.parse(words)
        if "model" in vars(args):
            check_member(args.model)
        for source in vars(args).get("models", ()):
            check_member(source)
        if words[0] == "show":
            assert args.name in index.models(), words
    elif module == "ensembles":
        args = ensembles_options.parse(words)
        for member in vars(args).get("members") or ():
            check_member(member)
        for option, word in zip(words, words[1:], strict=False):
            assert option != "--model" or word in index.models(), words
    else:
        assert module == "venv" or importlib.util.find_spec(module), module


def check_member(source):
    """Check a model that a command names: a preset, a file, or a run folder of a known model."""
    if source in index.presets() or source.endswith((".keras", ".h5", ".onnx", ".skops")):
        return
    folder, _, run = source.partition("/")
    assert folder == "runs", f"{source} is neither a preset nor a run folder"
    model = run.split("-")[0]
    assert re.fullmatch(r"[a-d]", run) or model in index.models() or model in WAYS, source


def test_a_result_is_marked_as_long_as_older_code_measured_it():
    gathered = records.gather(records.RESULTS)
    assert ("\\*" in tables.results()) == any(not run["current"] for run in gathered["runs"])
