"""What processes spend on a processor between two moments."""

from __future__ import annotations

import subprocess
import sys
import time

from benchmarks.soak.processes import EVERY_SECONDS, Watch

BURN = "import time; print(flush=True)\nwhile time.process_time() < 0.3: pass\ninput()"


def test_watch_counts_what_a_process_spent_since_it_was_started():
    with Watch() as watch:
        time.sleep(4 * EVERY_SECONDS)
        began = time.monotonic()
        with subprocess.Popen(
            [sys.executable, "-c", BURN], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process:
            while watch.spent(began, time.monotonic()).get("load", (0.0, 0.0))[0] < 0.29:
                assert process.poll() is None
            until = time.monotonic()
            process.communicate(b"\n")
    ran, _ = watch.spent(began, until)["load"]
    assert 0.29 <= ran < 0.5
    assert began < watch.first_seen(began)["load"] <= until
    assert "load" not in watch.spent(began - 1.0, began)
