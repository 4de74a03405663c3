"""What the supervisor tells a worker."""

from __future__ import annotations

import os

import pytest

from imfast.config.load import load
from imfast.config.worker_document import Layout, WorkerDocument, WorkerSockets, partitions_of


def test_worker_reads_what_the_supervisor_wrote():
    document = WorkerDocument(
        index=1,
        incarnation=4,
        server="n1.w1",
        workers=2,
        partitions=(1, 3),
        supervisor_pid=77,
        link_paths=("/d/run/w0.sock", "/d/run/w1.sock"),
        fds=WorkerSockets(http=(5, 6), tcp=(7, 8), links=9, control=10, routes=11),
        layout=Layout(partitions=4, generation=1, hash_secret="00" * 16),
        options=load(
            {"data_dir": "/d", "workers": "2", "partitions": "4", "connections_max": "9000"}
        ).settings.document(),
    )
    memory = os.memfd_create("test")
    os.write(memory, document.encode())
    os.lseek(memory, 0, os.SEEK_SET)
    assert WorkerDocument.read(memory) == document


@pytest.mark.parametrize(("workers", "partitions"), [(1, 1), (2, 4), (3, 8), (5, 2), (64, 1024)])
def test_every_partition_has_exactly_one_owner(workers: int, partitions: int):
    owned = [p for index in range(workers) for p in partitions_of(index, workers, partitions)]
    assert sorted(owned) == list(range(partitions))
