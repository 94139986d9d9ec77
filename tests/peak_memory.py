"""The most memory that this process has had, as the kernel counts it for the program that runs now.

Not `getrusage`: what that says of a child begins with what its parent had when it was started.
"""

from pathlib import Path


def peak_kb() -> int:
    """Peak resident memory in KB (VmHWM, proc(5))."""
    (line,) = [line for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1])
