"""The chunks of a .laz file: checks of their declared lengths, before lazrs relies on them.

Isenburg, LASzip, 2013, and the "layered chunks" of LAS 1.4. lazrs allocates the declared length,
up to 4 GiB per layer if it is corrupt, and aborts the process if there is not enough memory.
"""

import struct

from datasets.source import BadInput

REMEDY = "Copy it again, or write it again with the program that created it"
USUAL_CHUNK = 1_000_000  # lazrs allocates full chunks even if they are not filled; 50,000 is common
POINTS_PER_BYTE = 1000  # more than even equal points are compressed to
VARIABLE = 0xFFFFFFFF  # the table has the number of points of each chunk
# Items, the parts of a point, by type: bytes, None for extra bytes. Layered ones: layers too.
POINTWISE = {6: 20, 7: 8, 8: 6, 9: 29, 0: None}
LAYERED = {10: 30, 11: 6, 12: 8, 13: 29, 14: None}
LAYERS = {10: 9, 11: 1, 12: 2, 13: 1}  # extra bytes have a layer each


def check_chunks(path, header, size):
    """Check table, chunks and layers of a compressed file against its size and number of points.

    Args:
        path: the file.
        header: its `laspy.LasHeader`.
        size: its size in bytes.

    Raises:
        BadInput: they do not match.
    """
    import lazrs

    layout = header.vlrs.get("LasZipVlr")[0].record_data
    (per_chunk,) = struct.unpack_from("<I", layout, 12)
    items = item_sizes(path, layout, header.point_format.size)
    start = header.offset_to_point_data
    with open(path, "rb") as file:
        file.seek(start)
        table = signed(file)
        if table == -1:  # written to a stream: the position is at the end
            file.seek(size - 8)
            table = signed(file)
        if not start + 8 <= table <= size - 8:
            raise BadInput(path, "its table of chunks is missing: it is truncated", REMEDY)
        file.seek(table + 4)
        (count,) = struct.unpack("<I", file.read(4))
        if per_chunk != VARIABLE and per_chunk > max(header.point_count, USUAL_CHUNK):
            raise BadInput(path, f"it declares chunks of {per_chunk} points", REMEDY)
        if header.point_count > size * POINTS_PER_BYTE:
            raise BadInput(path, f"it declares {header.point_count} points in {size} bytes", REMEDY)
        needed = -(-header.point_count // max(per_chunk, 1))
        if count > size or (per_chunk != VARIABLE and count != needed):
            raise BadInput(
                path, f"{header.point_count} points do not match {count} compressed chunks", REMEDY
            )
        file.seek(start)
        chunks = lazrs.read_chunk_table(file, lazrs.LazVlr(layout))
        at = start + 8
        if at + sum(length for _, length in chunks) > table or (
            per_chunk == VARIABLE and sum(points for points, _ in chunks) != header.point_count
        ):
            raise BadInput(path, "its table of chunks does not match the file", REMEDY)
        for number, (_, length) in enumerate(chunks):
            file.seek(at)
            if not layers_fit(file.read(min(length, 1 << 16)), length, items):
                raise BadInput(path, f"its compressed chunk {number} is corrupt", REMEDY)
            at += length


def signed(file):
    """Read an int64."""
    return int.from_bytes(file.read(8), "little", signed=True)


def item_sizes(path, layout, record):
    """Parse LASzip's record into [(type, bytes)]: the parts of a point of `record` bytes."""
    (count,) = struct.unpack_from("<H", layout, 32)
    items = [struct.unpack_from("<HHH", layout, 34 + 6 * i) for i in range(count)]
    family = LAYERED if items and items[0][0] == 10 else POINTWISE
    if (
        not items
        or items[0][0] not in (6, 10)
        or len({kind for kind, _, _ in items}) < count
        or any(kind not in family or (family[kind] or size) != size for kind, size, _ in items)
        or any(version not in ((3, 4) if family is LAYERED else (1, 2)) for *_, version in items)
        or sum(size for _, size, _ in items) != record
        or len(layout) != 34 + 6 * count
    ):
        raise BadInput(path, "its LASzip record does not describe its points", REMEDY)
    return [(kind, size) for kind, size, _ in items]


def layers_fit(head, length, items):
    """Return whether the lengths of the layers at the start of a chunk add up to its length.

    A layered chunk is its first point uncompressed, the number of points, the length of each layer,
    and the layers. Chunks of the older formats have no lengths to check.
    """
    if items[0][0] not in LAYERED:
        return True
    layers = sum(LAYERS.get(kind, size) for kind, size in items)
    start = sum(size for _, size in items) + 4
    if len(head) < start + 4 * layers:
        return False
    return start + 4 * layers + sum(struct.unpack_from(f"<{layers}I", head, start)) == length
