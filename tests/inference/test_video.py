"""Videos are predicted frame by frame."""

import json

import numpy as np
import pytest
from conftest import toy

import zoo
from zoo.__main__ import main
from zoo.inference import video
from zoo.weights import saving

cv2 = pytest.importorskip("cv2")
FRAMES, HEIGHT, WIDTH = 5, 48, 64


def clip(path, frames=FRAMES):
    """Write a video of a square that moves to the right."""
    out = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 10.0, (WIDTH, HEIGHT))
    for i in range(frames):
        frame = np.full((HEIGHT, WIDTH, 3), 20, np.uint8)
        frame[16:32, 8 * i : 8 * i + 16] = (40, 40, 200)  # red, as OpenCV orders colours
        out.write(frame)
    out.release()


@pytest.fixture
def model(tmp_path):
    """Save a detector that has learnt nothing, and a segmenter, with their records."""
    paths = {}
    for name, task in {"yolov3_tiny": "image_detection", "unet": "image_segmentation"}.items():
        batch = toy(task)
        network = zoo.registry.get(name).builder(**batch.arguments, width=0.0625)
        info = {**batch.info, **batch.task.training.built(network, batch.options)}
        record = {"model": name, "task": task, "task_options": batch.options, "info": info}
        paths[name] = tmp_path / f"{name}.keras"
        saving.save(network, paths[name], record)
    return paths


@pytest.mark.parametrize("name", ["yolov3_tiny", "unet"])
def test_a_video_is_drawn_into_and_told_frame_by_frame(name, model, tmp_path, capsys):
    clip(tmp_path / "street.mp4")
    out = tmp_path / "out"
    words = ["predict", str(model[name]), str(tmp_path / "street.mp4"), "--out", str(out)]
    assert main(words) == 0
    assert "street.mp4: 5 frames, drawn into" in capsys.readouterr().out
    seen = [image for _, image in video.frames(cv2.VideoCapture(str(out / "street.mp4")))]
    assert len(seen) == FRAMES and seen[0].shape == (HEIGHT, WIDTH, 3)
    red = [np.argmax(frame[24, :, 0].astype(int) - frame[24, :, 2] > 60) for frame in seen]
    if name == "yolov3_tiny":  # a mask tints all of it
        assert np.allclose(red, 8 * np.arange(FRAMES), atol=4)
    rows = json.loads((out / "street.json").read_text())
    assert [row["frame"] for row in rows] == [*range(FRAMES)]
    assert [row["seconds"] for row in rows] == [0.0, 0.1, 0.2, 0.3, 0.4]
    assert rows[0]["height"] == HEIGHT and rows[0]["width"] == WIDTH
    assert (out / "street_boxes.json").is_file() == (name == "yolov3_tiny")


def test_two_clips_of_one_name_and_an_image_beside_them(model, tmp_path, capsys):
    from PIL import Image

    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        clip(tmp_path / folder / "clip.mp4", 2)
    Image.fromarray(np.zeros((30, 40, 3), np.uint8)).save(tmp_path / "still.png")
    files = [str(tmp_path / name) for name in ("a/clip.mp4", "b/clip.mp4", "still.png")]
    out = tmp_path / "out"
    assert main(["predict", str(model["yolov3_tiny"]), *files, "--out", str(out)]) == 0
    names = {path.name for path in out.iterdir()}
    assert {"clip.mp4", "clip-2.mp4", "clip.json", "clip-2.json", "still_boxes.png"} <= names
    assert "3 of 3 files predicted" in capsys.readouterr().out


def test_what_is_no_video_is_named(model, tmp_path, capsys):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    words = ["predict", str(model["yolov3_tiny"]), str(tmp_path / "broken.mp4")]
    assert main([*words, "--out", str(tmp_path / "out")]) == 2
    assert "broken.mp4: it is not a video that OpenCV reads" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_without_opencv_it_says_what_to_install(model, tmp_path, capsys, monkeypatch):
    import sys

    clip(tmp_path / "street.mp4")
    monkeypatch.setitem(sys.modules, "cv2", None)
    words = ["predict", str(model["yolov3_tiny"]), str(tmp_path / "street.mp4")]
    assert main([*words, "--out", str(tmp_path / "out")]) == 2
    assert 'pip install ".[video]"' in capsys.readouterr().err
