"""Prints the dotted names of the native modules, one a line: what stubtest compares with stubs."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    names = ["imfast._engine"]
    names += [f"imfast._core.{pyx.stem}" for pyx in sorted((ROOT / "core_ext").glob("*.pyx"))]
    print("\n".join(names))


if __name__ == "__main__":
    main()
