"""Snowflake message ids: unique in the node's layout, rising within a partition."""


cdef class Snowflake:
    """Ids of one partition; each is above the one before, whatever the clock does."""

    def __init__(self, unsigned int partition):
        if partition > IMFAST_ID_PARTITION_MAX:
            raise ValueError(f"partition {partition} is above {IMFAST_ID_PARTITION_MAX}")
        self.partition = partition
        self.last = 0

    cpdef uint64_t next(self, uint64_t time_ms) except? 0:
        """The next id at the wall time `time_ms`; ValueError when 41 bits cannot hold the time."""
        if time_ms > IMFAST_ID_TIME_MS_MAX:
            raise ValueError(f"time {time_ms} ms does not fit in an id")
        self.last = imfast_id_next(self.last, time_ms, self.partition)
        return self.last


def split(uint64_t message_id):
    """The id's (time_ms, partition, counter); the time may be borrowed ahead of the clock's."""
    return (
        imfast_id_elapsed_ms(message_id) + IMFAST_ID_EPOCH_MS,
        imfast_id_partition(message_id),
        imfast_id_counter(message_id),
    )
