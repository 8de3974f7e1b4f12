"""Fine-tuning as a whole: what is trained of a model that starts from another one's weights."""

import pytest
from conftest import toy

import zoo
from zoo import tasks
from zoo.training import building, recipe
from zoo.weights import saving


@pytest.mark.parametrize(
    ("classes", "given", "trained"),
    [
        (["a", "b", "c", "d"], {"freeze": True}, {"logits"}),  # as many, but others
        (["a", "b"], {"freeze": True}, {"logits"}),
        (["a", "b", "c", "d"], {"lora": 2}, {"hidden1", "logits"}),
    ],
)
def test_a_head_of_other_classes_is_trained_anew(
    classes, given, trained, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(building.provenance, "inherit", lambda *_: [])  # these data have no splits
    batch = toy("image_classification")
    shape = tuple(batch.x.shape[1:])
    source = zoo.create("mlp", shape, len(classes), widths=(8,))
    record = {"model": "mlp", "options": {"widths": [8]}, "info": {"classes": classes}}
    saving.save(source, tmp_path / "source.keras", record)
    settings = {
        "model": "mlp",
        "options": {"widths": (8,)},
        "init": str(tmp_path / "source.keras"),
        "recipe": {**recipe.DEFAULTS, **given},
    }
    run = {"info": batch.info, "task_options": batch.options}
    model, exported = building.build(settings, tasks.get("image_classification"), run, {})
    owners = {variable.path.split("/")[0] for variable in model.trainable_variables}
    assert owners == trained
    assert run["parameters"]["trained"] < run["parameters"]["total"]
    assert "2 newly initialized" in capsys.readouterr().out
    assert not [weight for weight in exported(model).weights if "lora" in weight.path]
