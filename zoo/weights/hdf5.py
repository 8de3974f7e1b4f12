"""Read an untrusted HDF5 file in a separate process, with limits of time and memory.

The HDF5 library is not safe for malicious files: a changed byte can cause an endless loop, a huge
allocation or a crash. `zoo.weights.inspection` therefore runs this file as a program before it
opens a file in its own process; it does not import the zoo or Keras. It reads every attribute and
every array once, and prints JSON: the configuration, the version of Keras and the number of stored
values; or, with status 1, the error.
"""

import contextlib
import importlib.util
import io
import json
import sys
import zipfile

import h5py

SECONDS = 2  # of CPU time, and one more per BYTES_PER_SECOND of the file
BYTES_PER_SECOND = 20 << 20
MEMORY = 768 << 20  # bytes, in addition to the file itself
MAX_RATIO = 100  # largest ratio of the size of the arrays to that of the file
SLACK = 1 << 20  # bytes


def main(path, member=""):
    """Check a file, or a member of a zip archive; print its contents and return the status."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, 2)
        limit(size)
        if member:
            with zipfile.ZipFile(path) as archive:
                content = archive.read(member)
            size, path = len(content), io.BytesIO(content)
        with h5py.File(path) as file:
            result = contents(file, size)
    except MemoryError:
        return complain("it takes too much memory to read")
    except Refused as error:
        return complain(str(error))
    except Exception as error:  # a damaged file can raise anything
        words = str(error).splitlines() or [type(error).__name__]
        return complain(f"it is not an HDF5 file, or damaged ({words[0][:200]})")
    print(json.dumps(result))
    return 0


class Refused(Exception):
    """Raised for a file that can be read but is rejected."""


def complain(reason):
    """Print the error; return the status."""
    print(json.dumps({"error": reason}))
    return 1


def limit(size):
    """Limit the CPU time and memory of this process by the size of a file, if supported."""
    if importlib.util.find_spec("resource") is None:  # not on Windows
        return
    import resource

    usage = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(usage.ru_utime + usage.ru_stime) + SECONDS + size // BYTES_PER_SECOND
    memory = address_space() + MEMORY + 3 * size
    for kind, most in ((resource.RLIMIT_CPU, seconds), (resource.RLIMIT_AS, memory)):
        with contextlib.suppress(ValueError, OSError):  # a lower limit is set already
            resource.setrlimit(kind, (most, most))


def address_space():
    """Return the size of the address space of this process in bytes, 0 if unknown."""
    with contextlib.suppress(OSError), open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[0]) * 4096
    return 0


def contents(file, size):
    """Return the contents of an open file: {"config", "version", "numbers"}.

    Raises:
        Refused: if it links to other files, or its arrays are far larger than the file.
    """
    total, numbers = 0, 0

    def visit(name, item):
        nonlocal total, numbers
        for key in item.attrs:
            item.attrs[key]
        if isinstance(item, h5py.Group):
            for key in item:
                if not isinstance(item.get(key, getlink=True), h5py.HardLink):
                    raise Refused(f"its {name}/{key} links to another object or file")
            return
        if item.external or item.is_virtual:
            raise Refused(f"its {name} is stored in other files")
        total += item.nbytes
        if total > MAX_RATIO * size + SLACK:
            raise Refused(f"its arrays expand to more than {total / 2**20:.0f} MiB")
        numbers += item.size or 0
        item[()]

    visit("", file)
    file.visititems(visit)
    config, version = (file.attrs.get(name) for name in ("model_config", "keras_version"))
    config, version = (
        text.decode("utf-8") if isinstance(text, bytes) else text for text in (config, version)
    )
    return {"config": config, "version": str(version or "2"), "numbers": numbers}


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
