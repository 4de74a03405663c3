"""Build every core_ext/*.pyx into OUT/imfast/_core/*.so: Cython, then the C++ compiler.

rust/python/build.rs calls it with cargo's OUT_DIR. By hand, to try a change without cargo:

    python core_ext/build.py /tmp/core
    PYTHONPATH=/tmp/core python -c 'import imfast._core.sequencer'

CXX and CXXFLAGS are honoured; with IMFAST_FAULTS in the environment the deliberate faults of the
simulation are compiled in. Only modules older than their sources are built again.
"""

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SOURCES = Path(__file__).resolve().parent
PACKAGE = Path("imfast/_core")
SOURCE_SUFFIXES = {".pyx", ".pxd", ".h"}
FLAGS = ["-shared", "-fPIC", "-O3", "-g0", "-DNDEBUG", "-fwrapv", "-std=c++17"]


def main(out: Path) -> None:
    """Build what is out of date below `out` and remove the modules whose source is gone."""
    stage, built = out / "stage" / PACKAGE, out / PACKAGE
    shutil.rmtree(stage, ignore_errors=True)
    stage.mkdir(parents=True)
    built.mkdir(parents=True, exist_ok=True)
    for package in (stage, stage.parent):  # Cython finds a module's .pxd only inside packages
        (package / "__init__.py").touch()
    for source in SOURCES.iterdir():
        if source.suffix in SOURCE_SUFFIXES:
            shutil.copy2(source, stage / source.name)

    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    modules = {pyx: built / (pyx.stem + suffix) for pyx in sorted(stage.glob("*.pyx"))}
    for library in built.glob("*.so"):
        if library not in modules.values():  # a deleted .pyx, or another Python's build
            library.unlink()

    shared = [Path(__file__), *stage.glob("*.pxd"), *stage.glob("*.h")]
    newest_shared = max(path.stat().st_mtime for path in shared)
    stale = [
        (pyx, library)
        for pyx, library in modules.items()
        if not library.exists()
        or library.stat().st_mtime <= max(pyx.stat().st_mtime, newest_shared)
    ]
    with ThreadPoolExecutor(os.cpu_count()) as executor:
        list(executor.map(lambda pair: build(out / "stage", *pair), stale))


def build(root: Path, pyx: Path, library: Path) -> None:
    """Translate and compile one module; the library appears complete or not at all."""
    generated = pyx.with_suffix(".cpp")
    module = ".".join([*PACKAGE.parts, pyx.stem])
    cython = [sys.executable, "-m", "cython", "-3", "--cplus", "--module-name", module]
    subprocess.run([*cython, "-I", str(root), "-o", str(generated), str(pyx)], check=True)

    compiler = shlex.split(os.environ.get("CXX", "c++"))
    includes = ["-I", sysconfig.get_path("include"), "-I", str(pyx.parent)]
    extra = shlex.split(os.environ.get("CXXFLAGS", ""))
    if "IMFAST_FAULTS" in os.environ:
        extra.append("-DIMFAST_FAULTS")
    unfinished = library.with_suffix(".unfinished")
    subprocess.run(
        [*compiler, *FLAGS, *includes, *extra, str(generated), "-o", str(unfinished)], check=True
    )
    unfinished.replace(library)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
