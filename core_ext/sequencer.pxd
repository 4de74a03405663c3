"""The numbering of one partition: heads, positions, ids and the dedupe window, one batch at a time.

    fold(batch) ── reserve ── number ──┐
                                       ├── commit: evict what left the window
                                       └── rollback: as if the batch had never been seen
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t


cdef extern from "batch_record.h" nogil:
    cdef enum:
        IMFAST_UNNUMBERED
        IMFAST_FORBIDDEN
        IMFAST_NEW
        IMFAST_DUPLICATE
        IMFAST_CONFLICT
        IMFAST_REFUSED
        IMFAST_ACCEPTED_UNNUMBERED

    ctypedef struct imfast_record:
        uint64_t key_high
        uint64_t key_low
        uint64_t payload
        uint32_t conversation
        uint8_t kind
        uint8_t verdict
        uint64_t seq
        uint64_t message_id
        uint64_t position
        uint64_t time_ms


cdef extern from "dedupe_queue.h" nogil:
    ctypedef struct imfast_result:
        uint64_t key_high
        uint64_t key_low
        uint64_t payload
        uint64_t seq
        uint64_t message_id
        uint64_t position
        uint64_t time_ms
        uint64_t made_ms

    ctypedef struct imfast_queue:
        uint32_t first
        uint32_t count

    int imfast_queue_init(imfast_queue* queue)
    void imfast_queue_free(imfast_queue* queue)
    int imfast_queue_reserve(imfast_queue* queue, uint32_t more)
    imfast_result* imfast_queue_at(const imfast_queue* queue, uint32_t number)
    imfast_result* imfast_queue_push(imfast_queue* queue)
    void imfast_queue_pop_newest(imfast_queue* queue)
    void imfast_queue_pop_oldest(imfast_queue* queue)
    uint64_t imfast_queue_bytes(const imfast_queue* queue)


cdef extern from "dedupe_map.h" nogil:
    ctypedef struct imfast_map:
        pass

    int imfast_map_init(imfast_map* map, uint64_t capacity, uint64_t seed_high, uint64_t seed_low)
    void imfast_map_free(imfast_map* map)
    int imfast_map_reserve(imfast_map* map, uint64_t keys)
    void imfast_map_prefetch(const imfast_map* map, uint64_t high, uint64_t low)
    uint64_t* imfast_map_slot(
        const imfast_map* map, const imfast_queue* queue, uint64_t high, uint64_t low
    )
    void imfast_map_fill(
        const imfast_map* map, uint64_t* slot, uint64_t high, uint64_t low, uint32_t number
    )
    void imfast_map_remove(imfast_map* map, uint64_t high, uint64_t low, uint32_t number)
    uint64_t imfast_map_bytes(const imfast_map* map)


cdef extern from "faults.h" nogil:
    bint imfast_fault(const char* name)  # constant 0 but in the simulation


cdef struct Mark:
    # How far the numbering has come; two marks bound the batch in flight.
    uint64_t position    # of the last accepted command, 0 before the first
    uint64_t message_id  # the highest id so far
    uint32_t keys        # results in the dedupe window


cdef class Sequencer:
    cdef:
        # settings
        readonly unsigned int partition
        readonly uint32_t dedupe_entries    # results kept at most, after a commit
        readonly uint64_t dedupe_window_ms  # age kept at most, by batch times

        # numbering, with the batch in flight
        uint64_t* heads          # last seq by conversation index, 0: none yet
        uint64_t heads_capacity
        Mark folded

        # dedupe window, with the batch in flight
        imfast_map map
        imfast_queue queue

        # the batch in flight
        readonly bint in_flight
        Mark committed           # the numbering before it; equal to `folded` when none is
        uint64_t batch_time_ms
        uint32_t* numbered       # its numbered conversations, in order: the undo list of the heads
        uint64_t numbered_count
        uint64_t numbered_capacity

    # restore
    cdef const char* restore_keys(
        self, const char* keys, uint64_t count, uint64_t position
    ) noexcept nogil
    cdef void forget_all(self) noexcept nogil

    # fold
    cdef int64_t check(self, const imfast_record* records, uint64_t count) noexcept nogil
    cdef bint reserve(self, uint64_t conversations, uint64_t count) noexcept nogil
    cdef void number_all(self, imfast_record* records, uint64_t count) noexcept nogil
    cdef void number_one(self, imfast_record* record) noexcept nogil
    cdef void repeat(self, imfast_record* record, const imfast_result* first) noexcept nogil

    # end of a batch
    cdef void evict(self, uint64_t forgettable) noexcept nogil
    cdef void forget_newest(self) noexcept nogil
