"""The chunks of a .laz file: are the lengths that it declares possible, before lazrs trusts them?

Isenburg, LASzip, 2013, and the "layered chunks" of LAS 1.4. lazrs reserves what a damaged length
asks for, up to 4 GiB a layer, and ends the process where that much memory is not to be had.
"""

import struct

from datasets.source import BadInput

REMEDY = "Copy it again, or write it anew with the program it comes from"
USUAL_CHUNK = 1_000_000  # lazrs reserves whole chunks even if they are not full; usual is 50,000
POINTS_PER_BYTE = 1000  # not even equal points are packed so densely
VARIABLE = 0xFFFFFFFF  # the table says how many points each chunk has
# Items, the parts of a point, by type: bytes, None for extra bytes. Layered ones: layers too.
POINTWISE = {6: 20, 7: 8, 8: 6, 9: 29, 0: None}
LAYERED = {10: 30, 11: 6, 12: 8, 13: 29, 14: None}
LAYERS = {10: 9, 11: 1, 12: 2, 13: 1}  # extra bytes have a layer each


def check_chunks(path, header, size):
    """Compare table, chunks and layers of a compressed file with its size and number of points.

    Args:
        path: the file.
        header: its `laspy.LasHeader`.
        size: its size in bytes.

    Raises:
        BadInput: they do not fit.
    """
    import lazrs

    layout = header.vlrs.get("LasZipVlr")[0].record_data
    (per_chunk,) = struct.unpack_from("<I", layout, 12)
    items = item_sizes(path, layout, header.point_format.size)
    start = header.offset_to_point_data
    with open(path, "rb") as file:
        file.seek(start)
        table = signed(file)
        if table == -1:  # written to a stream: the position stands at the end
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
                path, f"{header.point_count} points do not fit {count} compressed chunks", REMEDY
            )
        file.seek(start)
        chunks = lazrs.read_chunk_table(file, lazrs.LazVlr(layout))
        at = start + 8
        if at + sum(length for _, length in chunks) > table or (
            per_chunk == VARIABLE and sum(points for points, _ in chunks) != header.point_count
        ):
            raise BadInput(path, "its table of chunks does not fit the file", REMEDY)
        for number, (_, length) in enumerate(chunks):
            file.seek(at)
            if not layers_fit(file.read(min(length, 1 << 16)), length, items):
                raise BadInput(path, f"its compressed chunk {number} is damaged", REMEDY)
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
    """Tell whether the layers' lengths at the head of a chunk add up to the chunk's length.

    A layered chunk is its first point as it is, the number of points, each layer's length, the
    layers. Chunks of the older formats have no lengths that could be wrong.
    """
    if items[0][0] not in LAYERED:
        return True
    layers = sum(LAYERS.get(kind, size) for kind, size in items)
    start = sum(size for _, size in items) + 4
    if len(head) < start + 4 * layers:
        return False
    return start + 4 * layers + sum(struct.unpack_from(f"<{layers}I", head, start)) == length
