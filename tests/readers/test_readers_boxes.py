"""Boxes of VOC, COCO and YOLO files are read as they were drawn, and what is wrong is said."""

import json
import os
import pathlib
import random
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from datasets import pipeline
from datasets.readers import boxes, images, read
from datasets.readers.boxes import coco, voc, yolo_labels
from datasets.source import BadInput
from tests.readers.test_readers_fuzz import CASES, damage

KIND = "image_detection"
RNG = np.random.default_rng(5)
HEIGHT, WIDTH = 32, 64  # powers of two: every form gives the same numbers to the last bit
PICTURE = RNG.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
CLASSES = ("cat", "dog")
BOXES = [("dog", 4, 2, 20, 30), ("cat", 33, 16, 64, 32)]  # class, left, top, right, bottom
BBOX = np.float32([[2 / 32, 4 / 64, 30 / 32, 20 / 64], [16 / 32, 33 / 64, 1, 1]])


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def picture(path, array=PICTURE):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


def xml(boxes=BOXES, size=(WIDTH, HEIGHT), filename="a.png", more=""):
    objects = "".join(
        f"<object>\n<name>{name}</name>\n<pose>Left</pose>{more}\n<bndbox>\n<xmin>{a}</xmin>\n"
        f"<ymin>{b}</ymin>\n<xmax>{c}</xmax>\n<ymax>{d}</ymax>\n</bndbox>\n</object>\n"
        for name, a, b, c, d in boxes
    )
    return (
        f"<annotation>\n<filename>{filename}</filename>\n<size><width>{size[0]}</width>"
        f"<height>{size[1]}</height><depth>3</depth></size>\n{objects}</annotation>\n"
    )


IDS = {"cat": 3, "dog": 18}  # ids of categories have gaps


def listing(files=("a.png",), boxes=BOXES, size=(WIDTH, HEIGHT), **changes):
    """A COCO file in which each image has the same boxes."""
    content = {
        "images": [
            {"id": 7 + i, "file_name": name, "width": size[0], "height": size[1]}
            for i, name in enumerate(files)
        ],
        "annotations": [
            {
                "id": 100 * i + j,
                "image_id": 7 + i,
                "category_id": IDS[name],
                "bbox": [a, b, c - a, d - b],
                "segmentation": [[a, b, c, b, c, d]],
                "iscrowd": j,
            }
            for i in range(len(files))
            for j, (name, a, b, c, d) in enumerate(boxes)
        ],
        "categories": [{"id": key, "name": name} for name, key in reversed(IDS.items())],
    }
    return json.dumps({**content, **changes})


def rows(boxes=BOXES, size=(WIDTH, HEIGHT)):
    """The lines of a YOLO file."""
    return "".join(
        f"{CLASSES.index(name)} {(a + c) / 2 / size[0]!r} {(b + d) / 2 / size[1]!r} "
        f"{(c - a) / size[0]!r} {(d - b) / size[1]!r}\n"
        for name, a, b, c, d in boxes
    )


def lists(**names):
    return {f"ImageSets/Main/{stem}.txt": text for stem, text in names.items()}


NAMED = {"classes.txt": "cat\ndog\n"}
LAYOUTS = {  # the images of each split, and the other files
    "voc": (
        {"train": ["JPEGImages/a.png"], "test": ["JPEGImages/b.png"]},
        {"Annotations/a.xml": xml(), "Annotations/b.xml": xml(), "Annotations/c.xml": xml()}
        | {"SegmentationClass/a.png": PICTURE}
        | lists(train="a\n", test="\nb.png \n", cat_train="a  1\n"),
    ),
    "voc without lists": (
        {"train": ["JPEGImages/a.png", "JPEGImages/b.png"]},
        {"Annotations/a.xml": xml(), "Annotations/b.xml": xml()},
    ),
    "voc of images": (
        {"train": ["images/a.png", "images/more/a.png"]},
        {"annotations/xmls/a.xml": xml(), "annotations/xmls/more/a.xml": xml()}
        | {"annotations/trimaps/a.png": PICTURE},
    ),
    "voc in one folder": ({"train": ["a.png", "b.png"]}, {"a.xml": xml(), "b.XML": xml()}),
    "voc by filename": (
        {"train": ["images/a.png", "images/b.png"]},
        {"annotations/1.xml": xml(), "annotations/2.xml": xml(filename="C:\\my\\b.png")},
    ),
    "voc split outside": (
        {"train": ["train/a.png"], "validation": ["valid/a.png"], "test": ["test/b.png"]},
        {"train/a.xml": xml(), "valid/a.xml": xml(), "test/b.xml": xml()},
    ),
    "voc split inside": (
        {"train": ["images/train/a.png"], "validation": ["images/val/a.png"]},
        {"Annotations/train/a.xml": xml(), "Annotations/val/a.xml": xml()},
    ),
    "coco": (
        {"train": ["train2017/a.png", "train2017/b.png"], "validation": ["val2017/a.png"]},
        {
            "annotations/instances_train2017.json": listing(["a.png", "b.png"]),
            "annotations/instances_val2017.json": listing(),
            "annotations/captions_val2017.json": "{}",
            "annotations/person_keypoints_val2017.json": "{}",
        },
    ),
    "coco of images": (
        {"train": ["images/train2017/a.png"], "test": ["images/test/a.png"]},
        {
            "annotations/instances_train2017.json": listing(),
            "annotations/instances_test2017.json": listing(),
        },
    ),
    "coco of splits": (
        {"train": ["train/a.png"], "validation": ["val/images/b.png"]},
        {"annotations/train.json": listing(), "annotations/val.json": listing(["b.png"])},
    ),
    "coco of one folder": (
        {"train": ["images/a.png", "images/b.png"]},
        {"annotations/instances_default.json": listing(["/home/me/a.png", "my\\other\\b.png"])},
    ),
    "coco of paths": (
        {"train": ["images/one/a.png", "images/two/a.png"]},
        {"annotations.json": listing(["images/one/a.png", "two\\a.png"])},
    ),
    "roboflow": (
        {"train": ["train/a.png"], "validation": ["valid/b.png"], "test": ["test/c.png"]},
        {
            "train/_annotations.coco.json": listing(),
            "valid/_annotations.coco.json": listing(["b.png"]),
            "test/_annotations.coco.json": listing(["c.png"]),
            "README.txt": "x",
        },
    ),
    "yolo": (
        {"train": ["images/train/a.png"], "validation": ["images/val/b.png"]},
        {"labels/train/a.txt": rows(), "labels/val/b.txt": rows()}
        | {"data.yaml": "train: ../images/train\nnc: 2\nnames: ['cat', 'dog']\n"},
    ),
    "yolo split outside": (
        {"train": ["train/images/a.png"], "test": ["test/images/a.png"]},
        {"train/labels/a.txt": rows(), "test/labels/a.txt": rows(), "README.txt": "x"}
        | {"data.yaml": "names:\n- cat\n- dog\n"},
    ),
    "yolo without splits": (
        {"train": ["images/a.png", "images/b.png"]},
        {"labels/a.txt": rows(), "labels/b.txt": rows(), "labels/classes.txt": "cat\ndog\n"},
    ),
    "yolo in one folder": (
        {"train": ["obj_train_data/a.png", "obj_train_data/b.png"]},
        {"obj_train_data/a.txt": rows(), "obj_train_data/b.txt": rows(), "train.txt": "x"}
        | {"obj.names": "cat\ndog\n", "obj.data": "classes = 2"},
    ),
    "darknet": (
        {"train": ["train/a.png"], "validation": ["valid/a.png"]},
        {"train/a.txt": rows(), "valid/a.txt": rows(), "README.txt": "x"}
        | {"train/_darknet.labels": "cat\ndog", "valid/_darknet.labels": "cat\ndog\n"},
    ),
}


def write(root, layout, **changes):
    """Write a layout, with other files instead of some or, where None, without them."""
    images, files = LAYOUTS[layout]
    for name in (name for some in images.values() for name in some):
        picture(root / name)
    for name, content in {**files, **changes}.items():
        if isinstance(content, np.ndarray):
            picture(root / name, content)
        elif content is not None:
            put(root / name, content)
        elif (root / name).exists():
            (root / name).unlink()
    return root


def refused(call, *words):
    with pytest.raises(BadInput) as caught:
        call()
    for word in words:
        assert str(word) in str(caught.value)


def only(root, split="train"):
    """Return the first example of a split."""
    return next(iter(read(root, KIND).splits[split]))


# Layouts


@pytest.mark.parametrize("layout", LAYOUTS)
def test_all_layouts_give_the_same_examples(layout, tmp_path):
    source = read(write(tmp_path / "my pets", layout), KIND)
    assert source.classes == CLASSES and source.name == "my_pets"
    by_split = {split: [example.name for example in some] for split, some in source.splits.items()}
    assert by_split == LAYOUTS[layout][0]
    for example in (example.read() for some in source.splits.values() for example in some):
        np.testing.assert_array_equal(example["image"], PICTURE)
        objects = example["objects"]
        np.testing.assert_array_equal(objects["bbox"], BBOX)
        np.testing.assert_array_equal(objects["label"], [1, 0])
        assert (objects["bbox"].dtype, objects["label"].dtype) == (np.float32, np.int64)
        flags = {key: flag.tolist() for key, flag in objects.items() if flag.dtype == bool}
        form = {"v": {"is_difficult": [False, False]}, "y": {}, "d": {}}
        assert flags == form.get(layout[0], {"is_crowd": [False, True]})


def test_each_form_matches_its_own_layouts_alone(tmp_path):
    forms = {
        "voc": voc,
        "coco": coco,
        "roboflow": coco,
        "yolo": yolo_labels,
        "darknet": yolo_labels,
    }
    for layout in LAYOUTS:
        root = write(tmp_path / layout, layout)
        expected = forms[layout.split()[0]]
        assert [form for form in (voc, coco, yolo_labels) if form.match(root)] == [expected], layout
        assert not any(form.match(root / "nowhere") for form in (voc, coco, yolo_labels))


def test_random_boxes_are_the_same_in_all_forms(tmp_path):
    height, width = 123, 457
    corners = RNG.uniform(0, [width, height], (2, 50, 2)).round(3)
    low, high = corners.min(0), corners.max(0) + 0.01
    high = high.clip(max=[width, height])
    boxes = [("cat", *a, *b) for a, b in zip(low.tolist(), high.tolist(), strict=True)]
    gray, size = np.zeros((height, width), np.uint8), (width, height)
    files = {
        "voc": {"a.xml": xml(boxes, size)},
        "coco": {"annotations.json": listing(boxes=boxes, size=size)},
        "yolo": {"a.txt": rows(boxes, size), **NAMED},
    }
    boxes_of_forms = []
    for form, written in files.items():
        picture(tmp_path / form / "a.png", gray)
        for name, content in written.items():
            put(tmp_path / form / name, content)
        boxes_of_forms.append(only(tmp_path / form).read()["objects"]["bbox"])
    wanted = np.concatenate([low / size, high / size], axis=1)[:, [1, 0, 3, 2]]
    for bbox in boxes_of_forms:
        np.testing.assert_allclose(bbox, wanted, rtol=0, atol=2e-7)


@pytest.mark.parametrize(
    "layout", ["voc in one folder", "coco of one folder", "yolo without splits"]
)
def test_images_without_objects(layout, tmp_path):
    third = json.loads(listing(["a.png", "b.png", "c.png"]))
    third["annotations"] = [item for item in third["annotations"] if item["image_id"] == 9]
    changes = {
        "v": {"a.xml": xml([])},
        "c": {
            "annotations/instances_default.json": json.dumps(third),
            "images/c.png": PICTURE,
        },
        "y": {
            "labels/a.txt": "\n",
            "labels/b.txt": None,
            "labels/c.txt": rows(),
            "images/c.png": PICTURE,
        },
    }[layout[0]]
    root = write(tmp_path, layout, **changes)
    for example in list(read(root, KIND).splits["train"])[: 1 if layout[0] == "v" else 2]:
        objects = example.read()["objects"]
        assert objects["bbox"].shape == (0, 4) and objects["bbox"].dtype == np.float32
        assert objects["label"].shape == (0,) and objects["label"].dtype == np.int64
        assert all(flag.shape == (0,) for flag in objects.values() if flag.dtype == bool)


def test_fingerprints_are_of_all_that_is_used_and_the_rest_is_counted(tmp_path):
    for layout, note in [
        ("voc", "Annotations/a.xml"),
        ("coco", "annotations/instances_val2017.json"),
        ("yolo", "labels/val/b.txt"),
    ]:
        root = write(tmp_path / layout, layout)
        before = read(root, KIND)
        put(root / "notes.md", "x")
        after = read(root, KIND)
        assert after.fingerprint == before.fingerprint
        assert after.info["ignored"][".md"] == 1 and ".md" not in before.info.get("ignored", {})
        put(root / note, (root / note).read_bytes() + b"\n")
        assert read(root, KIND).fingerprint != before.fingerprint
    assert read(tmp_path / "voc", KIND).info["ignored"] == {
        ".md": 1,
        ".png": 1,
        ".txt": 1,
        ".xml": 1,
    }


def test_what_has_no_layout_is_shown_all(tmp_path):
    picture(tmp_path / "a.png")
    words = ["none of the layouts", "(VOC)", "(COCO)", "(YOLO)", "classes.txt", ".webp"]
    refused(lambda: read(tmp_path, KIND), *words)


# Boxes

OUT = "extends beyond"
FAULTS = {  # a box in pixels, and what is said of it
    "no width": ((20, 2, 20, 30), "has zero size"),
    "turned": ((20, 2, 4, 30), "has zero size"),
    "left": ((-2, 2, 20, 30), OUT),
    "right": ((4, 2, 65.5, 30), OUT),
    "top": ((4, -1.5, 20, 30), OUT),
    "bottom": ((4, 2, 20, 34), f"{OUT} a.png of 64 x 32 pixels"),
    "beyond the corner": ((64, 2, 64.5, 30), "has zero size inside the image"),
    "nan": ((float("nan"), 2, 20, 30), "is not finite"),
    "endless": ((4, 2, float("inf"), 30), "is not finite"),
}


def write_box(root, form, box):
    """Write an image whose second box is this one, in one form."""
    boxes = [BOXES[0], ("cat", *box)]
    picture(root / "a.png")
    if form == "voc":
        return put(root / "a.xml", xml(boxes))
    if form == "coco":
        return put(root / "annotations.json", listing(boxes=boxes))
    put(root / "classes.txt", NAMED["classes.txt"])
    return put(root / "a.txt", rows(boxes))


WHICH = {"voc": "the object of line 14", "coco": "annotation 1 of a.png", "yolo": "line 2"}


@pytest.mark.parametrize("form", WHICH)
@pytest.mark.parametrize("fault", FAULTS)
def test_broken_boxes_are_named(fault, form, tmp_path):
    box, why = FAULTS[fault]
    file = write_box(tmp_path, form, box)
    example = only(tmp_path)
    refused(example.read, file, WHICH[form], why, "orrect")


@pytest.mark.parametrize("form", WHICH)
def test_boxes_a_pixel_beyond_the_border_are_cut_off(form, tmp_path):
    write_box(tmp_path, form, (-1, -0.5, 65, 33))
    objects = only(tmp_path).read()["objects"]
    np.testing.assert_array_equal(objects["bbox"], [BBOX[0], [0, 0, 1, 1]])


@pytest.mark.parametrize("form", WHICH)
def test_images_that_are_broken_or_of_another_size_are_named(form, tmp_path):
    file = write_box(tmp_path, form, BOXES[1][1:])
    picture(tmp_path / "a.png", PICTURE[:, :60])
    if form != "yolo":  # which knows no size
        refused(only(tmp_path).read, file, "64 x 32 pixels, but a.png has 60 x 32", "size there")
    put(tmp_path / "a.png", b"x")
    refused(only(tmp_path).read, "a.png", "corrupt image")


def test_sizes_that_a_file_does_not_know_are_not_compared(tmp_path):
    for size in [(0, 0), ("", ""), ("nan", 32), (64.5, 32)]:
        put(tmp_path / "a.xml", xml(size=size)), picture(tmp_path / "a.png")
        np.testing.assert_array_equal(only(tmp_path).read()["objects"]["bbox"], BBOX)


# VOC


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ["the file is empty"]),
        (xml()[:200], ["not valid XML", "line "]),
        (xml() + "<annotation/>", ["not valid XML"]),
        ("<svg><g/></svg>", ["begins with <svg>", "not a Pascal VOC annotation"]),
        (xml().replace("<name>cat</name>", ""), ["the object of line 14 has no name"]),
        (xml().replace("<xmin>33</xmin>", ""), ["the object of line 14 has no bndbox with xmin"]),
        (xml().replace(">33<", ">left<"), ["xmin in line 18 is not a number: 'left'"]),
        (xml().replace(">33<", ">3_3<"), ["xmin in line 18 is not a number: '3_3'"]),
        (xml().replace(">33<", "><"), ["xmin in line 18 is not a number: ''"]),
        ('<?xml version="1.0" encoding="klingon"?>' + xml(), ["not valid XML", "klingon"]),
        ('<?xml version="1.0" encoding="utf-8"?>\n<!DOCTYPE annotation>' + xml(), ["line 2 decl"]),
        ("<annotation><a></annotation>", ["not valid XML (mismatched tag, line 1)"]),
        ("<a>" * 200_000, ["begins with <a>"]),
        ("<annotation>" + "<a>" * 200_000, ["not valid XML"]),
    ],
)
def test_faults_of_xml_files_are_named(content, words, tmp_path):
    write(tmp_path, "voc in one folder", **{"a.xml": content})
    bad, good = read(tmp_path, KIND).splits["train"]
    refused(bad.read, tmp_path / "a.xml", *words)
    np.testing.assert_array_equal(good.read()["objects"]["bbox"], BBOX)
    put(tmp_path / "b.XML", content)
    refused(lambda: read(tmp_path, KIND), "a.xml", *words)


BOMB = """<?xml version="1.0"?>
<!DOCTYPE annotation [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">
<!ENTITY f SYSTEM "file:///etc/passwd">]>
<annotation><object><name>&b;&f;</name></object></annotation>"""


def test_entities_are_never_expanded(tmp_path):
    put(tmp_path / "a.xml", BOMB), picture(tmp_path / "a.png")
    refused(lambda: read(tmp_path, KIND), "a.xml", "line 2 declares a document type", "<!DOCTYPE")
    put(tmp_path / "a.xml", xml([("&lt;cat&gt; &#65;", *BOXES[0][1:])]))
    assert read(tmp_path, KIND).classes == ("<cat> A",)


def test_parts_of_objects_and_difficult_ones(tmp_path):
    part = (
        "<part><name>head</name><bndbox><xmin>9</xmin></bndbox></part><difficult>1</difficult>"
        "<object><name>inner</name></object><line>900</line>"
    )
    put(tmp_path / "a.xml", xml(more=part)), picture(tmp_path / "a.png")
    source = read(tmp_path, KIND)
    objects = next(iter(source.splits["train"])).read()["objects"]
    assert source.classes == CLASSES and objects["is_difficult"].tolist() == [True, True]
    assert objects["is_difficult"].dtype == bool
    np.testing.assert_array_equal(objects["bbox"], BBOX)


def test_classes_of_xml_files_may_be_listed(tmp_path):
    write(tmp_path, "voc in one folder", **{"classes.txt": "dog\r\ncat\r\nbird\r\n\r\n"})
    source = read(tmp_path, KIND)
    assert source.classes == ("dog", "cat", "bird")
    assert next(iter(source.splits["train"])).read()["objects"]["label"].tolist() == [0, 1]
    put(tmp_path / "classes.txt", "dog\n")
    refused(only(tmp_path).read, "a.xml", "line 14", "'cat'", "not listed")
    for text, word in [("", "no class"), ("a\n\nb", "class 1 has no name"), ("a\na", "a twice")]:
        put(tmp_path / "classes.txt", text)
        refused(lambda: read(tmp_path, KIND), "classes.txt", word)
    put(tmp_path / "classes.txt", b"\xff\xfe\x00")
    refused(lambda: read(tmp_path, KIND), "classes.txt", "not a text file")


def test_partners_that_are_missing_in_voc_are_named(tmp_path):
    write(tmp_path, "voc without lists", **{"Annotations/lone.xml": xml(filename="gone.png")})
    picture(tmp_path / "JPEGImages" / "new.png")
    lone, _, _, new = read(tmp_path, KIND).splits["train"]
    assert (lone.name, new.name) == ("Annotations/lone.xml", "JPEGImages/new.png")
    refused(lone.read, "lone.xml", "no image with its name")
    refused(new.read, "new.png", "there is no new.xml", "shows no objects")


def test_no_object_at_all_is_refused(tmp_path):
    put(tmp_path / "a.xml", xml([])), picture(tmp_path / "a.png")
    refused(lambda: read(tmp_path, KIND), "no .xml file has an object")


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (dict(train="a", val="b", trainval="a\nb", test="c"), ("a", "b", "c")),
        (dict(trainval="a\nb\nc", val="b"), ("ac", "b", "")),
        (dict(trainval="a\nb", test="c"), ("ab", "", "c")),
        (dict(train="b\na"), ("ba", "", "")),
        (dict(cat_train="a 1"), ("abc", "", "")),
        (dict(val="b", test="", train="c"), ("c", "b", "")),
    ],
)
def test_lists_of_voc_say_the_splits(given, wanted, tmp_path):
    for name in "abc":
        (
            picture(tmp_path / f"JPEGImages/{name}.png"),
            put(tmp_path / f"Annotations/{name}.xml", xml()),
        )
    for name, content in lists(**given).items():
        put(tmp_path / name, content)
    splits = read(tmp_path, KIND).splits
    by_split = {split: "".join(e.name[-5] for e in some) for split, some in splits.items()}
    wanted = dict(zip(("train", "validation", "test"), wanted, strict=True))
    assert by_split == {split: names for split, names in wanted.items() if names}


def test_faults_of_lists_of_voc_are_named(tmp_path):
    write(tmp_path, "voc", **lists(train="a\nnobody\n"))
    first, second = read(tmp_path, KIND).splits["train"]
    assert first.read()["objects"]["bbox"].shape == (2, 4)
    refused(second.read, "train.txt", "nobody (line 2)", "neither an image nor an .xml")
    put(tmp_path / "ImageSets/Main/test.txt", "b\na\n")
    refused(lambda: read(tmp_path, KIND), "test.txt", "line 2 names a,", "in train.txt")


@pytest.mark.parametrize("layout", ["voc without lists", "yolo without splits"])
def test_twins_and_strays_are_refused(layout, tmp_path):
    root = write(tmp_path, layout)
    folder = root / LAYOUTS[layout][0]["train"][0]
    folder = folder.parent
    picture(folder / "a.bmp")
    refused(lambda: read(root, KIND), "name of another: 1", f"{folder.name}/a.png")
    (folder / "a.bmp").unlink()
    picture(folder / "train" / "c.png")
    refused(lambda: read(root, KIND), "a.png", "in no split")


# COCO


def write_coco(root, content):
    picture(root / "images" / "a.png")
    return put(root / "annotations.json", content)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", ["the file is empty"]),
        (listing()[:300], ["not valid JSON", "line 1"]),
        ("[" * 100_000, ["not valid JSON"]),
        (b"\xff\xfe\xff", ["not valid JSON"]),
        ("[]", ["no list of images"]),
        (listing(images={}), ["no list of images"]),
        (listing(annotations=[3]), ["no list of annotations"]),
        (listing(categories=None), ["no list of categories"]),
        (listing(categories=[]), ["names no class"]),
        (listing(images=[{"id": 1}]), ["images[0] has id 1 and file_name None"]),
        (listing(images=[{"id": [1], "file_name": "a"}]), ["images[0] has id [1]"]),
        (
            listing(["a.png"] * 2, images=[{"id": 1, "file_name": "a"}] * 2),
            ["images[1]", "another"],
        ),
        (listing(categories=[{"id": "x", "name": "a"}]), ["categories[0] has id 'x'"]),
        (listing(categories=[{"id": 1, "name": "a"}] * 2), ["categories[1]", "another"]),
        (listing(categories=[{"id": i, "name": "a"} for i in (1, 2)]), ["names a twice"]),
    ],
)
def test_faults_of_json_files_are_named_at_once(content, words, tmp_path):
    file = write_coco(tmp_path, content)
    refused(lambda: read(tmp_path, KIND), file, *words)


def changed(**changes):
    """A listing whose second annotation is another."""
    content = json.loads(listing())
    content["annotations"][1].update(changes)
    return json.dumps(content)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (changed(category_id=4), ["annotation 1 of a.png", "category 4, which is not listed"]),
        (changed(category_id=[3]), ["category [3]"]),
        (changed(bbox=None), ["annotation 1 of a.png has the bbox null, not x, y, width, height"]),
        (changed(bbox=[1, 2, 3]), ["the bbox [1, 2, 3]"]),
        (changed(bbox=[1, 2, 3, "4"]), ['the bbox [1, 2, 3, "4"]']),
        (changed(bbox=[1, 2, 3, True]), ["the bbox [1, 2, 3, true]"]),
        (changed(bbox=[1, 2, 3, 10**400]), ["too large"]),
        (changed(bbox=[1, 2, -3, 4]), ["annotation 1 of a.png (bbox 1, 2, -3, 4) has zero size"]),
        (changed(bbox=[60, 2, 30, 4]), ["(bbox 60, 2, 30, 4) extends beyond a.png of 64 x 32"]),
    ],
)
def test_faults_of_annotations_are_named_when_they_are_read(content, words, tmp_path):
    file = write_coco(tmp_path, content)
    refused(only(tmp_path).read, file, *words)


def test_annotations_of_no_image_are_an_example_that_says_so(tmp_path):
    write_coco(tmp_path, changed(image_id=99))
    good, bad = read(tmp_path, KIND).splits["train"]
    assert good.read()["objects"]["label"].tolist() == [1]
    refused(bad.read, "annotations.json", "1 annotations", "annotation 1, image_id 99")
    write_coco(tmp_path, changed(image_id={}))
    assert len(read(tmp_path, KIND).splits["train"]) == 2


@pytest.mark.parametrize("name", ["gone.png", "", "..", "../../a.txt", "x\0y", "a" * 5000, "/"])
def test_images_that_are_not_there_are_named(name, tmp_path):
    put(tmp_path / "a.txt", "secret")
    write_coco(tmp_path / "one" / "two", listing([name]))
    refused(only(tmp_path / "one" / "two").read, "annotations.json", "(id 7) is not in any of")


def test_names_of_images_never_leave_the_folder(tmp_path):
    picture(tmp_path / "a.png", PICTURE[:9])
    write_coco(tmp_path / "own", listing(["../a.png", str(tmp_path / "a.png")]))
    first, second = read(tmp_path / "own", KIND).splits["train"]
    assert first.name == "images/a.png" and first.read()["image"].shape == PICTURE.shape
    refused(second.read, "annotations.json", "is not in any of")  # the file is another's


def test_a_file_is_of_the_one_image_whose_path_it_fits(tmp_path):
    write_coco(tmp_path, listing(["x/a.png", "y/a.png"]))
    first, second = read(tmp_path, KIND).splits["train"]
    assert first.name == "images/a.png"
    refused(second.read, "annotations.json", "'y/a.png' (id 8) is not in any")


def test_a_category_for_groups_alone_is_no_class(tmp_path):
    kinds = [
        {"id": 0, "name": "pets", "supercategory": "none"},
        {"id": 3, "name": "cat", "supercategory": "pets"},
        {"id": 18, "name": "dog", "supercategory": "pets"},
        {"id": 20, "name": "bird", "supercategory": "bird"},
    ]
    write_coco(tmp_path, listing(categories=kinds))
    source = read(tmp_path, KIND)
    assert source.classes == ("cat", "dog", "bird")
    assert next(iter(source.splits["train"])).read()["objects"]["label"].tolist() == [1, 0]


def test_files_of_splits_must_agree(tmp_path):
    root = write(tmp_path, "coco")
    kinds = [{"id": 3, "name": "dog"}, {"id": 18, "name": "cat"}]
    put(root / "annotations/instances_val2017.json", listing(categories=kinds))
    words = ["instances_val2017.json", "category 3 is 'dog', but 'cat' in instances_train2017.json"]
    refused(lambda: read(root, KIND), *words)
    kinds = [{"id": 3, "name": "cat"}, {"id": 18, "name": "dog"}, {"id": 1, "name": "ant"}]
    put(root / "annotations/instances_val2017.json", listing(categories=kinds))
    assert read(root, KIND).classes == ("ant", "cat", "dog")
    put(root / "annotations/instances_val2014.json", listing())
    refused(lambda: read(root, KIND), "is also for validation", "Keep one")
    put(root / "annotations/instances_default.json", listing())
    refused(lambda: read(root, KIND), "instances_default.json", "in no split")


# YOLO


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("\n0 0.5 0.5 0.1\n", ["line 2 has 4 columns, not 5 (class,", "boxes or outlines"]),
        ("0 0.1 0.1 0.2 0.2 0.3\n", ["line 1 has 6 columns", "without probabilities"]),
        ("0 0.1 0.1 0.2 0.2 0.3 0.3 0.4 0.4 0.5\n", ["line 1 has 10 columns"]),
        ("0 0.5 half 0.1 0.1\n", ["line 1: 'half' is not a number"]),
        ("0 0.5 0_5 0.1 0.1\n", ["line 1: '0_5' is not a number"]),
        ("2 0.5 0.5 0.1 0.1\n", ["line 1 is of class 2, but classes.txt names 0 to 1"]),
        ("-1 0.5 0.5 0.1 0.1\n", ["of class -1"]),
        ("0.5 0.5 0.5 0.1 0.1\n", ["of class 0.5"]),
        ("nan 0.5 0.5 0.1 0.1\n", ["of class nan"]),
        ("0 0.5 0.5 -0.1 0.1\n", ["line 1 (x 0.5, y 0.5, width -0.1, height 0.1) has zero size"]),
        ("1 20 10 8 4\n", ["line 1", OUT, "fractions of width and height"]),
        ("0 1e308 0.5 1.7e308 0.1\n", ["line 1", "is not finite"]),
        (b"\x89PNG\xff", ["not a text file"]),
    ],
)
def test_faults_of_text_files_are_named(content, words, tmp_path):
    write(tmp_path, "yolo without splits", **{"labels/a.txt": content})
    bad, good = read(tmp_path, KIND).splits["train"]
    refused(bad.read, tmp_path / "labels/a.txt", *words)
    np.testing.assert_array_equal(good.read()["objects"]["bbox"], BBOX)


def test_text_files_are_missed_where_there_is_no_folder_for_them(tmp_path):
    root = write(tmp_path / "one", "yolo")
    (root / "labels/val/b.txt").unlink()
    assert only(root, "validation").read()["objects"]["bbox"].shape == (0, 4)
    (root / "labels/val").rmdir()
    refused(only(root, "validation").read, "images/val/b.png", "no b.txt", "for its split")
    root = write(tmp_path / "two", "yolo in one folder", **{"obj_train_data/b.txt": None})
    _, lone = read(root, KIND).splits["train"]
    refused(lone.read, "b.png", "no b.txt", "empty if there are no objects")
    write(root := tmp_path / "three", "yolo", **{"labels/train/lone.txt": rows()})
    _, lone = read(root, KIND).splits["train"]
    assert lone.name == "labels/train/lone.txt"
    refused(lone.read, "lone.txt", "no image with its name")


def sizes(source):
    return {split: len(examples) for split, examples in source.splits.items()}


DAYS = {f"images/{day}.png": PICTURE for day in ("mon/a", "mon/b", "tue/c", "wed/d")}
DAYS |= {f"labels/{day}.txt": rows() for day in ("mon/a", "mon/b", "tue/c", "wed/d")}


def write_days(root, text, **more):
    for name, content in {**DAYS, "data.yaml": text, **more}.items():
        picture(root / name, content) if isinstance(content, np.ndarray) else put(
            root / name, content
        )
    return read(root, KIND)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("train: images/mon\nval: images/tue\n", {"train": 2, "validation": 1}),
        ("path: ../data\ntrain: ../images/mon # x\nval: 'images/tue'\ntest: images/wed\n",
         {"train": 2, "validation": 1, "test": 1}),
        ("train: [images/mon, images/tue]\nval: images/wed\n", {"train": 3, "validation": 1}),
        ("train:\n  - images/mon\n  - images/tue\nval:\n- images/wed\ntest:  # none\n",
         {"train": 3, "validation": 1}),
        ("path: /home/me/set\ntrain: images/mon\nval: /mnt/set/images/tue\n",
         {"train": 2, "validation": 1}),
        ("train: one.txt\nval: lists/two.txt\n", {"train": 2, "validation": 1}),
        ("", {"train": 3, "validation": 1}),
    ],
)  # fmt: skip
def test_splits_that_yaml_or_lists_name_are_kept(text, wanted, tmp_path):
    lists = {
        "one.txt": "./images/mon/a.png\n\n/home/me/data/images/wed/d.png\n",
        "lists/two.txt": "../images/tue/c.png\n",
    }
    if not text:  # Darknet's
        lists = {
            "train.txt": "data/images/mon/a.png\ndata/images/mon/b.png\ndata/images/tue/c.png\n",
            "valid.txt": "data/images/wed/d.png\n",
        }
    source = write_days(tmp_path, text + "names: [cat, dog]\n", **lists)
    assert sizes(source) == wanted
    assert source.info["notes"][0].startswith("splits are those of ")
    left = 4 - sum(wanted.values())
    assert any(f"{left} images or labels" in note for note in source.info["notes"]) == bool(left)
    for examples in source.splits.values():
        for example in examples:
            np.testing.assert_array_equal(example.read()["objects"]["bbox"], BBOX)


def test_splits_of_yaml_that_do_not_fit_are_told(tmp_path):
    names = "names: [cat, dog]\n"
    source = write_days(tmp_path, f"train: images/mon\nval: images/mon\n{names}")
    assert sizes(source) == {"train": 2} and "used for train only" in str(source.info["notes"])
    source = write_days(tmp_path, f"train: images/x\nval: images/y\n{names}")
    assert sizes(source) == {"train": 4} and "images/x, named for train," in source.info["notes"][0]
    lists = {"one.txt": "images/mon/a.png\n", "two.txt": "images/mon/a.png\nimages/tue/c.png\n"}
    words = "two.txt", "1 images for validation are also for train (images/mon/a.png)"
    text = f"train: one.txt\nval: two.txt\n{names}"
    refused(lambda: write_days(tmp_path, text, **lists), *words)
    lists["two.txt"] = "images/mon/gone.png\n"
    words = "two.txt", "line 1 names images/mon/gone.png, which does not exist"
    refused(lambda: write_days(tmp_path, text, **lists), *words)


def test_a_test_split_without_labels_is_left_out(tmp_path):
    root = write(tmp_path, "yolo", **{"images/test/c.png": PICTURE})
    source = read(root, KIND)
    assert [*source.splits] == ["train", "validation"]
    assert "the 1 images of test have no labels: they are left out" in source.info["notes"]
    put(root / "labels/test/c.txt", "")
    source = read(root, KIND)
    assert sizes(source) == {"train": 1, "validation": 1, "test": 1}
    assert "no image of test has a box: its scores mean little" in source.info["notes"]
    put(root / "labels/train/a.txt", "")
    refused(lambda: read(root, KIND), "no training image has a box")


def test_outlines_become_the_boxes_around_them(tmp_path):
    text = "1 0.125 0.25 0.5 0.125 0.25 0.75\n0 0.5 0.5 0.5 0.5\n"
    write(tmp_path, "yolo without splits", **{"labels/a.txt": text})
    example = only(tmp_path).read()
    np.testing.assert_array_equal(
        example["objects"]["bbox"], [[0.125, 0.125, 0.75, 0.5], [0.25, 0.25, 0.75, 0.75]]
    )
    assert example["notes"] == [yolo_labels.OUTLINES]


@pytest.mark.parametrize("form", WHICH)
def test_a_bad_box_is_dropped_and_not_its_image(form, tmp_path):
    write_box(tmp_path, form, (20, 2, 20, 30))
    bad = []
    [(_, example)] = pipeline.read(read(tmp_path, KIND).splits["train"], bad)
    np.testing.assert_array_equal(example["objects"]["bbox"], BBOX[:1])
    assert {len(some) for some in example["objects"].values()} == {1}
    assert [WHICH[form] in str(error) for error in bad] == [True]


def test_bad_lines_and_annotations_are_dropped_alone(tmp_path):
    broken = "9 0.5 0.5 0.1 0.1\n0 x 0.5 0.1 0.1\n"
    write(tmp_path / "y", "yolo without splits", **{"labels/a.txt": rows() + broken})
    with pytest.raises(BadInput, match="line 3 is of class 9.*, and 1 more boxes") as caught:
        only(tmp_path / "y").read()
    np.testing.assert_array_equal(caught.value.partial["objects"]["bbox"], BBOX)
    write(tmp_path / "z", "yolo without splits", **{"labels/a.txt": broken})
    with pytest.raises(BadInput) as caught:
        only(tmp_path / "z").read()
    assert caught.value.partial is None  # without any box it would pass for background
    write_coco(tmp_path / "c", changed(bbox=[1, 2, 3]))
    with pytest.raises(BadInput, match="annotation 1 of a.png has the bbox") as caught:
        only(tmp_path / "c").read()
    assert caught.value.partial["objects"]["label"].tolist() == [1]


def test_boxes_below_one_pixel_in_all_are_refused(tmp_path):
    small = [("dog", 0.1, 0.2, 0.4, 0.9), ("cat", 0, 0, 1, 1)]
    write_coco(tmp_path / "c", listing(boxes=small))
    refused(lambda: read(tmp_path / "c", KIND), "annotations.json", "below one pixel", "fractions")
    put(tmp_path / "v" / "a.xml", xml(boxes=small)), picture(tmp_path / "v" / "a.png")
    refused(lambda: read(tmp_path / "v", KIND), "below one pixel")
    write_coco(tmp_path / "c", listing(boxes=[*small, BOXES[0]]))
    assert len(read(tmp_path / "c", KIND).splits["train"]) == 1


def test_crowds_alone_are_nothing_to_learn_from(tmp_path):
    crowds = json.loads(listing())
    for item in crowds["annotations"]:
        item["iscrowd"] = 1
    write_coco(tmp_path, json.dumps(crowds))
    refused(lambda: read(tmp_path, KIND), "no training image has a box", "crowd")


@pytest.mark.parametrize("orientation", range(2, 9))
def test_boxes_are_turned_as_their_image_is(orientation, tmp_path):
    corners = boxes.turned_boxes(np.float64([[4, 2, 20, 30]]), orientation, 64, 32)[0]
    marked = np.zeros((HEIGHT, WIDTH), bool)
    marked[2:30, 4:20] = True
    rows, columns = np.nonzero(images.turned(marked, orientation))
    wanted = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    assert tuple(corners) == wanted
    exif = Image.Exif()
    exif[0x0112] = orientation
    put(tmp_path / "a.xml", xml(BOXES[:1]))
    Image.fromarray(PICTURE).save(tmp_path / "a.png", exif=exif)
    example = only(tmp_path).read()
    height, width = example["image"].shape[:2]
    box = example["objects"]["bbox"][0] * [height, width, height, width]
    assert "EXIF" in example["notes"][0]
    if orientation > 4:
        assert tuple(box[[1, 0, 3, 2]]) == wanted
    else:  # one size, and labelling tools show the turned image
        assert tuple(box[[1, 0, 3, 2]]) == (4, 2, 20, 30)
        assert "labelling tools" in example["notes"][0]
    if orientation > 4:
        put(tmp_path / "a.xml", xml([("dog", 2, 4, 30, 20)], size=(HEIGHT, WIDTH)))
        assert "notes" not in only(tmp_path).read()


def test_whole_numbers_may_be_written_with_a_point(tmp_path):
    write(tmp_path, "yolo without splits", **{"labels/a.txt": "1.0 .5 .5 1 1\r\n"})
    assert only(tmp_path).read()["objects"]["label"].tolist() == [1]


YAML = {
    "brackets": ("names: ['a', \"b c\", d e]", ("a", "b c", "d e")),
    "brackets over lines": ("names: [\n  a, # first\n  'it''s', # 2\n]\nnc: 2", ("a", "it's")),
    "comma at the end": ("names: [a, b,]\n", ("a", "b")),
    "braces": ("names: {1: b, 0: 'a: x'}", ("a: x", "b")),
    "quoted keys": ('names: {"0": "a", "1": "b"}', ("a", "b")),
    "dashes": ("nc: 2\nnames:\n- a # not b\n- b#2\n\ntrain: x\n", ("a", "b#2")),
    "indented": ("names:   # of classes\r\n  - 'a'\r\n  # none\r\n  - b c\r\n", ("a", "b c")),
    "numbered": ("path: x\nnames:\n  1: dog\n  0: cat\ndownload: |\n  x: y\n", ("cat", "dog")),
    "numbers": ("names: [0, 1]", ("0", "1")),
    "umlauts": ("names:\n  0: Löwe\n", ("Löwe",)),
}


@pytest.mark.parametrize("case", YAML)
def test_names_in_yaml_are_read(case, tmp_path):
    text, names = YAML[case]
    assert yolo_labels.yaml_names(put(tmp_path / "data.yaml", text)) == names


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("train: x\n  names: [a]\n", ["has no names"]),
        ("names:\nnc: 0\n", ["names no class"]),
        ("names: []\n", ["names no class"]),
        ("names: cat\n", ["line 1 cannot be parsed: cat"]),
        ("names: &x [a]\n", ["line 1 cannot be parsed"]),
        ("names:\n  - a\n  - [b]\n", ["line 3 cannot be parsed: - [b]"]),
        ("names:\n  - a: b\n", ["line 2 cannot be parsed"]),
        ("names:\n  - a:\n", ["line 2 cannot be parsed"]),
        ("names:\n  - |\n    a\n", ["line 2 cannot be parsed"]),
        ("names:\n  -\n", ["line 2 cannot be parsed"]),
        ("names:\n  - a\n    b\n", ["line 3 cannot be parsed: b"]),
        ("names:\n  - 'a\n", ["line 2 cannot be parsed"]),
        ("x: y\nnames: [a,\n b\n", ["cannot be parsed in line 3"]),
        ("names: [a b: c]\n", ["cannot be parsed in line 1"]),
        ("names: ['a' b]\n", ["cannot be parsed in line 1"]),
        ("names: [a, , b]\n", ["cannot be parsed in line 1"]),
        ("names: [a, [b]]\n", ["cannot be parsed in line 1"]),
        ("names: {0: a, 2: b}\n", ["not numbered 0 to 1"]),
        ("names:\n  - a\n  1: b\n", ["not numbered 0 to 1"]),
        ("names: [a, a]\n", ["names a twice"]),
        ("names: [a, '']\n", ["class 1 has no name"]),
        ("names: [a, b]\nnc: 3\n", ["nc is 3, but it names 2"]),
        (b"names: [\xff]\n", ["not a text file"]),
    ],
)
def test_names_in_yaml_that_are_written_otherwise_are_refused(text, words, tmp_path):
    file = put(tmp_path / "data.yaml", text)
    refused(lambda: yolo_labels.yaml_names(file), file, *words)


def test_many_names_and_blanks_take_no_time(tmp_path):
    blanks = " " * 10**6
    names = [f"class {i}" for i in range(20_000)]
    texts = {
        "names:\n" + "".join(f"  - {name}\n" for name in names): 20_000,
        f"names: [{', '.join(names)}]": 20_000,
        f"names:\n  - a{blanks}\n{blanks}\n  - b\n": 2,
        f"train:{blanks}\nnames:{blanks}[a,{blanks}b{blanks}]": 2,
    }
    for text, count in texts.items():
        file = put(tmp_path / "data.yaml", text)
        assert len(yolo_labels.yaml_names(file)) == count
        assert yolo_labels.yaml_values(file, "train") == []
    file = put(tmp_path / "data.yaml", f"names:\n  - a{blanks}b\n")
    refused(lambda: yolo_labels.yaml_names(file), "line 2 cannot be parsed")


def test_names_of_classes_are_needed_and_must_agree(tmp_path):
    write(tmp_path, "yolo", **{"data.yaml": None})
    refused(lambda: read(tmp_path, KIND), "no file names its classes", "classes.txt")
    put(tmp_path / "data.yaml", "names: [cat, dog]"), put(tmp_path / "classes.txt", "cat\ndog")
    assert read(tmp_path, KIND).classes == CLASSES
    put(tmp_path / "classes.txt", "dog\ncat")
    refused(lambda: read(tmp_path, KIND), "classes.txt", "dog, cat, but data.yaml names cat, dog")


# Damage

FILES = {
    "a.xml": xml(more="<difficult>0</difficult>"),
    "annotations.json": listing(),
    "a.txt": rows() * 5,
    "data.yaml": "nc: 2\nnames:\n  0: cat # one\n  1: 'dog'\n",
}


@pytest.mark.parametrize("name", FILES)
def test_damaged_files_are_refused_or_read_soundly(name, tmp_path):
    picture(tmp_path / "a.png")
    if name in ("a.txt", "data.yaml"):
        put(tmp_path / "a.txt", FILES["a.txt"]), put(tmp_path / "data.yaml", FILES["data.yaml"])
    rng, sound = random.Random(name), 0
    for _ in range(2 * CASES):
        content, cut = damage(FILES[name].encode(), rng)
        put(tmp_path / name, content)
        try:
            source = read(tmp_path, KIND)
            examples = [example.read() for example in source.splits["train"]]
        except BadInput as error:
            assert str(tmp_path) in str(error)
            continue
        sound += 1
        for example in examples:
            bbox, label = example["objects"]["bbox"], example["objects"]["label"]
            assert bbox.shape == (len(label), 4) and np.isfinite(bbox).all()
            assert (bbox >= 0).all() and (bbox <= 1).all() and (bbox[:, :2] < bbox[:, 2:]).all()
            assert set(label.tolist()) <= set(range(len(source.classes)))
        assert not cut or name in ("a.txt", "data.yaml") or content == FILES[name].encode()[:-1]
    assert sound < 2 * CASES


# Real data


@pytest.mark.skipif("ZOO_DATA" not in os.environ, reason="needs ZOO_DATA")
def test_real_data():
    source = read(pathlib.Path(os.environ["ZOO_DATA"]) / "bccd", KIND)
    assert source.classes == ("Platelets", "RBC", "WBC")
    counts, bad = {}, []
    for split, examples in source.splits.items():
        for example in examples:
            try:
                labels = example.read()["objects"]["label"]
            except BadInput as error:
                bad.append(str(error))
                continue
            counts[split] = counts.get(split, 0) + np.bincount(labels, minlength=3)
    first, second = bad
    assert "BloodImage_00343.xml: the box of the object of line 50" in first
    assert "BloodImage_00338.xml" in second and "(xmin 504, ymin 337, xmax 504, ymax 337)" in second
    assert {split: len(some) for split, some in source.splits.items()} == {
        "train": 205,
        "validation": 87,
        "test": 72,
    }
    assert counts["test"].tolist() == [69, 805, 71]


def test_reading_boxes_needs_pillow_and_numpy_alone():
    code = (
        "import sys; from datasets.readers.boxes import coco, voc, yolo_labels;"
        "bad = {'tensorflow', 'keras', 'scipy', 'matplotlib', 'open3d'} & set(sys.modules);"
        "sys.exit(str(bad) if bad else 0)"
    )
    root = pathlib.Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True)
