"""Every format of images and masks is read as it was written, and what is wrong is said."""

import os
import pathlib
import struct
import subprocess
import sys
import warnings
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from datasets.readers import read
from datasets.readers.images import find_images, read_image, read_mask, read_picture, read_size
from datasets.readers.masks import image_masks, mask_classes
from datasets.source import BadInput

MASKS, PICTURES = "image_segmentation", "image_classification"
RNG = np.random.default_rng(3)
GRAY = RNG.integers(0, 256, (20, 30), np.uint8)
RGB = RNG.integers(0, 256, (20, 30, 3), np.uint8)
DEEP = RNG.integers(0, 65536, (20, 30), np.uint16)
WIDE = RNG.integers(0, 65536, (20, 30, 3), np.uint16)
INDEX = RNG.integers(0, 4, (20, 30), np.uint8)
SMOOTH = np.add.outer(np.arange(20), np.arange(30) * 3).astype(np.uint8) + 60  # JPEG keeps it


def save(path, array, **options):
    """Write an array, or a Pillow image, in the format of the file's ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = array if isinstance(array, Image.Image) else Image.fromarray(np.asarray(array))
    picture.save(path, **options)
    return path


def palette(indices=INDEX, colours=((0, 0, 0), (128, 0, 0), (0, 128, 0), (9, 8, 7))):
    picture = Image.fromarray(indices)
    picture.putpalette([value for colour in colours for value in colour])
    return picture


def save_png(path, array, bits=16):
    """Write a PNG of 2, 4 or 16 bits, which Pillow cannot: gray, gray with alpha, RGB or RGBA."""
    height, width, channels = array.shape
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = [row.astype(">u2").tobytes() for row in array]
    if bits < 8:
        shifts = np.arange(8 - bits, -1, -bits)
        rows = [(row.reshape(-1, 8 // bits) << shifts).sum(1).astype("u1").tobytes()
                for row in array]  # fmt: skip
    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    chunks = [(b"IHDR", header), (b"IDAT", body), (b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(map(png_chunk, chunks)))
    return path


def png_chunk(chunk):
    name, data = chunk
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def save_tiff(path, array, order="<", deflate=False, planar=False, bits=16):
    """Write a TIFF of RGB with 16 bits, which Pillow cannot."""
    height, width, channels = array.shape
    data = (np.moveaxis(array, -1, 0) if planar else array).astype(f"{order}u{bits // 8}").tobytes()
    data = zlib.compress(data) if deflate else data
    values = {
        256: [width], 257: [height], 258: [bits] * channels, 259: [8 if deflate else 1], 262: [2],
        273: [200], 277: [channels], 278: [height], 279: [len(data)], 284: [2 if planar else 1],
    }  # fmt: skip
    if planar:
        part = len(data) // channels
        values |= {273: [300 + i * part for i in range(channels)], 279: [part] * channels}
    entries, extra = b"", b""
    for tag, numbers in values.items():
        packed = struct.pack(f"{order}{len(numbers)}H", *numbers)
        if len(packed) > 4:
            offset = 8 + 2 + 12 * len(values) + 4 + len(extra)
            extra, packed = extra + packed, struct.pack(f"{order}I", offset)
        entries += struct.pack(f"{order}HHI", tag, 3, len(numbers)) + packed.ljust(4, b"\0")
    start = b"II" if order == "<" else b"MM"
    head = start + struct.pack(f"{order}HIH", 42, 8, len(values)) + entries + bytes(4) + extra
    path.write_bytes(head.ljust(values[273][0], b"\0") + data)
    return path


def refused(call, *words):
    with pytest.raises(BadInput) as caught:
        call()
    for word in words:
        assert str(word) in str(caught.value)


WRITERS = {  # what tests/test_readers_fuzz.py damages
    "gray.png": lambda path: save(path, GRAY),
    "palette.png": lambda path: save(path, palette(), transparency=bytes([0, 9, 99, 255])),
    "wide.png": lambda path: save_png(path, WIDE),
    "photo.jpg": lambda path: save(path, RGB),
    "steps.jpg": lambda path: save(path, RGB, progressive=True),
    "plain.tif": lambda path: save(path, RGB),
    "lzw.tif": lambda path: save(path, DEEP, compression="tiff_lzw"),
    "float.tif": lambda path: save(path, DEEP.astype(np.float32)),
    "wide.tif": lambda path: save_tiff(path, WIDE),
    "deflate.tif": lambda path: save_tiff(path, WIDE, deflate=True),
    "gray.bmp": lambda path: save(path, GRAY),
    "palette.gif": lambda path: save(path, palette()),
    "photo.webp": lambda path: save(path, RGB),
}

# One image

LOSSLESS = {
    "gray.png": (GRAY, {}),
    "gray.bmp": (GRAY, {}),
    "gray.TIF": (GRAY, {}),
    "lzw.tiff": (GRAY, {"compression": "tiff_lzw"}),
    "deflate.tif": (RGB, {"compression": "tiff_deflate"}),
    "rgb.png": (RGB, {}),
    "rgb.tif": (RGB, {}),
    "rgb.bmp": (RGB, {}),
    "rgb.webp": (RGB, {"lossless": True}),
    "deep.png": (DEEP, {}),
    "deep.tif": (DEEP, {}),
    "deep_lzw.tif": (DEEP, {"compression": "tiff_lzw"}),
    "float.tif": (DEEP.astype(np.float32) / 7, {}),
    "whole.tif": (DEEP.astype(np.int32) - 9, {}),
}


@pytest.mark.parametrize("name", LOSSLESS)
def test_images_are_read_as_they_were_written(name, tmp_path):
    array, options = LOSSLESS[name]
    read = read_image(save(tmp_path / name, array, **options))
    expected = array if array.ndim == 3 else array[..., None]
    np.testing.assert_array_equal(read, expected)
    assert read.dtype == (np.float32 if array.dtype == np.int32 else array.dtype)
    assert read_size(tmp_path / name) == read.shape[:2]


CONVERTED = {
    "palette.png": (palette(), np.array(palette().convert("RGB"))),
    "palette.gif": (palette(), np.array(palette().convert("RGB"))),
    "bits.png": (Image.fromarray(INDEX > 1), (INDEX > 1) * np.uint8(255)),
    "bits.tif": (Image.fromarray(INDEX > 1), (INDEX > 1) * np.uint8(255)),
    "alpha.png": (Image.fromarray(np.dstack([RGB, GRAY])), RGB),
    "gray_alpha.png": (Image.fromarray(np.dstack([GRAY, 255 - GRAY])), GRAY),
    "ink.tif": (Image.fromarray(RGB).convert("CMYK"), RGB),
}


@pytest.mark.parametrize("name", CONVERTED)
def test_images_of_other_modes_become_gray_or_rgb(name, tmp_path):
    picture, expected = CONVERTED[name]
    read = read_image(save(tmp_path / name, picture))
    np.testing.assert_array_equal(read, expected if expected.ndim == 3 else expected[..., None])
    assert read.dtype == np.uint8


@pytest.mark.parametrize("name", ["a.jpg", "b.JPEG", "c.webp", "ink.jpg", "d.tif"])
def test_lossy_images_are_nearly_what_was_written(name, tmp_path):
    picture = Image.fromarray(SMOOTH).convert("CMYK" if name == "ink.jpg" else "RGB")
    options = {"compression": "jpeg"} if name == "d.tif" else {}
    read = read_image(save(tmp_path / name, picture, quality=95, **options))
    assert read.shape == (20, 30, 3) and read.dtype == np.uint8
    assert np.abs(read.astype(int) - SMOOTH[..., None]).max() < 8


@pytest.mark.parametrize("channels", [3, 4])
def test_colours_of_16_bits_keep_them(channels, tmp_path):
    array = np.dstack([WIDE, DEEP])[..., :channels]
    read = read_image(save_png(tmp_path / "a.png", array))
    assert read.dtype == np.uint16
    np.testing.assert_array_equal(read, WIDE)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("deflate", [False, True])
def test_colours_of_16_bits_in_tiff_keep_them(order, deflate, tmp_path):
    np.testing.assert_array_equal(
        read_image(save_tiff(tmp_path / "a.tif", WIDE, order, deflate)), WIDE
    )


def test_planes_of_a_tiff_are_joined_or_refused(tmp_path):
    read = read_image(save_tiff(tmp_path / "a.tif", RGB, planar=True, bits=8))
    np.testing.assert_array_equal(read, RGB)
    path = save_tiff(tmp_path / "b.tif", WIDE, planar=True)
    refused(lambda: read_image(path), "b.tif", "16-bit", "interleaved")
    path = save_png(tmp_path / "c.png", np.dstack([DEEP, DEEP]))
    refused(lambda: read_image(path), "c.png", "16-bit", "without alpha")


UPRIGHT = {
    1: lambda array: array,
    2: lambda array: array[:, ::-1],
    3: lambda array: array[::-1, ::-1],
    4: lambda array: array[::-1],
    5: lambda array: array.T,
    6: lambda array: np.rot90(array, -1),
    7: lambda array: array[::-1, ::-1].T,
    8: lambda array: np.rot90(array),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "lzw.tif", "a.webp", "deep.png"])
def test_pictures_are_turned_upright(name, orientation, tmp_path):
    array = DEEP if name == "deep.png" else SMOOTH
    options = {"lzw.tif": {"compression": "tiff_lzw"}, "a.webp": {"lossless": True}}.get(name, {})
    lying = read_image(save(tmp_path / name, array, **options))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / name, array, exif=exif, **options)
    upright = UPRIGHT[orientation](lying[..., 0])
    np.testing.assert_array_equal(read_image(path)[..., 0], upright)
    assert read_size(path) == upright.shape
    if name not in ("a.jpg", "a.webp"):
        np.testing.assert_array_equal(read_mask(path), upright)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("photometric", ["rgb", "minisblack"])
@pytest.mark.parametrize(
    "count, planar", [(2, False), (4, False), (5, False), (5, True), (3, True)]
)
def test_all_bands_of_a_tiff_are_read(count, planar, photometric, kind, tmp_path):
    if photometric == "rgb" and count < 4:
        pytest.skip("Pillow reads three, and there is no RGB of two")
    bands = RNG.integers(0, 200, (20, 30, count)).astype(kind)
    path = tmp_path / "a.tif"
    stored = np.moveaxis(bands, -1, 0) if planar else bands
    layout = {"planarconfig": "separate" if planar else "contig", "photometric": photometric}
    tifffile.imwrite(path, stored, extrasamples=(0,) * (count - 3), **layout) if (
        photometric == "rgb"
    ) else tifffile.imwrite(path, stored, **layout)
    read = read_image(path)
    np.testing.assert_array_equal(read, bands)
    assert read.dtype == kind and read_size(path) == (20, 30)


@pytest.mark.parametrize("compression", ["lzw", "deflate", "packbits"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_bands_are_turned_and_alpha_is_left_out(orientation, compression, tmp_path):
    bands = RNG.integers(0, 256, (20, 30, 5)).astype(np.uint8)
    path = tmp_path / "a.tif"
    tag = (274, "H", 1, orientation, True)
    layout = {"photometric": "rgb", "extrasamples": (0, 2), "compression": compression}
    tifffile.imwrite(path, bands, extratags=[tag], **layout)
    picture = read_picture(path)
    for i in range(4):
        np.testing.assert_array_equal(picture.pixels[..., i], UPRIGHT[orientation](bands[..., i]))
    assert picture.pixels.shape[-1] == 4 and picture.orientation == orientation
    assert "alpha" in picture.notes[0] and read_size(path) == picture.pixels.shape[:2]


def test_alpha_that_hides_something_is_told(tmp_path):
    clear = np.dstack([RGB, GRAY])
    assert "alpha" in read_picture(save(tmp_path / "a.png", clear)).notes[0]
    clear[..., 3] = 255
    assert read_picture(save(tmp_path / "b.png", clear)).notes == ()


def test_images_too_large_for_the_memory_are_refused_by_their_header(tmp_path, monkeypatch):
    monkeypatch.setenv("ZOO_MEMORY", "1M")
    (tmp_path / "large.png").write_bytes(huge(2000, 2000))
    refused(lambda: read_image(tmp_path / "large.png"), "large.png", "of memory", "ZOO_MEMORY=")
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((300, 300, 5), np.uint8), photometric="rgb")
    refused(lambda: read_image(tmp_path / "a.tif"), "a.tif", "of memory", "ZOO_MEMORY=")


@pytest.mark.parametrize("progressive", [False, True])
def test_a_slightly_truncated_jpeg_is_read_with_a_note(progressive, tmp_path):
    smooth = np.add.outer(np.arange(256), np.arange(320)).astype(np.uint8)[..., None] + RGB[:1, :1]
    path = save(tmp_path / "a.jpg", smooth, progressive=progressive)
    raw, whole = path.read_bytes(), read_image(path)
    path.write_bytes(raw[:-20])
    picture = read_picture(path)
    assert "truncated" in picture.notes[0] and picture.pixels.shape == whole.shape
    np.testing.assert_allclose(picture.pixels[:200], whole[:200], atol=40)
    refused(lambda: read_mask(path), "a.jpg", "truncated")
    path.write_bytes(raw[: len(raw) // 4 if not progressive else 700])
    refused(lambda: read_image(path), "a.jpg", "truncated", "rows are missing")


def test_files_of_several_pictures_are_refused_but_for_phones(tmp_path):
    first, second = Image.fromarray(GRAY), Image.fromarray(255 - GRAY)
    for name in ["a.gif", "a.tif", "a.png", "a.webp"]:
        path = save(tmp_path / name, first, save_all=True, append_images=[second])
        refused(lambda path=path: read_image(path), name, "contains 2 images")
    path = tmp_path / "a.jpg"
    first.save(path, format="MPO", save_all=True, append_images=[second])
    assert read_image(path).shape == (20, 30, 1)


def test_the_content_of_a_file_counts_not_its_ending(tmp_path):
    save(tmp_path / "a.png", RGB).rename(tmp_path / "a.jpg")
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg"), RGB)


def huge(width, height):
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 50)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(map(png_chunk, chunks))


FAULTS = {
    "empty.png": (b"", "the file is empty"),
    "text.jpg": (b"not an image at all", "corrupt image, or not one of PNG, JPEG, TIFF"),
    "folder.png": (None, "cannot be read"),
    "gone.png": (0, "cannot be read"),
    "huge.png": (huge(40_000, 40_000), "40000 x 40000 pixels"),
    "flat.png": (huge(0, 40), "corrupt image"),
    "ends.png": (huge(900, 900), "truncated"),
}


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("reader", [read_image, read_mask])
def test_what_is_no_image_is_said(reader, name, tmp_path):
    content, reason = FAULTS[name]
    if content is None:
        (tmp_path / name).mkdir()
    elif content != 0:
        (tmp_path / name).write_bytes(content)
    refused(lambda: reader(tmp_path / name), name, reason)


def test_damaged_images_are_named(tmp_path):
    for name, array in [("a.png", RGB), ("a.jpg", RGB), ("a.tif", RGB), ("a.webp", RGB)]:
        path = save(tmp_path / name, array)
        raw = path.read_bytes()
        path.write_bytes(raw[: len(raw) * 2 // 3])
        refused(lambda path=path: read_image(path), name, "corrupt image")
    raw = bytearray(save(tmp_path / "c.tif", GRAY).read_bytes())
    height = raw.index(struct.pack("<HHII", 257, 4, 1, 20))
    raw[height + 8] = 40
    (tmp_path / "c.tif").write_bytes(raw)
    refused(lambda: read_image(tmp_path / "c.tif"), "c.tif", "cover 30 x 20 of 30 x 40 pixels")
    raw = bytearray(save(tmp_path / "b.png", GRAY).read_bytes())
    raw[len(raw) // 2] ^= 4
    (tmp_path / "b.png").write_bytes(raw)
    refused(lambda: read_image(tmp_path / "b.png"), "b.png", "corrupt image")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_floats_that_are_not_finite_are_refused(value, tmp_path):
    array = np.ones((4, 5), np.float32)
    array[1, 2:4] = value
    path = save(tmp_path / "a.tif", array)
    refused(lambda: read_image(path), "a.tif", "2 of its values are NaN or infinite")
    refused(lambda: read_mask(path), "a.tif", "not integers")


def test_pillows_limit_and_warnings_do_not_leak(tmp_path):
    (tmp_path / "large.png").write_bytes(huge(20_000, 20_000))
    save(tmp_path / "clear.png", palette(), transparency=bytes([0, 9, 99, 255]))
    with warnings.catch_warnings(action="error"):
        assert read_size(tmp_path / "large.png") == (20_000, 20_000)
        assert read_image(tmp_path / "clear.png").shape == (20, 30, 3)


def test_images_are_found_in_files_and_folders(tmp_path):
    for name in ["b/2.JPG", "b/deep/1.png", "a.tif", "b/notes.md"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    paths = find_images([tmp_path / "b", str(tmp_path / "a.tif")])
    assert paths == [tmp_path / name for name in ["b/2.JPG", "b/deep/1.png", "a.tif"]]
    refused(lambda: find_images([tmp_path / "c"]), "no such file or folder")
    refused(lambda: find_images([tmp_path / "b" / "notes.md"]), "not an image format", ".webp")
    (tmp_path / "empty").mkdir()
    refused(lambda: find_images([tmp_path / "empty"]), "contains no images", ".png")


# One mask


def test_masks_keep_their_values(tmp_path):
    for name, array in {
        "palette.png": palette(),
        "palette.tif": palette(),
        "palette.gif": palette(),
        "gray.png": INDEX,
        "gray.bmp": INDEX,
        "gray.tif": INDEX,
        "deep.png": INDEX.astype(np.uint16),
        "deep.tif": INDEX.astype(np.uint16),
        "whole.tif": INDEX.astype(np.int32),
        "float.tif": INDEX.astype(np.float32),
        "colour.png": np.repeat(INDEX[..., None], 3, axis=2),
        "alpha.png": np.dstack([INDEX, INDEX, INDEX, 255 - INDEX]),
    }.items():
        mask = read_mask(save(tmp_path / name, array))
        np.testing.assert_array_equal(mask, INDEX, name)
        assert mask.dtype.kind in "iu"
    for name in ["bits.png", "bits.tif"]:
        np.testing.assert_array_equal(read_mask(save(tmp_path / name, INDEX > 1)), INDEX > 1)


@pytest.mark.parametrize("bits", [2, 4])
def test_few_bits_are_spread_in_images_and_not_in_masks(bits, tmp_path):
    array = RNG.integers(0, 2**bits, (6, 8, 1), np.uint8)
    path = save_png(tmp_path / "a.png", array, bits)
    np.testing.assert_array_equal(read_mask(path), array[..., 0])
    np.testing.assert_array_equal(read_image(path), array * (255 // (2**bits - 1)))


def test_colours_of_masks(tmp_path):
    np.testing.assert_array_equal(read_mask(save(tmp_path / "a.png", RGB)), RGB)
    path = save(tmp_path / "b.png", palette())
    np.testing.assert_array_equal(read_mask(path, colours=True), palette().convert("RGB"))
    path = save(tmp_path / "c.png", np.zeros((3, 4, 3), np.uint8))
    assert read_mask(path).shape == (3, 4)
    assert read_mask(path, colours=True).shape == (3, 4, 3)


# Images with masks

NAMES = ("1", "2", "3")
LAYOUTS = {  # where images and masks of the splits lie
    "plain": {None: ("images/{}.jpg", "masks/{}.png")},
    "other names": {None: ("img/{}.tif", "annot/{}.tif")},
    "suffix": {None: ("imgs/{}.png", "label/{}_Mask.png")},
    "deep": {None: ("image/a/b/{}.png", "labels/a/b/{}_L.png")},
    "split outside": {
        split: (f"{split}/images/{{}}.png", f"{split}/masks/{{}}_seg.png")
        for split in ("train", "val", "test")
    },
    "split inside": {
        split: (f"images/{split}/{{}}.png", f"Annotations/{split}/{{}}.png")
        for split in ("training", "validation")
    },
    "camvid": {
        split: (f"{split}/{{}}.png", f"{split}annot/{{}}.png") for split in ("train", "val", "test")
    },
    "kaggle": {
        split: (f"{split}_images/{{}}.png", f"{split}_masks/{{}}_gt.png") for split in ("train",)
    },
}


def write(root, layout="plain", mask=lambda i: (INDEX > 1) * np.uint8(255), image=RGB):
    """Write a layout of three images a split; `mask` makes the i-th mask."""
    for pictures, masks in LAYOUTS[layout].values():
        for i, name in enumerate(NAMES):
            save(root / pictures.format(name), image)
            save(root / masks.format(name), mask(i))
    return root


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_of_images_and_masks(layout, tmp_path):
    source = read(write(tmp_path / "my nuclei", layout), MASKS)
    assert source.name == "my_nuclei" and source.classes == ("background", "foreground")
    split = {None: "train", "training": "train", "val": "validation"}
    wanted = {split.get(name, name): 3 for name in LAYOUTS[layout]}
    assert {name: len(examples) for name, examples in source.splits.items()} == wanted
    first = next(iter(source.splits["train"]))
    pictures, _ = next(iter(LAYOUTS[layout].values()))
    assert first.name == pictures.format("1")
    example = first.read()
    assert example["image"].shape == (20, 30, 3) and example["image"].dtype == np.uint8
    np.testing.assert_array_equal(example["segmentation_mask"], INDEX > 1)
    assert example["segmentation_mask"].dtype == np.int32
    assert source.options == {"tile_height": 32, "tile_width": 32} and [*source.info] == ["layout"]


def test_fingerprint_and_ignored_files(tmp_path):
    write(tmp_path)
    (tmp_path / "images" / "Thumbs.db").write_bytes(b"x")
    save(tmp_path / "preview.png", GRAY)
    (tmp_path / "classes.txt").write_text("ground\nroad\n")
    source = read(tmp_path, MASKS)
    assert source.info["ignored"] == {".png": 1}  # what Windows leaves does not count
    assert source.classes == ("ground", "road")
    (tmp_path / "classes.txt").write_text("ground\nroof\n")
    assert read(tmp_path, MASKS).fingerprint != source.fingerprint


@pytest.mark.parametrize(
    ("height", "width", "tile"), [(360, 480, (384, 480)), (512, 512, (512, 512)), (641, 60, None)]
)
def test_small_images_of_one_size_are_one_tile(height, width, tile, tmp_path, monkeypatch):
    monkeypatch.setattr(image_masks, "ENOUGH", 1)
    shape = (height, width)
    write(tmp_path, mask=lambda i: np.eye(*shape, dtype=np.uint8), image=np.zeros(shape, np.uint8))
    expected = dict(zip(("tile_height", "tile_width"), tile, strict=True)) if tile else {}
    assert read(tmp_path, MASKS).options == expected
    save(tmp_path / "images" / "1.jpg", GRAY)
    assert read(tmp_path, MASKS).options == {}


@pytest.mark.parametrize(
    ("count", "shape", "tile"),
    [
        (20, (584, 565), (192, 192)),
        (118, (320, 480), (256, 256)),
        (367, (360, 480), (384, 480)),
        (8, (100, 90), (128, 96)),  # smaller tiles would not be more
        (3, (3000, 4000), None),
    ],
)
def test_few_images_are_cut_into_smaller_tiles(count, shape, tile, monkeypatch):
    monkeypatch.setattr(image_masks, "read_size", lambda path: shape)
    expected = dict(zip(("tile_height", "tile_width"), tile, strict=True)) if tile else {}
    assert image_masks.suggested_tiles([(None, i) for i in range(count)]) == expected
    tests = [("test", i) for i in range(1000)]
    assert image_masks.suggested_tiles([("train", i) for i in range(count)] + tests) == expected


def test_partners_that_are_missing_or_too_many_are_counted(tmp_path):
    write(tmp_path)
    for i in range(5):
        save(tmp_path / "images" / f"lone{i}.png", RGB)
    save(tmp_path / "masks" / "orphan.png", INDEX)
    save(tmp_path / "masks" / "2_mask.png", INDEX)
    save(tmp_path / "images" / "3.png", RGB)
    refused(
        lambda: read(tmp_path, MASKS),
        "images without a mask: 5 (images/lone0.png, images/lone1.png, images/lone2.png ...)",
        "masks without an image: 1 (masks/orphan.png)",
        "files with the name of another: 2 (images/3.png, masks/2_mask.png)",
        "_mask, _label",
    )


def test_an_own_name_comes_before_a_suffix(tmp_path):
    for name, mask in [("a", "a"), ("a_l", "a_l"), ("b", "b_L")]:
        save(tmp_path / "images" / f"{name}.png", RGB)
        save(tmp_path / "masks" / f"{mask}.png", INDEX > 1)
    assert len(read(tmp_path, MASKS).splits["train"]) == 3


def test_bad_files_are_one_example_that_says_why(tmp_path):
    write(tmp_path)
    save(tmp_path / "masks" / "1.png", (INDEX > 1)[:, :25])
    (tmp_path / "masks" / "2.png").write_bytes(b"x")
    (tmp_path / "images" / "3.jpg").write_bytes(b"x")
    first, second, third = read(tmp_path, MASKS).splits["train"]
    refused(first.read, "masks/1.png", "25 x 20 pixels", "1.jpg has 30 x 20")
    refused(second.read, "masks/2.png", "corrupt image")
    refused(third.read, "images/3.jpg", "corrupt image")
    for name in NAMES:
        (tmp_path / "masks" / f"{name}.png").write_bytes(b"x")
    refused(lambda: read(tmp_path, MASKS), "masks/1.png", "corrupt image")


def test_faults_of_layouts_are_named(tmp_path):
    write(tmp_path / "a")
    save(tmp_path / "a" / "images" / "train" / "9.png", RGB)
    save(tmp_path / "a" / "masks" / "train" / "9.png", INDEX)
    refused(lambda: read(tmp_path / "a", MASKS), "images/1.jpg", "in no split")
    (tmp_path / "b" / "images").mkdir(parents=True), (tmp_path / "b" / "masks").mkdir()
    refused(lambda: read(tmp_path / "b", MASKS), "contain no images")
    save(tmp_path / "c" / "images" / "1.png", RGB)
    refused(lambda: read(tmp_path / "c", MASKS), "none of the layouts", "trainannot", ".webp")
    write(tmp_path / "d")
    for name in ["classes.txt", "codes.txt"]:
        (tmp_path / "d" / name).write_text("a\nb\n")
    refused(lambda: read(tmp_path / "d", MASKS), "classes.txt and codes.txt", "Keep only one")


# What values mean

INFERRED = {
    "black and white": ((0, 255), ("background", "foreground"), (0, 1)),
    "numbers of two": ((0, 1), ("background", "foreground"), (0, 1)),
    "any two": ((7, 99), ("background", "foreground"), (0, 1)),
    "two and void": ((0, 1, 255), ("background", "foreground"), (0, 1, -1)),
    "signed": ((-1, 0, 1), ("background", "foreground"), (-1, 0, 1)),
    "numbers": ((0, 1, 2), ("0", "1", "2"), (0, 1, 2)),
    "from one": ((1, 2, 3), ("0", "1", "2", "3"), (1, 2, 3)),
    "a gap": ((0, 2, 5), ("0", "1", "2", "3", "4", "5"), (0, 2, 5)),
    "voc": ((0, 1, 2, 255), ("0", "1", "2"), (0, 1, 2, -1)),
    "many and void": ((*range(60), 255), tuple(map(str, range(60))), (*range(60), -1)),
}


@pytest.mark.parametrize("name", INFERRED)
def test_values_without_a_list(name, tmp_path):
    values, classes, wanted = INFERRED[name]
    meant = mask_classes.meaning(dict.fromkeys(values, "1.png"), None)
    assert meant.classes == classes
    mapped = mask_classes.mapped("1.png", np.array([values]), meant)
    np.testing.assert_array_equal(mapped, [wanted])


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ((0,), ["have only 0", "two classes"]),
        ((3, -1), ["have only -1, 3"]),
        (range(256), ["256 values", "smoothed, or JPEG", "PNG"]),
        ((0, 1, 2, 253, 254, 255), ["0, 1, 2, 253", "must be exact"]),
        ((0, 128, 255), ["too far apart", "name 128 128 128"]),
        ((0, 1, 700), ["from 0 to 700", "instance ids"]),
        ((-7, 0, 1), ["from -7 to 1"]),
        ((), ["The masks"]),
    ],
)
def test_values_that_are_no_classes_are_refused(values, words):
    where = {value: f"{value}.png" for value in values}
    refused(lambda: mask_classes.meaning(where, None), *words)


def test_a_value_in_one_mask_decides_for_all(tmp_path):
    write(tmp_path, mask=lambda i: np.full((20, 30), [0, 255, 255][i], np.uint8))
    first, second, _ = read(tmp_path, MASKS).splits["train"]
    assert first.read()["segmentation_mask"].max() == 0
    assert second.read()["segmentation_mask"].min() == 1


def listed(root, text, name="classes.txt"):
    root.mkdir(exist_ok=True)
    (root / name).write_text(text)
    return root


def masks_of(source, split="train"):
    return [example.read()["segmentation_mask"] for example in source.splits[split]]


@pytest.mark.parametrize("file", ["classes.txt", "labels.txt", "codes.txt"])
def test_names_of_values(file, tmp_path):
    text = "\ufeff# my classes\nsky\n\nVoid\ntraffic light\nzone 30\n"
    source = read(write(listed(tmp_path, text, file), mask=lambda i: INDEX), MASKS)
    assert source.classes == ("sky", "traffic light", "zone 30")
    np.testing.assert_array_equal(masks_of(source)[0], np.array([0, -1, 1, 2])[INDEX])


def test_a_value_without_a_name_is_found_with_its_file(tmp_path):
    write(listed(tmp_path, "a\nb\nc\n"), mask=lambda i: INDEX if i == 1 else INDEX % 3)
    first, second, _ = read(tmp_path, MASKS).splits["train"]
    assert first.read()["segmentation_mask"].max() == 2
    refused(second.read, "masks/2.png", "the mask has 3", "which is not in")


def test_255_beside_a_list(tmp_path):
    write(listed(tmp_path / "two", "ground\ncrack\n"))
    assert masks_of(read(tmp_path / "two", MASKS))[0].max() == 1
    with_void = np.where(INDEX == 3, 255, INDEX).astype(np.uint8)
    write(listed(tmp_path / "three", "a\nb\nc\n"), mask=lambda i: with_void)
    np.testing.assert_array_equal(
        masks_of(read(tmp_path / "three", MASKS))[0], np.array([0, 1, 2, -1])[INDEX]
    )
    write(listed(tmp_path / "lost", "a\nb\nvoid\n"))
    refused(
        lambda: read(tmp_path / "lost", MASKS),
        "0, 255",
        "1 of the classes",
        "positions in the list",
    )


COLOURS = np.array([[0, 0, 0], [128, 64, 128], [0, 255, 9], [9, 9, 9]], np.uint8)
COLOUR_LISTS = {
    "classes.txt": "ground 0 0 0\nmain road 128 64 128\ntree,0,255,9\nunlabelled 9 9 9\n",
    "class_dict.csv": 'name,r,g,b\n"ground",0,0,0\nmain road, 128, 64, 128\ntree,0,255,9\n'
    "unlabelled,9,9,9\n",
}


@pytest.mark.parametrize("file", COLOUR_LISTS)
@pytest.mark.parametrize("form", ["rgb", "rgba", "palette", "index"])
def test_colours_of_classes(file, form, tmp_path):
    def mask(i):
        if form == "palette":  # indices that are not the order of the list
            return palette(3 - INDEX, COLOURS[::-1].tolist())
        if form == "index":
            return INDEX
        picture = Image.fromarray(COLOURS[INDEX] if i else np.zeros((20, 30, 3), np.uint8))
        return picture.convert(form.upper())

    source = read(write(listed(tmp_path, COLOUR_LISTS[file], file), mask=mask), MASKS)
    assert source.classes == ("ground", "main road", "tree")
    np.testing.assert_array_equal(masks_of(source)[1], np.array([0, 1, 2, -1])[INDEX])


def test_grays_named_as_colours(tmp_path):
    grays = np.array([0, 255, 128, 128], np.uint8)
    text = "ground 0 0 0\nroof 128 128 128\nroad 255 255 255\n"
    source = read(write(listed(tmp_path, text), mask=lambda i: grays[INDEX]), MASKS)
    np.testing.assert_array_equal(masks_of(source)[0], np.array([0, 2, 1, 1])[INDEX])


def test_colours_that_nobody_named(tmp_path):
    write(tmp_path, mask=lambda i: COLOURS[INDEX])
    refused(lambda: read(tmp_path, MASKS), "masks/1.png", "in colours", "name R G B")
    listed(tmp_path, "a\nb\n")
    refused(lambda: read(tmp_path, MASKS), "masks/1.png", "in colours", "name R G B")
    listed(tmp_path, "a 0 0 0\nb 128 64 128\nc 0 255 9\n")
    first = next(iter(read(tmp_path, MASKS).splits["train"]))
    refused(first.read, "masks/1.png", "(9, 9, 9)", "which is not in")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["classes.txt", "file is empty"]),
        ("# nothing\n", ["names 0 classes"]),
        ("nucleus\n", ["names 1 classes", "background"]),
        ("a\nb\na\n", ["names a occur twice"]),
        ("a 1 2 3\nb 1 2 3\n", ["colours (1, 2, 3) occur twice"]),
        ("a 1 2 3\nb\n", ["1 of 2 classes have a colour"]),
        ("a 1 2 3\nb 1 2 300\n", ["exceeds 255"]),
        ("\udc80\n", ["not a text file"]),
    ],
)
def test_faults_of_lists_are_named(text, words, tmp_path):
    write(tmp_path)
    (tmp_path / "classes.txt").write_bytes(text.encode("utf-8", "surrogateescape"))
    refused(lambda: read(tmp_path, MASKS), "classes.txt", *words)


# Classes of images


def test_many_classes_and_long_lines_take_no_time(tmp_path):
    many = tmp_path / "classes.txt"
    many.write_text("".join(f"class {i}\n" for i in range(20_000)))
    assert len(mask_classes.read_list(many).names) == 20_000
    many.write_text("a" + " " * 10**6 + "b\nc\n")
    refused(lambda: mask_classes.read_list(many), "classes.txt", "1,000,002 characters")


def test_class_folders_of_images(tmp_path):
    for name, array in [("cat/1.png", RGB), ("cat/2.jpg", GRAY), ("dog/1.tif", DEEP)]:
        save(tmp_path / "train" / name, array)
        save(tmp_path / "test" / name, array)
    source = read(tmp_path, PICTURES)
    assert source.classes == ("cat", "dog") and set(source.splits) == {"train", "test"}
    examples = [example.read() for example in source.splits["train"]]
    assert [example["image"].shape[2] for example in examples] == [3, 1, 1]
    assert [example["label"] for example in examples] == [0, 0, 1]
    np.testing.assert_array_equal(examples[2]["image"][..., 0], DEEP)


# Arrays


def arrays(path, **changes):
    made = {
        "x_train": RNG.integers(0, 256, (4, 6, 5, 3), np.uint8),
        "y_train": np.arange(4) % 2,
    } | changes
    np.savez(path / "own.npz", **made)
    return path / "own.npz"


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(4, 6, 5), (4, 6, 5, 1), (4, 6, 5, 3), (4, 6, 5, 7)])
def test_arrays_of_images(shape, kind, tmp_path):
    x = RNG.integers(0, 200, shape).astype(kind)
    source = read(arrays(tmp_path, x_train=x), PICTURES)
    assert source.classes == ("0", "1")
    examples = [example.read() for example in source.splits["train"]]
    assert [example["label"] for example in examples] == [0, 1, 0, 1]
    assert isinstance(examples[0]["label"], int)
    np.testing.assert_array_equal(examples[1]["image"], x[1].reshape(6, 5, -1))
    assert examples[1]["image"].dtype == (np.float32 if kind == np.float64 else kind)


@pytest.mark.parametrize("channel", [(), (1,)])
def test_arrays_of_masks(channel, tmp_path):
    y = RNG.integers(0, 2, (4, 6, 5, *channel)).astype(np.uint8)
    source = read(arrays(tmp_path, y_train=y * 255), MASKS)
    assert source.classes == ("background", "foreground")
    example = next(iter(source.splits["train"])).read()
    assert set(example) == {"image", "segmentation_mask"}
    np.testing.assert_array_equal(example["segmentation_mask"], y[0].reshape(6, 5))
    assert example["segmentation_mask"].dtype == np.int32
    y = y.astype(int) + 1
    y[0, 0, 0] = -1
    path = arrays(tmp_path, y_train=y, classes=np.array(["ground", "road", "roof"]))
    source = read(path, MASKS)
    assert source.classes == ("ground", "road", "roof")
    np.testing.assert_array_equal(masks_of(source)[0], y[0].reshape(6, 5))


@pytest.mark.parametrize(
    ("kind", "changes", "words"),
    [
        (PICTURES, dict(x_train=np.zeros((4, 6), np.uint8)), ["(4, 6)", "height, width, channels"]),
        (PICTURES, dict(x_train=np.zeros((4, 3, 6, 5), np.uint8)), ["moveaxis(x_train, 1, 3)"]),
        (PICTURES, dict(x_train=np.zeros((4, 6, 5), int)), ["int64", "astype('uint8')"]),
        (PICTURES, dict(x_train=np.full((4, 6, 5), np.nan)), ["NaN", "x_train[0]"]),
        (PICTURES, dict(x_train=np.full((4, 6, 5), 1e300)), ["infinity"]),
        (PICTURES, dict(y_train=np.arange(4) - 1), ["from -1"]),
        (MASKS, dict(), ["'y_train' of shape (4,)", "(4, 6, 5)"]),
        (MASKS, dict(y_train=np.full((4, 6, 5), 0.5)), ["float64", "round()"]),
        (MASKS, dict(y_train=np.zeros((4, 6, 5), int)), ["'y_train'", "have only 0"]),
        (MASKS, dict(y_train=np.arange(120).reshape(4, 6, 5) * 4), ["'y_train'", "476"]),
    ],
)
def test_faults_of_arrays_of_images_are_named(kind, changes, words, tmp_path):
    path = arrays(tmp_path, **changes)
    refused(lambda: read(path, kind), "own.npz", *words)


# Real data


@pytest.mark.skipif("ZOO_DATA" not in os.environ, reason="needs ZOO_DATA")
@pytest.mark.parametrize(
    ("name", "sizes", "shape", "classes", "tile"),
    [
        ("camvid", {"train": 367, "validation": 101, "test": 233}, (360, 480, 3), 12, (384, 480)),
        ("isbi_membrane", {"train": 30}, (512, 512, 1), 2, (256, 256)),  # few images: tiles
        ("dsb2018", {"train": 334}, (256, 256, 1), 2, (256, 256)),
    ],
)
def test_real_data(name, sizes, shape, classes, tile):
    source = read(pathlib.Path(os.environ["ZOO_DATA"]) / name, MASKS)
    assert {split: len(examples) for split, examples in source.splits.items()} == sizes
    assert len(source.classes) == classes
    assert tuple(source.options.values()) == tile
    example = next(iter(source.splits["train"])).read()
    assert example["image"].shape == shape and example["segmentation_mask"].shape == shape[:2]


def test_reading_images_needs_pillow_and_numpy_alone():
    code = (
        "import sys; from datasets.readers.masks import image_masks;"
        "bad = {'tensorflow', 'keras', 'scipy', 'matplotlib', 'open3d'} & set(sys.modules);"
        "sys.exit(str(bad) if bad else 0)"
    )
    root = pathlib.Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True)
