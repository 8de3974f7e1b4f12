"""Clouds as other programs write them: what is decided is said, what is unclear is refused."""

import gzip
import random
import struct

import laspy
import numpy as np
import pytest

from datasets.readers import clouds, read
from datasets.readers.clouds import crs, scans
from datasets.source import BadInput
from tests.readers.test_readers_clouds import write_las
from tests.readers.test_readers_fuzz import damage
from tests.readers.test_readers_layouts import OBJECTS, SCENES, examples, put

ROWS = np.random.default_rng(1).uniform([4, 6, 1], [6, 8, 3], (40, 3)).round(4)
XYZ = [[f"{v:.4f}" for v in row] for row in ROWS]
COMMAS = [[word.replace(".", ",") for word in row] for row in XYZ]


def table(rows, separator, head=""):
    return (head + "".join(separator.join(row) + "\n" for row in rows)).encode()


def counted(rows):
    return [[str(i), *row] for i, row in enumerate(rows)]


TABLES = {
    "excel.csv": table(COMMAS, ";", "X;Y;Z\n"),
    "blanks.xyz": table(COMMAS, " "),
    "tabs.txt": table(COMMAS, "\t", "x\ty\tz\n"),
    "ids.csv": table(counted(XYZ), ",", "Point ID,X (m),Y (m),Z (m)\n"),
    "geodesy.csv": table([r[::-1] for r in XYZ], ",", "Height,Northing,Easting\n"),
    "quoted.csv": table([[f'"{w}"' for w in r] for r in XYZ], ",", '"x","y","z"\n'),
    "cp1252.csv": "# Gerät 7\n".encode("cp1252") + table(XYZ, ";", "x;y;z\n"),
    "wide.csv": table(XYZ, ",", "x,y,z\n").decode().encode("utf-16"),
    "packed.xyz.gz": gzip.compress(table(XYZ, " ")),
    "packed.CSV.GZ": gzip.compress(table(XYZ, ",", "x,y,z\n")),
    "points.txt": b"40\n" + table(XYZ, " "),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_of_other_programs_are_read_as_meant(name, tmp_path):
    cloud = clouds.read_cloud(put(tmp_path / name, TABLES[name]))
    np.testing.assert_allclose(cloud["points"], ROWS, rtol=0, atol=1e-6)
    converted = "commas are decimal commas" in cloud.get("notes", [])
    assert converted == (name in ("excel.csv", "blanks.xyz", "tabs.txt"))


UNITS = {
    "feet.csv": (b"x (ft),y (ft),z (m)\n1000,0,0\n0,0,1\n", [304.8, 0, 0]),
    "inside.xyz": (b"X_mm Y_mm Z_mm\n1000 0 0\n0 0 1\n", [1, 0, 0]),
    "narrow.csv": ("x;y;z\n1\u202f000,5;2;3\n4;5;6\n".encode(), [1000.5, 2, 3]),
    "swiss.csv": ("x;y;z\n1\u2019000.5;2;3\n4;5;6\n".encode(), [1000.5, 2, 3]),
    "german.csv": (b"x;y;z\n1.234,5;2,5;3\n4;5.000;6\n", [1234.5, 2.5, 3]),
    "english.csv": (b"x;y;z\n1,234.5;2;3\n4;5;6\n", [1234.5, 2, 3]),
}


@pytest.mark.parametrize("name", UNITS)
def test_units_and_signs_of_thousands(name, tmp_path):
    content, first = UNITS[name]
    cloud = clouds.read_cloud(put(tmp_path / name, content))
    np.testing.assert_allclose(cloud["points"][0], first, rtol=1e-6)
    assert name in ("narrow.csv", "swiss.csv") or cloud["notes"]


UNCLEAR = {
    "mixed.csv": (b"x;y;z\n1.5;2,5;3\n", "the meaning of a comma is ambiguous"),
    "both.csv": (b"1,0416,2,5,3,0\n1,5,2,0051,3,1\n", "decimal commas and commas between columns"),
    "short.csv": (b"x,y,z\n1,4416,2,5,3,4\n", "header names 3 columns but its lines have 6"),
    "degrees.csv": (b"lon,lat,alt\n5,6,7\n", "lon, lat, alt"),
    "ids.xyz": (table(counted(XYZ), " "), "first column numbers the lines"),
    "bomb.xyz.gz": (gzip.compress(b"0 0 0\n" * 200_000), "ZOO_MEMORY"),
    "torn.xyz.gz": (gzip.compress(b"0 0 0\n" * 99)[:-9], "a corrupt .gz file"),
}


@pytest.mark.parametrize("name", UNCLEAR)
def test_what_is_unclear_is_asked(name, tmp_path, monkeypatch):
    monkeypatch.setenv("ZOO_MEMORY", "1M")
    content, why = UNCLEAR[name]
    with pytest.raises(BadInput, match=why) as caught:
        clouds.read_cloud(put(tmp_path / name, content))
    assert name in str(caught.value)


def test_hints_say_columns_axis_and_unit(tmp_path):
    put(tmp_path / "a" / "1.xyz", table([["9", "100", "200", "300", "7"]] * 3, " "))
    put(tmp_path / "b" / "1.csv", b"id,u,v,w,kind\n9,100,200,300,7\n9,1,1,1,7\n")
    hints = {"columns": "2,3,4", "up": "y", "units": "cm"}
    source = read(tmp_path, OBJECTS, hints)
    for _, example in examples(source):
        np.testing.assert_allclose(example["points"][0], [1, -3, 2])
        assert any("its unit is 0.01 m" in note for note in example["notes"])
    assert source.fingerprint != read(tmp_path, OBJECTS).fingerprint
    cloud = clouds.read_cloud(tmp_path / "b" / "1.csv", columns="u,v,w,kind")
    assert cloud["labels"].tolist() == [7, 7]
    for wrong, why in [
        ({"up": "up"}, "--up: 'up' is not an up axis"),
        ({"units": "parsec"}, "--units: 'parsec'"),
        ({"columns": "1,2"}, "--columns: '1,2' does not name three"),
    ]:
        with pytest.raises(BadInput, match=why):
            read(tmp_path, OBJECTS, wrong)
    with pytest.raises(BadInput, match="no column 'q'"):
        clouds.read_cloud(tmp_path / "b" / "1.csv", columns="q,v,w")
    write_las(tmp_path / "1.las")
    with pytest.raises(BadInput, match="--columns"):
        clouds.read_cloud(tmp_path / "1.las", columns="1,2,3")


def scan(count, columns, rng):
    points = rng.normal([9, 5, 1], [20, 20, 1], (count, 3)).astype("<f4")
    rest = [rng.uniform(0, 1, count), rng.integers(0, 32, count)][: columns - 3]
    return points, np.column_stack([points, *rest]).astype("<f4")


@pytest.mark.parametrize("columns", [4, 5])
def test_columns_of_bin_scans(columns, tmp_path):
    rng = np.random.default_rng(0)
    for count in (40, 41, 20):  # 20 * 16 and 16 * 20 bytes: both fit
        points, rows = scan(count, columns, rng)
        path = put(tmp_path / f"{count}" / "1.bin", rows.tobytes())
        cloud = clouds.read_cloud(path)
        np.testing.assert_array_equal(cloud["points"], points)
        assert ("notes" in cloud) == (columns == 5)
    if columns == 5:
        path = put(tmp_path / "1.pcd.bin", np.round(rows).tobytes())
        np.testing.assert_array_equal(clouds.read_cloud(path)["points"], np.round(points))


def test_columns_of_a_scan_are_those_of_its_folder_or_asked(tmp_path):
    rows = np.round(scan(20, 5, np.random.default_rng(0))[1])
    path = put(tmp_path / "1.bin", rows.tobytes())
    with pytest.raises(BadInput, match="four columns .* or five"):
        clouds.read_cloud(path)
    put(tmp_path / "2.bin", rows[:7].tobytes())
    np.testing.assert_array_equal(clouds.read_cloud(path)["points"], rows[:, :3])


PCD = "FIELDS {}\nSIZE {}\nTYPE {}\nCOUNT {}\nWIDTH {}\nHEIGHT 1\nDATA binary\n"
HEADERS = {
    "syntax": ("x y z a", "4 4 4 4", "F F F ,U", "1 1 1 1", "1", "',U'"),
    "kind": ("x y z", "4 4 2", "F F F", "1 1 1", "1", "type 'F' and 2 bytes"),
    "count": ("x y z a", "4 4 4 4", "F F F F", f"1 1 1 {10**12}", "1", "declares"),
    "product": ("x y z a", "4 4 4 8", "F F F F", f"1 1 1 {10**11}", "1", "declares"),
    "none": ("x y z a", "4 4 4 8", "F F F F", f"1 1 1 {10**11}", "0", "bytes a point"),
    "digits": ("x y z", "4 4 4", "F F F", "1 1 1", "9" * 4000, "far too many"),
    "more": ("x y z", "4 4 4", "F F F", "1 1 1", "9" * 5000, "header is wrong"),
}


@pytest.mark.parametrize("name", HEADERS)
def test_headers_of_pcd_are_checked_before_they_are_believed(name, tmp_path):
    *entries, why = HEADERS[name]
    path = put(tmp_path / f"{name}.pcd", PCD.format(*entries).encode() + b"\0" * 64)
    with pytest.raises(BadInput, match=why) as caught:
        clouds.read_cloud(path)
    assert f"{name}.pcd" in str(caught.value) and len(str(caught.value)) < 1000


def test_ply_comments_hold_any_byte_and_vertices_lists(tmp_path):
    head = (
        b"ply\nformat %s 1.0\ncomment Ger\xe4t, no end_header\nelement vertex 3\n"
        b"property list uchar float extra\nproperty float x\nproperty float y\n"
        b"property list uchar int seen\nproperty float z\nproperty uchar label\nend_header\n"
    )
    rows = [([0.5], 1, 2, [], 3, 9), ([], 4, 5, [1, 2], 6, 8), ([0.5, 2], 7, 8, [3], 9, 7)]
    text, raw, even = b"", b"", b""
    for extra, x, y, seen, z, label in rows:
        words = [len(extra), *extra, x, y, len(seen), *seen, z, label]
        text += " ".join(map(str, words)).encode() + b"\n"
        raw += struct.pack(f"<B{len(extra)}f2fB{len(seen)}ifB", *words)
        even += struct.pack("<B2f2fB1ifB", 2, 0.5, 0.5, x, y, 1, 7, z, label)
    for name, form, body in [
        ("a", b"ascii", text),
        ("b", b"binary_little_endian", raw),
        ("c", b"binary_little_endian", even),
    ]:
        path = put(tmp_path / f"{name}.ply", head % form + body)
        cloud = clouds.read_cloud(path)
        np.testing.assert_array_equal(cloud["points"], np.arange(1, 10).reshape(3, 3))
        assert cloud["labels"].tolist() == [9, 8, 7]
        put(path, head % form + body[:-12])
        with pytest.raises(BadInput, match="declare|does not match the header"):
            clouds.read_cloud(path)


BOX = [[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 10)]
SIDES = [[0, 1, 3, 2], [4, 5, 7, 6], [0, 1, 5, 4], [2, 3, 7, 6], [0, 2, 6, 4], [1, 3, 7, 5]]
ROWS_OF_BOX = "".join("{} {} {}\n".format(*corner) for corner in BOX)
FACES_OF_BOX = "".join("4 {} {} {} {}\n".format(*side) for side in SIDES)
TRIANGLES = [BOX[i] for a, b, c, d in SIDES for i in (a, b, c, a, c, d)]
STL = b"\0" * 80 + struct.pack("<I", 12)
STL += b"".join(
    struct.pack("<12fH", 0, 0, 0, *np.ravel(TRIANGLES[i : i + 3]), 0) for i in range(0, 36, 3)
)
MESHES = {
    "box.off": f"OFF\n# a box\n8 6 0\n{ROWS_OF_BOX}{FACES_OF_BOX}".encode(),
    "glued.off": f"OFF8 6 0\n{ROWS_OF_BOX}{FACES_OF_BOX}".encode(),
    "coloured.off": ("COFF\n8 6 0\n" + ROWS_OF_BOX.replace("\n", " 255 0 0 255\n")
                     + FACES_OF_BOX.replace("\n", " 0 255 0\n")).encode(),
    "box.obj": ("".join("v {} {} {}\n".format(*corner) for corner in BOX)
                + "".join("f {}/1 {}//2 {} {}\n".format(*[i + 1 for i in side]) for side in SIDES)
                ).encode(),
    "box.stl": STL,
    "text.stl": ("solid box\n" + "".join("vertex {} {} {}\n".format(*c) for c in TRIANGLES)
                 ).encode(),
    "box.ply": ("ply\nformat ascii 1.0\nelement vertex 8\nproperty float x\nproperty float y\n"
                "property float z\nelement face 6\nproperty list uchar int vertex_indices\n"
                f"end_header\n{ROWS_OF_BOX}{FACES_OF_BOX}").encode(),
}  # fmt: skip


@pytest.mark.parametrize("name", MESHES)
def test_meshes_are_sampled_evenly_on_their_faces(name, tmp_path):
    path = put(tmp_path / name, MESHES[name])
    cloud = clouds.read_cloud(path)
    points = cloud["points"]
    assert len(points) == 10_000 and "sampled on the faces" in cloud["notes"][0]
    assert (clouds.NO_UP in cloud["notes"]) == (name == "box.obj")
    np.testing.assert_array_equal(points, clouds.read_cloud(path)["points"])
    on = np.isclose(points, [0, 0, 0]) | np.isclose(points, [1, 1, 10])
    assert on.any(axis=1).all() and points.min() >= 0
    ends = np.isclose(points[:, 2], 0) | np.isclose(points[:, 2], 10)
    assert ends.mean() == pytest.approx(2 / 42, abs=0.01)  # by area: 2 of 42
    assert np.mean(points[~ends, 2] < 5) == pytest.approx(0.5, abs=0.02)


BROKEN = {
    "index.off": (b"OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 3\n", "outside its 3"),
    "few.off": (b"OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n", "declares 3 vertices"),
    "huge.off": (b"OFF\n3000000000 1 0\n0 0 0\n", "declares 3000000000"),
    "word.off": (b"OFFSET\n3 1 0\n", "a corrupt mesh"),
    "face.off": (b"OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1\n", "a face of 3"),
    "nan.off": (b"OFF\n3 1 0\n0 0 nan\n1 0 0\n0 1 0\n3 0 1 2\n", "NaN"),
    "zero.obj": (b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 0 1 2\n", "indices start at 1"),
    "cut.stl": (STL[:-1], "12 triangles"),
    "none.obj": (b"o nothing\n", "no points"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_meshes_are_named(name, tmp_path):
    content, why = BROKEN[name]
    with pytest.raises(BadInput, match=why) as caught:
        clouds.read_cloud(put(tmp_path / name, content))
    assert name in str(caught.value)


def test_clouds_without_extent_or_faces_of_area_are_told(tmp_path):
    cloud = clouds.read_cloud(put(tmp_path / "a.xyz", b"1 2 3\n1 2 3\n"))
    assert cloud["notes"] == [clouds.NO_EXTENT]
    cloud = clouds.read_cloud(
        put(tmp_path / "a.off", b"OFF\n3 1 0\n0 0 0\n1 0 0\n2 0 0\n3 0 1 2\n")
    )
    assert len(cloud["points"]) == 3 and "zero area" in cloud["notes"][0]


def test_an_archive_is_refused_by_the_sum_of_its_arrays(tmp_path, monkeypatch):
    monkeypatch.setenv("ZOO_MEMORY", "1M")
    np.savez_compressed(tmp_path / "a.npz", points=np.zeros((50_000, 3)), extra=np.zeros(9))
    with pytest.raises(BadInput, match="ZOO_MEMORY=1G"):
        clouds.read_cloud(tmp_path / "a.npz")


FEET = 'PROJCS["Oregon",GEOGCS["NAD83",UNIT["degree",0.017]],PROJECTION["L"],UNIT["foot",0.3048]]'
HEIGHT = f'COMPD_CS["both",{FEET},VERT_CS["NAVD88",VERT_DATUM["N",2005],UNIT["metre",1.0]]]'
CRS2 = (
    'PROJCRS["x",BASEGEOGCRS["y",ELLIPSOID["z",6378137,1,LENGTHUNIT["metre",1]]],CS[Cartesian,2],'
    'AXIS["(E)",east,LENGTHUNIT["US survey foot",0.304800609601219]]]'
)


def test_units_of_reference_systems():
    def keys(*rows):
        return struct.pack(
            f"<{4 + 4 * len(rows)}H", 1, 1, 0, len(rows), *np.ravel(rows).astype(int)
        )

    foot, survey = 0.3048, 1200 / 3937
    for records, right in [
        ({}, None),
        ({34735: keys((1024, 0, 1, 1), (3076, 0, 1, 9002))}, (foot, foot, foot)),
        ({34735: keys((3076, 0, 1, 9003), (4099, 0, 1, 9001))}, (survey, survey, 1)),
        ({34735: keys((1024, 0, 1, 2))}, (0, 0, 0)),
        ({34737: b"NAD83 / Oregon North (ft)|"}, (foot, foot, foot)),
        ({2112: FEET.encode()}, (foot, foot, foot)),
        ({2112: HEIGHT.encode()}, (foot, foot, 1)),
        ({2112: CRS2.encode()}, (survey, survey, survey)),
        ({2112: b'GEOGCS["WGS 84",UNIT["degree",0.017]]'}, (0, 0, 0)),
        ({2112: b'PROJCS[[[["'}, None),
    ]:
        assert crs.metres(records) == (right and pytest.approx(right)), records


def survey(path, text=FEET, points=ROWS, version="1.4", kind=6):
    header = laspy.LasHeader(version=version, point_format=kind)
    header.scales, header.offsets = [0.001] * 3, [0, 0, 0]
    if text:
        header.vlrs.append(laspy.vlrs.known.WktCoordinateSystemVlr(text))
    header.add_extra_dim(laspy.ExtraBytesParams("height", "float32"))
    las = laspy.LasData(header)
    las.x, las.y, las.z = points.T
    las.intensity = np.arange(len(points))
    las.gps_time = np.arange(len(points)) / 7
    las.height = np.arange(len(points)) / 3
    las.classification = np.arange(len(points)) % 2 + 2
    path.parent.mkdir(exist_ok=True)
    las.write(path)
    return path


def test_surveys_in_feet_become_metres(tmp_path):
    cloud = clouds.read_cloud(survey(tmp_path / "a.laz"))
    np.testing.assert_allclose(cloud["points"] + cloud["offset"], ROWS * 0.3048, atol=2e-4)
    assert "its unit is 0.3048 m, according to the file" in cloud["notes"][0]
    given = clouds.read_cloud(tmp_path / "a.laz", units="m")
    np.testing.assert_allclose(given["points"] + given["offset"], ROWS, atol=1e-3)
    degrees = survey(tmp_path / "b.las", 'GEOGCS["WGS 84",UNIT["degree",0.017]]')
    with pytest.raises(BadInput, match="degrees"):
        clouds.read_cloud(degrees)
    assert clouds.read_cloud(survey(tmp_path / "c.las", ""))["notes"] == [clouds.NO_UNIT]


def test_thin_surveys_are_cut_into_larger_blocks(tmp_path):
    rng = np.random.default_rng(0)
    for density, block in [(10, 10), (2, 20), (0.4, 40)]:
        points = rng.uniform(0, [300, 300, 5], (int(density * 90_000), 3))
        assert scans.block_of(points) == block
    source = read(survey(tmp_path / "thin.laz", "", points), SCENES)
    assert source.options == {"block": 40} and "blocks of 40 m" in source.info["notes"][0]


@pytest.mark.parametrize("suffix", [".las", ".laz"])
def test_relabelled_surveys_keep_all_but_their_codes(suffix, tmp_path):
    from datasets.readers.clouds.las import codes_of, relabel

    path, target = survey(tmp_path / f"a{suffix}"), tmp_path / f"b{suffix}"
    codes = np.arange(len(ROWS), dtype=np.uint8) % 3 + 5
    relabel(path, target, codes)
    before, after = laspy.read(path), laspy.read(target)
    assert after.header.are_points_compressed == (suffix == ".laz")
    np.testing.assert_array_equal(after.classification, codes)
    for name in ("X", "Y", "Z", "intensity", "gps_time", "height"):
        np.testing.assert_array_equal(after[name], before[name])
    assert [v.record_id for v in after.header.vlrs] == [v.record_id for v in before.header.vlrs]
    assert codes_of(path, ["ground", "building", "class 64"]) == [2, 6, 64]
    assert codes_of(path, ["ground", "car"]) is None
    assert codes_of(survey(tmp_path / "old.las", "", kind=1, version="1.2"), ["class 64"]) is None


def test_files_to_predict_are_read_as_those_of_the_training(tmp_path):
    path = put(tmp_path / "a.xyz", b"9 1 2 3\n9 4 5 6\n")
    recorded = {"columns": "2,3,4", "up": "y", "units": "cm", "masks": "m"}
    example = clouds.read_example(path, recorded)
    np.testing.assert_allclose(example["points"][0], [0.01, -0.03, 0.02], rtol=1e-6)
    example = clouds.read_example(path, recorded, units="m", up="z")
    np.testing.assert_allclose(example["points"][0], [1, 2, 3], rtol=1e-6)
    write_las(tmp_path / "a.las")  # has no columns to be named
    assert "labelled" in clouds.read_example(tmp_path / "a.las", {"columns": "2,3,4"})


def test_the_layout_that_was_read_is_said(tmp_path):
    put(tmp_path / "a" / "1.xyz", b"0 0 0\n")
    put(tmp_path / "b" / "1.xyz", b"0 0 0\n")
    assert read(tmp_path, OBJECTS).info["layout"].startswith("train/car/1.ply class folders")


@pytest.mark.parametrize("name", [*MESHES, *TABLES])
def test_damaged_files_of_these_formats_are_refused_or_finite(name, tmp_path):
    sound, rng = {**MESHES, **TABLES}[name], random.Random(name)
    for _ in range(15):
        raw, _ = damage(sound, rng)
        try:
            points = clouds.read_cloud(put(tmp_path / name, raw))["points"]
        except BadInput as error:
            assert name in str(error)
        else:
            assert len(points) and np.isfinite(points).all()
