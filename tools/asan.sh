#!/usr/bin/env bash
# Builds the native modules with AddressSanitizer and runs Python tests on them.
#
#   tools/asan.sh BUILD_DIRECTORY PYTHON [PYTEST ARGUMENTS]
#
# In a copy of the tree, with a virtual environment of its own: the modules are built beside the
# sources, and these must not take the place of the ordinary ones. What the sanitizer finds, in the
# tests' process or in any that they start, is a file in BUILD_DIRECTORY/findings and a failure.
set -euo pipefail

build=$(realpath -m "$1") python=$2
shift 2
tree=$build/tree findings=$build/findings venv=$build/venv
rm -rf "$findings"
mkdir -p "$tree" "$findings"

# The files that git knows or would take, and none that went meanwhile; times stay, so that cargo
# builds only what changed.
wanted=$(mktemp)
trap 'rm -f "$wanted"' EXIT
git ls-files --cached --others --exclude-standard |
    while IFS= read -r file; do [[ ! -e $file ]] || printf '%s\n' "$file"; done | sort >"$wanted"
(cd "$tree" && find . -type f -not -name '*.so' -not -name '*.pyc' -printf '%P\n' | sort |
    comm -23 - "$wanted" | tr '\n' '\0' | xargs -0 -r rm -f)
tr '\n' '\0' <"$wanted" |
    xargs -0 cp --parents --update --preserve=timestamps --target-directory "$tree"
cd "$tree"

[[ -x $venv/bin/python ]] || "$python" -m venv "$venv"
"$python" tools/requirements.py build runtime test >"$build/requirements.txt"
"$venv/bin/python" -m pip install --quiet -r "$build/requirements.txt"

# A process has one runtime, which has to be its first library. Rust's is an archive for executables
# only; the C++ compiler's is a library, and serves Rust's instrumentation as well.
runtime=$("${CXX:-c++}" -print-file-name=libasan.so)
[[ $runtime == /* ]] || {
    echo "${CXX:-c++} has no libasan.so" >&2
    exit 1
}
# --target: without it build scripts and macros, which run without the runtime, would need it too.
# The profile of debug builds: overflows and our own assertions are checked as well.
target=$(rustc +nightly -vV | sed -n 's/^host: //p')
env PATH="$venv/bin:$PATH" VIRTUAL_ENV="$venv" PYO3_PYTHON="$venv/bin/python" \
    RUSTUP_TOOLCHAIN=nightly CARGO_TARGET_DIR="$build/target" \
    RUSTFLAGS="-Zsanitizer=address -Cforce-frame-pointers=yes -Cstrip=none" \
    CXXFLAGS="-fsanitize=address -fno-omit-frame-pointer -g1" \
    PIP_QUIET=1 "$venv/bin/maturin" develop --profile dev --locked --target "$target"
for module in imfast/_engine*.so imfast/_core/*.so; do
    nm --dynamic "$module" | grep __asan_report >/dev/null || {
        echo "$module is not instrumented" >&2
        exit 1
    }
done

# Leaks are not looked for: CPython keeps types, interned strings and modules until the process
# ends, and all of them would be named. tests/end_to_end/test_garbage.py shows that servers do not
# grow.
# Signals are left to the handlers that are tested; one that nobody sent ends a run by itself.
export ASAN_OPTIONS="detect_leaks=0:handle_segv=0:handle_sigbus=0:handle_abort=0:handle_sigfpe=0:handle_sigill=0:log_path=$findings/asan"
# Python's own allocator carves objects out of large pieces, in which no overflow is seen.
export PYTHONMALLOC=malloc
status=0
LD_PRELOAD=$runtime "$venv/bin/python" -m pytest -p no:cacheprovider -o timeout=600 "$@" || status=$?
for finding in "$findings"/*; do
    [[ -e $finding ]] || continue
    cat "$finding"
    status=1
done
exit "$status"
