"""An interpreter with nothing but the standard library and `cryptography`, which is watched."""

import importlib.util
import subprocess
import sys
from pathlib import Path

#: ends the process on a socket, a child, a database, or a file that is not named
RUN = """
import os, runpy, sys

pyz, allowed, folder = sys.argv[1], sys.argv[2].split(os.pathsep), sys.argv[3]
sys.path.append(sys.argv[4])  # and else, by `-I -S`, the standard library alone
allowed = [os.path.realpath(path) for path in (pyz, *allowed) if path]
FORBIDDEN = ("socket.", "sqlite3.", "subprocess.", "os.system", "os.exec", "os.fork", "os.spawn",
             "os.posix_spawn", "os.remove", "os.rename", "os.mkdir", "urllib.")

def loading_a_module():
    frame = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_filename.startswith(("<frozen importlib", "<frozen zipimport")):
            return True
        frame = frame.f_back
    return False

def hook(event, arguments):
    # looking at frames is an event, too: only what matters asks for them
    if event == "open" and not isinstance(arguments[0], int) and not loading_a_module():
        path = os.path.realpath(os.fsdecode(arguments[0]))
        writes = isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
        if writes or not any(path == each or path.startswith(each + os.sep) for each in allowed):
            sys.stderr.write(f"opened {path!r}\\n")
            os._exit(99)
    elif event.startswith(FORBIDDEN) and not loading_a_module():
        sys.stderr.write(f"did {event} {arguments!r}\\n")
        os._exit(99)

sys.argv[:] = [pyz, *sys.argv[5:]]
os.chdir(folder)
sys.addaudithook(hook)
try:
    runpy.run_path(pyz, run_name="__main__")
finally:
    outside = {name.partition(".")[0] for name in sys.modules} - set(sys.stdlib_module_names)
    sys.stderr.write("loaded " + ",".join(sorted(outside - {"__main__", "muniment"})) + "\\n")
"""
_NEEDED = ("cryptography", "cffi", "_cffi_backend", "pycparser")


class BarePython:
    """Runs the verifier where only `cryptography` and what it needs can be imported."""

    def __init__(self, folder: Path, pyz: Path) -> None:
        self.pyz = pyz
        self._packages = folder / "packages"
        self._packages.mkdir()
        for name in _NEEDED:
            found = importlib.util.find_spec(name)
            if found is not None and found.origin is not None:
                place = Path(found.origin)
                place = place.parent if place.name == "__init__.py" else place
                (self._packages / place.name).symlink_to(place)

    def run(
        self, *arguments: str, allowed: tuple[Path, ...] = (), folder: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Only what lies at or below `allowed`, or is an argument, may be opened, and only read."""
        given = [*map(str, allowed), *(each for each in arguments if Path(each).exists())]
        return subprocess.run(
            [
                sys.executable, "-I", "-S", "-X", "utf8", "-c", RUN, str(self.pyz),
                ":".join(given), str(folder or self._packages),
                str(self._packages), *arguments,
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )  # fmt: skip
