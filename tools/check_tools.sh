#!/usr/bin/env bash
# Says what is missing on this machine to build imfast, and the command that installs it.
# Arguments: "build" (default) checks what `make build` needs; "test" adds what the tests need.
# Exit code: 0 when nothing is missing, 1 otherwise.
set -euo pipefail

purpose=${1:-build}
python=${PYTHON:-python3}
missing=()
declare -A packages=([debian]="" [fedora]="" [arch]="")
rustup_hint=""

# need "what is missing" "debian packages" "fedora packages" "arch packages"
need() {
    missing+=("$1")
    packages[debian]+=" $2"
    packages[fedora]+=" $3"
    packages[arch]+=" $4"
}

has() { command -v "$1" >/dev/null 2>&1; }

# The oldest Rust that builds the workspace; rust/Cargo.toml is the one place that says it.
rust_needed=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$(dirname "$0")/../rust/Cargo.toml")

[[ $(uname -s) == Linux ]] || {
    echo "imfast builds and runs on Linux only (its engine is made of epoll, eventfd and futex)." >&2
    exit 1
}

if ! has cargo || ! has rustc; then
    missing+=("cargo and rustc $rust_needed or later")
    rustup_hint="curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh"
else
    rust_found=$(rustc --version | cut -d' ' -f2)
    if [[ $(printf '%s\n' "$rust_needed" "$rust_found" | sort -V | head -n1) != "$rust_needed" ]]; then
        missing+=("Rust $rust_needed or later (found $rust_found)")
        rustup_hint="rustup update stable"
        has rustup || rustup_hint="curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh"
    fi
fi
has cc || need "a C compiler (cc)" build-essential gcc base-devel
has c++ || need "a C++ compiler (c++)" build-essential gcc-c++ base-devel

if ! has "$python" || ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    need "Python 3.11 or later ($python)" "python3 python3-venv python3-dev" "python3 python3-devel" python
else
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        need "the venv module of $python" python3-venv python3 python
    "$python" -c 'import pathlib, sys, sysconfig
sys.exit(not (pathlib.Path(sysconfig.get_path("include")) / "Python.h").exists())' ||
        need "the headers of $python (Python.h)" python3-dev python3-devel python
fi

if [[ $purpose == test ]]; then
    has strace || need "strace" strace strace strace
    has valgrind || need "valgrind" valgrind valgrind valgrind
    if has cargo && ! { cargo fmt --version && cargo clippy --version; } >/dev/null 2>&1; then
        missing+=("rustfmt and clippy")
        rustup_hint=${rustup_hint:-rustup component add rustfmt clippy}
    fi
fi

((${#missing[@]})) || exit 0

# The unique words of a list, in their first order.
unique() { tr ' ' '\n' <<<"$1" | awk 'NF && !seen[$0]++' | paste -sd' '; }

family=all
if [[ -r /etc/os-release ]]; then
    ids=$(. /etc/os-release && echo "${ID:-} ${ID_LIKE:-}")
    for known in debian fedora arch; do
        [[ " $ids " == *" $known "* ]] && family=$known && break
    done
fi

{
    echo "Missing on this machine:"
    printf '  - %s\n' "${missing[@]}"
    echo "Install with:"
    if [[ -n ${packages[debian]} ]]; then
        declare -A command=(
            [debian]="sudo apt-get install -y"
            [fedora]="sudo dnf install -y"
            [arch]="sudo pacman -S --needed"
        )
        for known in debian fedora arch; do
            [[ $family == all || $family == "$known" ]] || continue
            echo "  ${command[$known]} $(unique "${packages[$known]}")"
        done
    fi
    [[ -z $rustup_hint ]] || echo "  $rustup_hint"
} >&2
exit 1
