"""Every format of clouds is read as it was written, and what is wrong with a file is said."""

import struct

import numpy as np
import pytest

from datasets.readers import clouds
from datasets.readers.clouds.pcd import decompress
from datasets.source import BadInput

POINTS = np.random.default_rng(0).normal(0, 5, (60, 3)).round(3).astype(np.float32)
LABELS = np.arange(60) % 4


def write_open3d(path, ascii=False, compressed=False, points=POINTS):
    o3d = pytest.importorskip("open3d")
    cloud = o3d.t.geometry.PointCloud(points)
    cloud.point.label = o3d.core.Tensor(LABELS.astype(np.int32)[: len(points), None])
    o3d.t.io.write_point_cloud(str(path), cloud, write_ascii=ascii, compressed=compressed)


def write_las(path, points=POINTS, version="1.2", kind=1):
    import laspy

    header = laspy.LasHeader(version=version, point_format=kind)
    header.scales, header.offsets = [0.001] * 3, np.floor(points.min(axis=0))
    las = laspy.LasData(header)
    las.x, las.y, las.z = np.asarray(points, np.float64).T
    las.classification = LABELS.astype(np.uint8)
    las.write(path)


def write_text(path, separator=" ", header="", labels=False):
    rows = [[f"{v:.3f}" for v in row] for row in POINTS]
    if labels:
        rows = [[*row, str(label)] for row, label in zip(rows, LABELS, strict=True)]
    path.write_text(header + "".join(separator.join(row) + "\n" for row in rows))


def write_bin(path):
    np.hstack([POINTS, np.ones((60, 1), np.float32)]).tofile(path)
    path.with_suffix(".label").write_bytes((LABELS | 7 << 16).astype("<u4").tobytes())


WRITERS = {
    "binary.ply": write_open3d,
    "ascii.ply": lambda path: write_open3d(path, ascii=True),
    "binary.pcd": write_open3d,
    "ascii.pcd": lambda path: write_open3d(path, ascii=True),
    "compressed.pcd": lambda path: write_open3d(path, compressed=True),
    "plain.xyz": write_text,
    "semicolons.txt": lambda path: write_text(path, "; "),
    "labels.csv": lambda path: write_text(path, ",", "X,Y,Z,Classification\n", labels=True),
    "cloudcompare.txt": lambda path: write_text(path, " ", "//X Y Z scalar_Label\n60\n"[:21], True),
    "named.npz": lambda path: np.savez_compressed(path, points=POINTS, labels=LABELS),
    "unnamed.npz": lambda path: np.savez(path, POINTS.astype(np.float64)),
    "wide.npy": lambda path: np.save(path, np.hstack([POINTS, POINTS])),
    "kitti.bin": write_bin,
    "old.las": write_las,
    "old.laz": write_las,
    "new.las": lambda path: write_las(path, version="1.4", kind=6),
    "new.laz": lambda path: write_las(path, version="1.4", kind=6),
}
UNLABELLED = {"plain.xyz", "semicolons.txt", "unnamed.npz", "wide.npy"}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_is_read_as_written(name, tmp_path):
    WRITERS[name](tmp_path / name)
    cloud = clouds.read_cloud(tmp_path / name)
    assert cloud["points"].dtype == np.float32 and cloud["offset"].dtype == np.float64
    written = POINTS.astype(np.float64)
    np.testing.assert_allclose(cloud["points"] + cloud["offset"], written, rtol=0, atol=6e-4)
    if name in UNLABELLED:
        assert "labels" not in cloud
    else:
        assert cloud["labels"].dtype == np.int64
        np.testing.assert_array_equal(cloud["labels"], LABELS)


@pytest.mark.parametrize("suffix", ["las", "laz", "npy", "csv"])
def test_world_coordinates_keep_their_millimetres(suffix, tmp_path):
    world = POINTS.astype(np.float64) + [600_000.123, 5_000_000.456, 7]
    path = tmp_path / f"world.{suffix}"
    {
        "npy": lambda: np.save(path, world),
        "csv": lambda: np.savetxt(path, world, "%.3f", delimiter=","),
    }.get(suffix, lambda: write_las(path, world))()
    cloud = clouds.read_cloud(path)
    assert np.abs(cloud["points"]).max() < 100
    np.testing.assert_allclose(cloud["points"] + cloud["offset"], world, rtol=0, atol=1.1e-3)


def test_long_compressed_pcd_uses_references_into_its_own_output(tmp_path):
    points = np.repeat(np.arange(3000, dtype=np.float32), 3).reshape(-1, 3) // 500
    write_open3d(tmp_path / "a.pcd", compressed=True, points=points[: len(LABELS)])
    np.testing.assert_array_equal(
        clouds.read_cloud(tmp_path / "a.pcd")["points"], points[: len(LABELS)]
    )
    assert decompress(b"\x01ab" + b"\xe0\x05\x01", 16) == b"ab" * 8  # a copy longer than its source
    assert decompress(b"\x01ab" + b"\xe0\x05\x02", 16) is None  # a reference before the start


@pytest.mark.parametrize("label", ["", "property uchar label\n"])
def test_ply_with_faces_doubles_and_big_endian(label, tmp_path):
    path = tmp_path / "mesh.ply"
    head = "ply\nformat {} 1.0\nelement camera 1\nproperty uchar id\nelement vertex 3\n" + (
        f"property double x\nproperty double y\nproperty double z\n{label}"
        "element face 1\nproperty list uchar int vertex_indices\nend_header\n"
    )
    corners, code = np.float32([[0, 0, 0], [1, 0, 0], [0, 1, 2.5]]), b"\7" if label else b""
    path.write_bytes(
        head.format("binary_big_endian").encode()
        + b"\x09"
        + b"".join(struct.pack(">3d", *corner) + code for corner in corners)
        + struct.pack(">B3i", 3, 0, 1, 2)
    )
    binary = clouds.read_cloud(path)["points"]
    end = " 7\n" if label else "\n"
    path.write_text(head.format("ascii") + f"9\n0 0 0{end}1 0 0{end}0 1 2.5{end}3 0 1 2\n")
    np.testing.assert_array_equal(clouds.read_cloud(path)["points"], binary)
    if label:  # of the vertices, which are all that is labelled
        np.testing.assert_array_equal(binary, corners)
    else:
        x, y, z = binary.T
        assert len(x) == 10_000 and min(x.min(), y.min()) >= 0 and (x + y).max() <= 1
        np.testing.assert_allclose(z, 2.5 * y, atol=1e-6)
        np.testing.assert_allclose([x.mean(), y.mean()], [1 / 3, 1 / 3], atol=0.01)


def test_rays_that_met_nothing_are_left_out_of_an_organised_pcd(tmp_path):
    path = tmp_path / "image.pcd"
    path.write_text(
        "VERSION .7\nFIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nWIDTH 2\nHEIGHT 2\nDATA ascii\n"
        "1 2 3\nnan nan nan\n4 5 6\nnan nan nan\n"
    )
    np.testing.assert_array_equal(clouds.read_cloud(path)["points"], [[1, 2, 3], [4, 5, 6]])


def ply(count, body, fields="property float x\nproperty float y\nproperty float z\n"):
    head = f"ply\nformat ascii 1.0\nelement vertex {count}\n{fields}end_header\n{body}"
    return head.encode()


def npz(**arrays):
    def write(path):
        np.savez(path, **arrays)

    return write


BAD = {
    "empty.xyz": (b"", "empty"),
    "empty.las": (b"", "empty"),
    "empty.npz": (b"", "empty"),
    "blank.txt": (b"\n\n", "no points"),
    "none.ply": (ply(0, ""), "no points"),
    "few.ply": (ply(3, "0 0 0\n1 1 1\n"), "declares 3 lines, but 2 follow"),
    "huge.ply": (ply(10**12, "0 0 0\n"), "declares 1000000000000 lines"),
    "flat.ply": (ply(1, "0 0\n", "property float x\nproperty float y\n"), "no single x, y and z"),
    "typo.ply": (ply(1, "0 0 0\n", "property flaot x\n"), "property flaot x"),
    "words.ply": (ply(1, "0 0 zero\n"), "not numeric"),
    "other.pcd": (b"hello\n", "no complete .pcd header"),
    "nan.xyz": (b"0 0 0\nnan 1 1\n", "1 of 2 points are NaN or infinite, the first is point 1"),
    "two.csv": (b"1,2\n3,4\n", "2 numbers, not x y z"),
    "ragged.xyz": (b"1 2 3\n4 5\n", "not numeric"),
    "image.txt": (b"\x89PNG\r\n\x1a\n\xff", "not a text file"),
    "far.csv": (b"0,0,0\n1e9,0,0\n", "1e+09 m apart"),
    "cut.bin": (b"\0" * 37, "37 bytes"),
    "fake.las": (b"LASX" + b"\0" * 400, "not a LAS file"),
    "fake.npz": (b"PK\x03\x04nothing", "a corrupt .npz"),
    "fake.npy": (b"\x93NUMPY\x01\x00\xff\xff{", "header is corrupt"),
    "shape.npz": (npz(points=np.zeros((4, 2))), "(4, 2)"),
    "type.npz": (npz(points=np.array([["a", "b", "c"]])), "type <U1"),
    "pickled.npz": (npz(points=np.array([{}, None], object)), "Python objects"),
    "unclear.npz": (npz(a=np.zeros((4, 3)), b=np.zeros((5, 3))), "a (4, 3), b (5, 3)"),
    "labels.npz": (npz(points=np.zeros((4, 3)), labels=np.zeros(3, int)), "labels of shape (3,)"),
    "halves.npz": (npz(points=np.zeros((4, 3)), labels=np.full(4, 0.5)), "not integers"),
    "cloud.step": (b"v 0 0 0", ".step is not a point cloud format"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_named_with_the_reason(name, tmp_path):
    content, reason = BAD[name]
    path = tmp_path / name
    content(path) if callable(content) else path.write_bytes(content)
    with pytest.raises(BadInput) as caught:
        clouds.read_cloud(path)
    assert name in str(caught.value) and reason in str(caught.value)


def test_a_declared_count_is_checked_before_memory_is_taken(tmp_path):
    for name, old, new in [
        ("binary.ply", b"vertex 60", b"vertex 60000000000"),
        ("binary.pcd", b"60", b"60000000000"),
        ("wide.npy", b"(60, 6)", b"(60000000000, 6)"),
    ]:
        WRITERS[name](tmp_path / name)
        raw = (tmp_path / name).read_bytes().replace(old, new)
        if name.endswith("npy"):
            raw = raw.replace(b" " * (len(new) - len(old)) + b"\n", b"\n")
        (tmp_path / name).write_bytes(raw)
        with pytest.raises(BadInput, match="declares"):
            clouds.read_cloud(tmp_path / name)


def test_find_clouds_expands_folders_and_names_what_is_wrong(tmp_path):
    (tmp_path / "b" / ".hidden").mkdir(parents=True)
    for name in ["a.xyz", "b/c.PLY", "b/d.laz", "b/.hidden/e.ply", "b/notes.md"]:
        (tmp_path / name).touch()
    paths = clouds.find_clouds([tmp_path / "b", tmp_path / "a.xyz"])
    assert [path.name for path in paths] == ["c.PLY", "d.laz", "a.xyz"]
    (tmp_path / "void").mkdir()
    for name, reason in [("void", "no point clouds"), ("x", "no such"), ("b/notes.md", "format")]:
        with pytest.raises(BadInput, match=reason):
            clouds.find_clouds([tmp_path / name])
