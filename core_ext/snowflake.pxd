"""Message ids: the arithmetic that the sequencer shares, and a generator for one partition."""

from libc.stdint cimport uint64_t


cdef extern from "snowflake_id.h" nogil:
    const uint64_t IMFAST_ID_EPOCH_MS
    const uint64_t IMFAST_ID_PARTITION_MAX
    const uint64_t IMFAST_ID_TIME_MS_MAX
    uint64_t imfast_id_elapsed_ms(uint64_t id)
    uint64_t imfast_id_partition(uint64_t id)
    uint64_t imfast_id_counter(uint64_t id)
    uint64_t imfast_id_next(uint64_t last, uint64_t time_ms, uint64_t partition)


cdef class Snowflake:
    cdef:
        readonly unsigned int partition
        readonly uint64_t last  # the newest id, 0 before the first

    cpdef uint64_t next(self, uint64_t time_ms) except? 0
