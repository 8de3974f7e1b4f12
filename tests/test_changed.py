"""What `make test-changed` runs: the tests whose imports lead to a changed file, and no fewer."""

import pytest

from tests import changed
from zoo import index

MODELS = {row.name: row.file for row in index.models().values()}


@pytest.fixture(scope="module")
def arrows():
    """Return which file imports which."""
    return changed.graph()


def test_a_changed_model_runs_its_own_tests_and_its_promises(arrows):
    chosen = changed.selection({"zoo/models/segmentation/unet.py"}, arrows, MODELS)
    assert {*changed.HOUSE, changed.PROMISES} <= set(chosen)
    assert chosen[-1] == "--rows=unet"
    assert len(chosen) < 9


def test_models_that_borrow_from_a_changed_one_keep_their_promises_too(arrows):
    chosen = changed.selection({"zoo/models/classification/vgg.py"}, arrows, MODELS)
    assert chosen[-1] == "--rows=fcn,vgg" and "tests/models/test_vgg.py" in chosen


def test_a_change_that_concerns_all_runs_all_promises(arrows):
    for place in ("tests/conftest.py", "zoo/registry.py", "zoo/weights/saving.py"):
        chosen = changed.selection({place}, arrows, MODELS)
        assert changed.PROMISES in chosen and not chosen[-1].startswith("--rows")
    everything = changed.selection({"tests/conftest.py"}, arrows, MODELS)
    assert len(everything) == len([place for place in arrows if "/test_" in place])


def test_a_changed_task_runs_the_tests_that_use_tasks(arrows):
    chosen = changed.selection({"zoo/tasks/forecasting/task.py"}, arrows, MODELS)
    assert {"tests/tasks/test_tasks.py", "tests/tasks/test_forecasting.py"} <= set(chosen)


def test_a_text_runs_the_tests_of_the_house_and_of_the_pages(arrows):
    assert changed.selection({"README.md"}, arrows, MODELS) == [*changed.HOUSE]


def test_a_changed_test_runs_itself(arrows):
    chosen = changed.selection({"tests/nn/test_losses.py"}, arrows, MODELS)
    assert set(chosen) == {*changed.HOUSE, "tests/nn/test_losses.py"}
