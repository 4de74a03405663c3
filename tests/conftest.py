"""What every test shares: how many examples a property gets, and which build is under test."""

import os

import pytest
from hypothesis import HealthCheck, settings

# Deadlines measure the machine, not the code. A failure prints the blob that reproduces it.
settings.register_profile("local", max_examples=50, deadline=None, print_blob=True)
settings.register_profile(
    "ci",
    max_examples=200,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],  # shared machines are slow at times
)
settings.register_profile("long", parent=settings.get_profile("ci"), max_examples=5_000)
settings.load_profile(
    os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") == "true" else "local")
)


def pytest_report_header(config: pytest.Config) -> str:
    """Names the native build, so that a pasted report says what was tested."""
    try:
        from imfast._engine import build_info
    except ImportError as error:
        return f"imfast: the native module is not built ({error}); run `make build`"
    info = build_info()
    return f"imfast: {info['version']}, {info['revision']}, {info['profile']} build"
