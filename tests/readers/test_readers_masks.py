"""Each layout of masks is read, and where several are possible, the user is asked."""

import json
import random
import types

import numpy as np
import pytest
import tifffile
from PIL import Image
from pycocotools import mask as runs_of
from scipy.io import savemat

from datasets.readers import images, read
from datasets.readers.masks import mask_files, mask_pairs, matlab, outlines
from datasets.source import BadInput
from ensembles.members import provenance
from tests.readers.test_readers_fuzz import CASES, damage

KIND = "image_segmentation"
RGB = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
SQUARE = RGB[:20, :20]
DISC = (np.hypot(*(np.indices((20, 30)) - [[[8]], [[20]]])) < 6).astype(np.uint8) * 255


def save(path, array, **options):
    """Write an array in the format of the file's ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix == ".mat":
        savemat(path, array if isinstance(array, dict) else {"mask": array})
    else:
        Image.fromarray(array).save(path, **options)
    return path


def write(root, *pairs, mask=DISC, names=("1", "2", "3")):
    """Write images and masks to the paths of each pair, "{}" being their names."""
    for image, masks in pairs:
        for name in names:
            save(root / image.format(name), RGB)
            save(root / masks.format(name), mask)
    return root


def masks_of(source, split="train"):
    return [example.read()["segmentation_mask"] for example in source.splits[split]]


def refused(path, *words, **hints):
    with pytest.raises(BadInput) as caught:
        read(path, KIND, hints)
    for word in words:
        assert word in str(caught.value)


LAYOUTS = {
    "one folder (LGG)": [("a_{}/b_{}_1.tif", "a_{}/b_{}_1_mask.tif")],
    "one folder with splits": [
        ("train/{}.jpg", "train/{}-gt.png"),
        ("val/{}.jpg", "val/{}-gt.png"),
    ],
    "suffix (ISIC)": [("images/ISIC_{}.jpg", "masks/ISIC_{}_segmentation.png")],
    "folders of ISIC": [
        ("ISIC_Task1-2_Training_Input/I_{}.jpg", "ISIC_Task1_Training_GroundTruth/I_{}_gt.png"),
        ("ISIC_Task1-2_Test_Input/I_{}.jpg", "ISIC_Task1_Test_GroundTruth/I_{}_gt.png"),
    ],
    "folder a scene": [("{}/images/a.png", "{}/masks/a.png")],
    "unknown name": [("images/{}.png", "1st_manual/{}.png")],
    "other names": [("images/2{}_training.png", "masks/2{}_manual1.gif")],
    "npy": [("images/{}.png", "masks/{}.npy")],
    "mat (CrackForest)": [("image/00{}.jpg", "groundTruth/00{}.mat")],
    "jpeg": [("images/{}.png", "masks/{}.jpg")],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_of_masks(layout, tmp_path):
    pairs = [(i.replace("{}", "{0}"), m.replace("{}", "{0}")) for i, m in LAYOUTS[layout]]
    source = read(write(tmp_path, *pairs), KIND)
    splits = ["train", "test"] if "ISIC_Task1" in pairs[0][0] else ["train", "validation"]
    assert [*source.splits] == splits[: len(pairs)]
    assert source.classes == ("background", "foreground")
    for split in source.splits:
        assert len(masks_of(source, split)) == 3
        for mask in masks_of(source, split):
            np.testing.assert_array_equal(mask, DISC > 0)
    notes = source.info.get("notes", [])
    assert bool(notes) == (layout in ("unknown name", "other names")), notes


def test_where_several_folders_could_hold_masks_the_person_is_asked(tmp_path):
    for split in ("training", "test"):
        image, field = f"{split}/images/2{{}}_{split}.tif", f"{split}/mask/2{{}}_{split}_mask.gif"
        write(tmp_path, (image, f"{split}/1st_manual/2{{}}_manual1.gif"))
        write(tmp_path, (image, field), mask=np.full((20, 30), 255, np.uint8))
    refused(tmp_path, "mask, 1st_manual", "--masks 1st_manual")
    source = read(tmp_path, KIND, {"masks": "1st_manual"})
    assert {split: len(examples) for split, examples in source.splits.items()} == {
        "train": 3,
        "test": 3,
    }
    for mask in masks_of(source) + masks_of(source, "test"):
        np.testing.assert_array_equal(mask, DISC > 0)
    assert "21_test.tif with 21_manual1.gif" in source.info["notes"][0]
    refused(tmp_path, "2nd_manual is not a folder of masks", masks="2nd_manual")
    another = read(tmp_path / "training", KIND, {"masks": "1st_manual"})
    assert another.fingerprint != source.fingerprint


def test_photographs_beside_are_no_masks(tmp_path):
    write(tmp_path, ("images/{}.png", "masks/{}.png"), ("previews/{}.png", "masks/{}.png"))
    assert len(read(tmp_path, KIND).splits["train"]) == 3


def test_masks_may_lie_in_any_folder_that_is_named(tmp_path):
    write(tmp_path, ("data/scans/{}.png", "drawn by hand/a/{}.png"))
    for path, folder in [("data", tmp_path / "drawn by hand" / "a"), ("", "drawn by hand/a")]:
        source = read(tmp_path / path, KIND, {"masks": str(folder)})
        np.testing.assert_array_equal(masks_of(source)[0], DISC > 0)


def test_where_several_suffixes_follow_an_image_the_person_is_asked(tmp_path):
    write(tmp_path, ("Image_0{}L.jpg", "Image_0{}L_1stHO.png"))
    write(tmp_path, ("Image_0{}L.jpg", "Image_0{}L_2ndHO.png"), mask=255 - DISC)
    refused(tmp_path, "_1stHO, _2ndHO", "--mask-suffix _1stHO")
    for suffix, mask in [("_1stHO", DISC), ("_2ndHO", 255 - DISC)]:
        source = read(tmp_path, KIND, {"mask_suffix": suffix})
        assert len(source.splits["train"]) == 3
        np.testing.assert_array_equal(masks_of(source)[0], mask > 0)
    refused(tmp_path, "--mask-suffix _3rd: no image", mask_suffix="_3rd")
    save(tmp_path / "Image_04R.jpg", RGB)
    refused(tmp_path, "images without a mask: 1 (Image_04R.jpg)", mask_suffix="_1stHO")


def test_a_suffix_chooses_among_the_masks_of_a_folder(tmp_path):
    write(tmp_path, ("images/{}.png", "masks/{}_left.png"))
    write(tmp_path, ("images/{}.png", "masks/{}_right.png"), mask=255 - DISC)
    refused(tmp_path, "masks without an image: 6")
    source = read(tmp_path, KIND, {"mask_suffix": "_right"})
    np.testing.assert_array_equal(masks_of(source)[0], DISC == 0)


def test_masks_of_single_objects_are_joined(tmp_path):
    for name in ("a", "b"):
        save(tmp_path / name / "images" / f"{name}.png", RGB)
        save(tmp_path / name / "masks" / "0.png", DISC)
        save(tmp_path / name / "masks" / "1.png", np.fliplr(DISC))
    source = read(tmp_path, KIND)
    np.testing.assert_array_equal(masks_of(source)[1], (DISC > 0) | (np.fliplr(DISC) > 0))
    assert "2 images have several masks each" in source.info["notes"][0]
    save(tmp_path / "b" / "masks" / "1.png", DISC[:10])
    with pytest.raises(BadInput, match="1.png: it has 30 x 10 pixels"):
        masks_of(read(tmp_path, KIND))


def test_voc(tmp_path):
    write(tmp_path, ("JPEGImages/{}.jpg", "SegmentationClass/{}.png"))
    write(tmp_path, ("JPEGImages/{}.jpg", "SegmentationObject/{}.png"))
    save(tmp_path / "JPEGImages" / "4.jpg", RGB)
    source = read(tmp_path, KIND)
    assert len(source.splits["train"]) == 3 and "1 images have no mask" in source.info["notes"][0]
    lists = tmp_path / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("1\n2\n")
    (lists / "val.txt").write_text("3\n")
    splits = read(tmp_path, KIND).splits
    assert {split: len(examples) for split, examples in splits.items()} == {
        "train": 2,
        "validation": 1,
    }
    (lists / "val.txt").write_text("4\n")
    refused(tmp_path, "val.txt: line 1 names 4, which has no mask")


def test_alpha_is_the_mask_where_nothing_else_differs(tmp_path):
    clear = np.zeros((20, 30, 4), np.uint8)
    clear[..., 3] = DISC
    np.testing.assert_array_equal(mask_files.read(save(tmp_path / "a.png", clear)), DISC)
    clear[..., 0] = DISC
    assert mask_files.read(save(tmp_path / "b.png", clear)).shape == (20, 30, 3)


def test_jpeg_changes_all_values_but_black_and_white(tmp_path):
    for quality in (60, 95):
        path = save(tmp_path / "a.jpg", DISC, quality=quality)
        np.testing.assert_array_equal(mask_files.read(path), DISC)
    numbers = np.repeat(np.arange(3, dtype=np.uint8), 10)[None].repeat(20, axis=0)
    for values in (numbers, numbers * 120, RGB):
        with pytest.raises(BadInput, match="JPEG that is not black and white"):
            mask_files.read(save(tmp_path / "b.jpg", values))
    assert not mask_files.read(save(tmp_path / "c.jpg", np.zeros((9, 9), np.uint8))).any()


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("a.npy", DISC.astype(float) + 0.5, "not integers"),
        ("a.npy", RGB, "shape (20, 30, 3)"),
        ("a.npy", np.array(["a"]), "type <U1"),
        ("a.npy", np.array([None]), "a corrupt .npy"),
        ("a.mat", {"a": DISC, "b": DISC}, "a, b, of which 2 are matrices"),
        ("a.mat", {"a": "text"}, "of which 0 are matrices"),
    ],
)
def test_faults_of_arrays_are_named(name, value, words, tmp_path):
    with pytest.raises(BadInput) as caught:
        mask_files.read(save(tmp_path / name, value))
    assert words in str(caught.value) and name in str(caught.value)


@pytest.mark.parametrize("field", ["Segmentation", None])
def test_matrices_of_matlab_may_be_in_structures(field, tmp_path):
    truth = {"Segmentation": DISC.astype(np.uint16), "Boundaries": DISC * 0}
    held = {"groundTruth": truth} if field else {"GTcls": DISC}
    np.testing.assert_array_equal(mask_files.read(save(tmp_path / "a.mat", held)), DISC)
    for compressed in (False, True):
        savemat(tmp_path / "b.mat", held, do_compression=compressed)
        np.testing.assert_array_equal(mask_files.read(tmp_path / "b.mat"), DISC)
    (tmp_path / "a.mat").write_bytes(b"MATLAB 7.3 MAT-file" + bytes(200))
    with pytest.raises(BadInput, match="a.mat: it is not a .mat file of Matlab's versions 5 to 7"):
        mask_files.read(tmp_path / "a.mat")


@pytest.mark.parametrize(
    "value",
    [
        np.arange(6).reshape(2, 3) * 1.5,
        np.arange(6, dtype=np.int64).reshape(2, 3) - 3,
        np.arange(6, dtype=np.uint8).reshape(3, 2),
        np.eye(3, dtype=bool),
        np.float32([[1, 2]]),
    ],
)
def test_matrices_of_matlab_are_those_that_scipy_wrote(value, tmp_path):
    cells = np.empty((1, 2), object)
    cells[:] = [[value, "text"]]
    written = {"a": value, "b": {"c": value, "d": {"e": value}}, "f": cells}
    for compressed in (False, True):
        savemat(tmp_path / "a.mat", written, do_compression=compressed)
        variables = matlab.read(tmp_path / "a.mat")
        for same in (
            variables["a"],
            variables["b"]["c"],
            variables["b"]["d"]["e"],
            variables["f"][0],
        ):
            np.testing.assert_array_equal(same, value)
        assert variables["f"][1] is None


@pytest.mark.parametrize("name", ["plain.mat", "packed.mat", "a.npy", "strips.tif", "tiles.tif"])
def test_damaged_files_are_refused_or_read(name, tmp_path):
    rng, path, refused = random.Random(name), tmp_path / name, 0
    if name.endswith(".tif"):
        bands = np.dstack([RGB, RGB])
        tile = (16, 16) if name == "tiles.tif" else None
        tifffile.imwrite(path, bands, photometric="minisblack", compression="lzw", tile=tile)
    elif name.endswith(".mat"):
        held = {"groundTruth": {"Segmentation": DISC}}
        savemat(path, held, do_compression=name == "packed.mat")
    else:
        save(path, DISC)
    raw = path.read_bytes()
    for _ in range(CASES // 3):
        path.write_bytes(damage(raw, rng)[0])
        try:
            images.read_image(path) if name.endswith(".tif") else mask_files.read(path)
        except BadInput as error:
            assert name in str(error)
            refused += 1
    assert refused


def test_arrays_that_do_not_fit_in_memory_are_refused_by_their_header(tmp_path, monkeypatch):
    monkeypatch.setenv("ZOO_MEMORY", "1M")
    with open(tmp_path / "a.npy", "wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (10**5, 10**5)}
        np.lib.format.write_array_header_1_0(file, header)
    with pytest.raises(BadInput, match="a.npy.*of memory"):
        mask_files.read(tmp_path / "a.npy")


TURNS = {3: lambda a: a[::-1, ::-1], 6: lambda a: np.rot90(a, -1), 8: np.rot90}


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("drawn", ["stored", "upright"])
def test_a_mask_is_turned_as_its_image_is(orientation, drawn, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = TURNS[orientation](DISC)
    for name in ("a", "b"):
        save(tmp_path / "images" / f"{name}.png", RGB, exif=exif)
        save(tmp_path / "masks" / f"{name}.png", DISC if drawn == "stored" else upright)
    for example in read(tmp_path, KIND).splits["train"]:
        example = example.read()
        np.testing.assert_array_equal(example["image"], TURNS[orientation](RGB))
        if orientation == 3:  # both have one size
            assert "EXIF" in example["notes"][0] and "labelling tools" in example["notes"][0]
            expected = DISC if drawn == "stored" else upright
        else:
            assert ("notes" in example) == (drawn == "stored")
            expected = upright
        np.testing.assert_array_equal(example["segmentation_mask"], expected > 0)


def test_rare_classes_and_masks_of_one_class_are_told(tmp_path):
    write(tmp_path, ("images/{}.png", "masks/{}.png"), mask=np.zeros((20, 30), np.uint8))
    dot = np.zeros((20, 30), np.uint8)
    dot[3, 4:6] = 255
    save(tmp_path / "masks" / "1.png", dot)
    notes = read(tmp_path, KIND).info["notes"]
    assert notes == [
        "class foreground is rare: 0.11% of the pixels",
        "2 of 3 masks have only background",
    ]


def test_names_are_compared_without_what_they_share():
    def rests(*names):
        place = [mask_pairs.Place(mask_pairs.pathlib.Path(n), None, None, ()) for n in names]
        parts = mask_pairs.distinct_parts(place)
        return parts and [*parts]

    assert rests("21_training.tif", "22_training.tif") == ["21", "22"]
    assert rests("img10.png", "img20.png") == ["10", "20"]
    assert rests("a1_m.png", "b1_m.png") == ["a1", "b1"]
    assert rests("a.png", "a.gif") is None


SMALL = [[4, 4, 12, 4, 12, 10, 4, 10]]
LARGE = [[2, 2, 22, 2, 22, 18, 2, 18]]


def coco(entries, names=("cat", "dog"), **more):
    """A COCO file of one image of 30 x 20; its entries are (category, segmentation, crowd)."""
    annotations = [
        {"id": i, "image_id": 1, "category_id": kind, "segmentation": outline, "iscrowd": crowd}
        for i, (kind, outline, crowd) in enumerate(entries)
    ]
    return json.dumps(
        {
            "images": [{"id": 1, "file_name": "a.png", "width": 30, "height": 20}],
            "annotations": annotations,
            "categories": [{"id": 5 + i, "name": name} for i, name in enumerate(names)],
            **more,
        }
    )


def write_coco(root, text):
    save(root / "images" / "a.png", RGB)
    (root / "annotations").mkdir(exist_ok=True)
    (root / "annotations" / "instances_train.json").write_text(text)
    return root


def test_outlines_of_coco_are_drawn(tmp_path):
    runs = {"size": [20, 30], "counts": [0, 20, 580]}  # the left column
    coded = {"size": [20, 30], "counts": runs_of.frPyObjects(runs, 20, 30)["counts"].decode()}
    for left in (runs, coded):
        annotations = [(5, SMALL, 0), (6, LARGE, 0), (6, left, 1)]
        source = read(write_coco(tmp_path, coco(annotations)), KIND)
        assert source.classes == ("background", "cat", "dog")
        assert "drawn from the outlines" in source.info["notes"][0]
        assert source.options == {"tile_height": 32, "tile_width": 32}
        wanted = np.zeros((20, 30), int)
        wanted[2:18, 2:22], wanted[4:10, 4:12], wanted[:, 0] = 2, 1, -1
        np.testing.assert_array_equal(masks_of(source)[0], wanted)


def test_run_lengths_are_decoded_as_pycocotools_does():
    rng = np.random.default_rng(0)
    for shape in [(20, 30), (200, 311)]:
        inside = np.asfortranarray(rng.random(shape) < rng.random()).astype(np.uint8)
        counts = outlines.decoded_counts(runs_of.encode(inside)["counts"].decode())
        assert sum(counts) == inside.size
        again = runs_of.decode(runs_of.frPyObjects({"size": list(shape), "counts": counts}, *shape))
        np.testing.assert_array_equal(again, inside)


@pytest.mark.parametrize(
    ("outline", "words"),
    [
        ([[1, 2, 3, 4]], "annotation 1 of a.png has the segmentation [[1, 2, 3, 4]]"),
        ([[1, 2, 3, 4, 5, None]], "not polygons"),
        ({"size": [9, 9], "counts": [81]}, "nor runs of 20 x 30"),
        ({"size": [20, 30], "counts": [10**9]}, "nor runs of 20 x 30"),
        ({"size": [20, 30], "counts": "zzzzzz"}, "nor runs of 20 x 30"),
        (None, "the segmentation null"),
    ],
)
def test_faults_of_outlines_are_named_and_the_rest_is_kept(outline, words, tmp_path):
    source = read(write_coco(tmp_path, coco([(5, SMALL, 0), (6, outline, 0)])), KIND)
    with pytest.raises(BadInput) as caught:
        masks_of(source)
    assert words in str(caught.value) and "instances_train.json" in str(caught.value)
    assert caught.value.partial["segmentation_mask"].sum() == 48
    refused(write_coco(tmp_path, coco([(5, [], 0)])), "no outlines (segmentation)", "detection")


def labelme(*shapes, **more):
    """A labelme file; shapes are (label, type, points)."""
    shapes = [{"label": a, "shape_type": b, "points": c} for a, b, c in shapes]
    size = {"imageHeight": 20, "imageWidth": 30, "imagePath": "..\\a.png"}
    return json.dumps({"shapes": shapes, **size, **more})


SQUARE = [[4, 4], [12, 4], [12, 10], [4, 10]]


def test_shapes_of_labelme_are_drawn(tmp_path):
    for split in ("train", "val"):
        save(tmp_path / split / "a.png", RGB)
        text = labelme(
            ("dog", "rectangle", [[22, 18], [2, 2]]),
            ("cat", "polygon", SQUARE),
            ("__ignore__", "circle", [[25, 10], [27, 10]]),
            ("_background_", "polygon", [[20, 2], [22, 2], [22, 4]]),
        )
        (tmp_path / split / "a.json").write_text(text)
    save(tmp_path / "train" / "b.png", RGB)
    source = read(tmp_path, KIND)
    assert source.classes == ("background", "cat", "dog")
    assert [*source.splits] == ["train", "validation"]
    assert "1 images have no .json file, and are left out" in source.info["notes"]
    drawn = masks_of(source)[0]
    assert drawn[2, 2] == drawn[18, 22] == 2 and drawn[1, 1] == drawn[19, 23] == 0
    assert drawn[4, 4] == drawn[10, 12] == 1 and drawn[11, 12] == 2
    assert drawn[10, 25] == drawn[8, 25] == -1 and drawn[2, 21] == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (labelme(("a", "point", [[1, 1]])), "shapes[0] (point 'a') has no area"),
        (labelme(("a", "polygon", [[1, 1], [2, 2]])), "has the points [[1, 1], [2, 2]]"),
        (labelme(("a", "circle", [[1, 1], [2, "x"]])), "has the points"),
        (
            labelme(("a", "polygon", SQUARE), imagePath="gone.png"),
            "'gone.png' or of its name beside it",
        ),
        (labelme(("a", "polygon", SQUARE), imageHeight=40), "30 x 40 pixels"),
        ('{"shapes": [{"label": 3}]}', "no shapes with labels"),
        ('{"shapes": ', "not valid JSON"),
    ],
)
def test_faults_of_labelme_are_named(text, words, tmp_path):
    save(tmp_path / "a.png", RGB)
    (tmp_path / "a.json").write_text(labelme(("cat", "polygon", SQUARE)))
    (tmp_path / "b.json").write_text(text)
    examples = [*read(tmp_path, KIND).splits["train"]]
    with pytest.raises(BadInput) as caught:
        for example in examples:
            example.read()
    assert words in str(caught.value) and "b.json" in str(caught.value)


def test_hints_and_notes_travel_from_the_command_to_the_record(tmp_path, capsys):
    import train
    from zoo import tasks

    write(tmp_path / "eyes", ("{}L.jpg", "{}L_1stHO.png"), ("{}L.jpg", "{}L_2ndHO.png"))
    exif = Image.Exif()
    exif[0x0112] = 3
    save(tmp_path / "eyes" / "1L.jpg", RGB, exif=exif)
    words = ["--model", "unet", "--data", str(tmp_path / "eyes"), "--mask-suffix", "_2ndHO"]
    settings = train.parse(words)
    assert settings["hints"] == {"mask_suffix": "_2ndHO"}
    splits, record = train.prepare(settings, tasks.get("image_segmentation"), None, {})
    assert sum(map(len, splits.values())) == 3
    assert any("EXIF" in note for note in record["notes"])
    assert "EXIF" in capsys.readouterr().out
    with pytest.raises(BadInput, match="Choose one: --mask-suffix _1stHO"):
        train.prepare({**settings, "hints": {}}, tasks.get("image_segmentation"), None, {})
    assert provenance.cut([member(settings)])["hints"] == {"mask_suffix": "_2ndHO"}
    assert provenance.cut([member(settings), member({})])["hints"] is None


def member(settings):
    """Return a member of an ensemble as far as its record goes."""
    return types.SimpleNamespace(record={"settings": settings})
