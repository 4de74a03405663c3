"""The repository as the guard needs it: sources of a revision, their fingerprint, waivers."""

from __future__ import annotations

import hashlib
import io
import re
import subprocess
import tarfile
from pathlib import Path

__all__ = ["COUNTED", "Repository"]

COUNTED = (
    *(f"rust/{crate}" for crate in ("wire", "session", "partition", "log", "routes", "engine")),
    "rust/micro",
    "rust/Cargo.toml",
    "rust/Cargo.lock",
    "core_ext",
)
"""What decides the counts: a change anywhere else needs no counting."""

BUILT = ("rust", "core_ext", "spec")
"""What a build of the counted programs reads: cargo wants the manifest of every member."""

_UNBUILT = re.compile(r"rust/\w+/(tests|examples|benches)/|\.md$")
_TRAILER = "Instructions-Waived"


class Repository:
    """A git work tree. A revision of None is the tree as it lies there, uncommitted work too."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def has(self, revision: str) -> bool:
        """Whether the revision is in this clone."""
        run = self._run("rev-parse", "--quiet", "--verify", f"{revision}^{{commit}}", check=False)
        return run.returncode == 0

    def fingerprint(self, revision: str | None = None) -> str | None:
        """Names the counted sources by content; None where they have nothing to run."""
        if revision is None:
            paths = self._paths(*COUNTED)
            listing = "\n".join(paths).encode()
            hashes = self._run("hash-object", "--stdin-paths", stdin=listing).stdout.decode()
            blobs = dict(zip(paths, hashes.split(), strict=True))
        else:
            text = self._run("ls-tree", "-r", "-z", revision, "--", *COUNTED).stdout.decode()
            entries = (entry.split("\t") for entry in text.split("\0") if entry)
            blobs = {path: about.split()[2] for about, path in entries}
        if "rust/micro/Cargo.toml" not in blobs:
            return None
        lines = (f"{blobs[path]} {path}\n" for path in sorted(blobs) if not _UNBUILT.search(path))
        return hashlib.sha256("".join(lines).encode()).hexdigest()[:32]

    def files(self, revision: str | None) -> dict[str, bytes]:
        """Path → content of what a build reads."""
        if revision is None:
            paths = self._paths(*BUILT)
            return {path: (self._root / path).read_bytes() for path in paths}
        archive = self._run("archive", "--format=tar", revision, "--", *BUILT).stdout
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            members = [member for member in tar.getmembers() if member.isfile()]
            contents = {member.name: tar.extractfile(member) for member in members}
        return {path: file.read() for path, file in contents.items() if file is not None}

    def text(self, path: str, revision: str | None) -> str | None:
        """A file's text, or None where there is none."""
        if revision is None:
            file = self._root / path
            return file.read_text() if file.exists() else None
        run = self._run("show", f"{revision}:{path}", check=False)
        return run.stdout.decode() if run.returncode == 0 else None

    def waivers(self, base: str) -> dict[str, str]:
        """Function → reason, from the trailers of the commits since `base`."""
        pattern = f"%(trailers:key={_TRAILER},valueonly,unfold)"
        text = self._run("log", f"--format={pattern}", f"{base}..HEAD").stdout.decode()
        found = {}
        for line in text.splitlines():
            function, _, reason = line.partition(":")
            if function.strip() and reason.strip():
                found[function.strip()] = reason.strip()
        return found

    def _paths(self, *below: str) -> list[str]:
        listing = self._run(
            "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *below
        )
        names = sorted(set(listing.stdout.decode().split("\0")) - {""})
        return [name for name in names if (self._root / name).is_file()]

    def _run(
        self, *arguments: str, stdin: bytes = b"", check: bool = True
    ) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            ["git", *arguments], cwd=self._root, input=stdin, capture_output=True, check=check
        )
