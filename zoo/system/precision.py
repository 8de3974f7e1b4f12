"""Which precision a machine computes natively, asked without importing Keras."""

import pathlib
import subprocess

BFLOAT16 = ("amx_bf16", "avx512_bf16")  # instructions of a CPU that compute bfloat16
POLICIES = ("float32", "mixed_bfloat16", "mixed_float16", "auto")  # of Keras, and a choice of one
AMPERE = 8.0  # compute capability of the first NVIDIA GPUs that compute bfloat16


def chosen(name):
    """Return the policy of a name; print which one "auto" is, and why."""
    if name != "auto":
        return name
    policy, why = auto()
    print(f"Precision {policy}: {why}")
    return policy


def auto():
    """Return ("mixed_bfloat16" or "float32", why), for what this machine computes natively."""
    if capability := gpu():
        if capability >= AMPERE:
            return "mixed_bfloat16", f"the GPU of compute capability {capability} has bfloat16"
        return "float32", f"the GPU of compute capability {capability} has no bfloat16"
    if native := [name for name in BFLOAT16 if name in flags()]:
        return "mixed_bfloat16", f"this CPU has bfloat16 ({native[0]})"
    return "float32", "this CPU has no instructions for bfloat16"


def flags(path="/proc/cpuinfo"):
    """Return the instructions of the CPU, as Linux names them; an empty set elsewhere."""
    try:
        lines = pathlib.Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return set()
    return {word for line in lines if line.startswith("flags") for word in line.split()}


def gpu():
    """Return the compute capability of the first NVIDIA GPU, None if there is none."""
    try:
        return float(gpu_property("compute_cap"))
    except ValueError:
        return None


def gpu_property(field):
    """Return a property of the first NVIDIA GPU as its driver tells it, "" if there is none."""
    command = ["nvidia-smi", f"--query-gpu={field}", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.partition("\n")[0].strip()
