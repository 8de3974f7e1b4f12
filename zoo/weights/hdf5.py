"""Read an HDF5 file of a stranger in a process of its own, with limits of time and memory.

The HDF5 library was not written for files that mean harm: a changed byte makes it turn in circles,
take gigabytes or crash. `zoo.weights.inspection` therefore runs this file as a program before it
lets anything open the file; it imports nothing of the zoo and no Keras. It reads every attribute
and every array once, and prints JSON: the configuration, the version of Keras and how many numbers
there are; or, with status 1, what is wrong.
"""

import contextlib
import importlib.util
import io
import json
import sys
import zipfile

import h5py

SECONDS = 2  # of the processor, and one more for every so many bytes
BYTES_A_SECOND = 20 << 20
MEMORY = 768 << 20  # bytes above what the file itself takes
SWELL = 100  # times the file's size that its arrays may have
SLACK = 1 << 20  # bytes


def main(path, member=""):
    """Check a file, or a member of a zip archive; print what it holds and return the status."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, 2)
        limit(size)
        if member:
            with zipfile.ZipFile(path) as archive:
                content = archive.read(member)
            size, path = len(content), io.BytesIO(content)
        with h5py.File(path) as file:
            holds = contents(file, size)
    except MemoryError:
        return complain("it takes too much memory to read")
    except Refused as error:
        return complain(str(error))
    except Exception as error:  # whatever a damaged file makes of the library
        words = str(error).splitlines() or [type(error).__name__]
        return complain(f"it is no HDF5 file, or damaged ({words[0][:200]})")
    print(json.dumps(holds))
    return 0


class Refused(Exception):
    """Raised for a file that can be read and is not harmless."""


def complain(reason):
    """Print the reason; return the status."""
    print(json.dumps({"error": reason}))
    return 1


def limit(size):
    """Limit the time and the memory of this process, where the system can, for a file's bytes."""
    if importlib.util.find_spec("resource") is None:  # not on Windows
        return
    import resource

    usage = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(usage.ru_utime + usage.ru_stime) + SECONDS + size // BYTES_A_SECOND
    memory = held() + MEMORY + 3 * size
    for kind, most in ((resource.RLIMIT_CPU, seconds), (resource.RLIMIT_AS, memory)):
        with contextlib.suppress(ValueError, OSError):  # a lower limit is set already
            resource.setrlimit(kind, (most, most))


def held():
    """Return how many bytes of addresses this process has taken so far, 0 if unknown."""
    with contextlib.suppress(OSError), open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[0]) * 4096
    return 0


def contents(file, size):
    """Return what an open file holds: {"config", "version", "numbers"}.

    Raises:
        Refused: if it points to other files, or its arrays are far larger than the file.
    """
    total, numbers = 0, 0

    def visit(name, item):
        nonlocal total, numbers
        for key in item.attrs:
            item.attrs[key]
        if isinstance(item, h5py.Group):
            for key in item:
                if not isinstance(item.get(key, getlink=True), h5py.HardLink):
                    raise Refused(f"its {name}/{key} points to another place")
            return
        if item.external or item.is_virtual:
            raise Refused(f"its {name} takes its numbers from other files")
        total += item.nbytes
        if total > SWELL * size + SLACK:
            raise Refused(f"its arrays swell to more than {total / 2**20:.0f} MiB")
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
