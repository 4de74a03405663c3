"""Numbers the commands of a partition: sequence per conversation, position, id; duplicates by key.

One call folds a batch of packed records in place and makes no Python object per record. Everything
that can fail happens before the first record is numbered: a batch is folded whole or not at all.
"""

from cpython.buffer cimport (
    PyBUF_SIMPLE,
    PyBUF_WRITABLE,
    PyBuffer_Release,
    PyObject_GetBuffer,
)
from libc.stdint cimport UINT32_MAX, UINT64_MAX, int64_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memset

from imfast._core.snowflake cimport (
    IMFAST_ID_PARTITION_MAX,
    IMFAST_ID_TIME_MS_MAX,
    imfast_id_next,
)

import os


cdef extern from *:
    void prefetch "__builtin_prefetch"(const void* address) nogil


cdef enum:
    RECORD_BYTES = 64
    KEY_BYTES = 64             # of a remembered key: an imfast_result
    AHEAD = 8                  # records between a prefetch and its use: hides one memory access
    DEDUPE_ENTRIES_MAX = 1 << 30
    DEDUPE_WINDOW_MS_MAX = 7 * 24 * 3600 * 1000


cdef class Sequencer:
    """The numbering of one partition; not thread-safe, one batch in flight.

    Duties of the owner: after each `fold` exactly one `commit` or `rollback`; on recovery, fold and
    commit the logged batches one by one with their times, so that eviction happens as it first did.
    With an archive, `restore` stands for the batches up to where the archive has come.
    """

    def __cinit__(
        self, unsigned int partition, uint32_t dedupe_entries, uint64_t dedupe_window_ms
    ):
        if partition > IMFAST_ID_PARTITION_MAX:
            raise ValueError(f"partition {partition} is above {IMFAST_ID_PARTITION_MAX}")
        if not 1 <= dedupe_entries <= DEDUPE_ENTRIES_MAX:
            raise ValueError(f"dedupe_entries {dedupe_entries} is not in 1 to {DEDUPE_ENTRIES_MAX}")
        if dedupe_window_ms > DEDUPE_WINDOW_MS_MAX:
            raise ValueError(f"dedupe_window_ms {dedupe_window_ms} is above {DEDUPE_WINDOW_MS_MAX}")
        self.partition = partition
        self.dedupe_entries = dedupe_entries
        self.dedupe_window_ms = dedupe_window_ms
        # Slots and tags come from a secret, so that no client can pick keys that share a slot.
        cdef uint64_t seed_high = int.from_bytes(os.urandom(8), "little")
        cdef uint64_t seed_low = int.from_bytes(os.urandom(8), "little")
        if imfast_queue_init(&self.queue):
            raise MemoryError
        if imfast_map_init(&self.map, dedupe_entries, seed_high, seed_low):
            raise MemoryError

    def __dealloc__(self):
        free(self.heads)
        free(self.numbered)
        imfast_map_free(&self.map)
        imfast_queue_free(&self.queue)

    # restore

    def restore(self, uint64_t position, uint64_t message_id, heads, keys):
        """Continue behind `position`, whose highest id was `message_id`, on a fresh sequencer.

        `heads` is the last seq of every conversation by its index, as packed uint64; `keys` are the
        keys remembered there, oldest first, as packed records of 64 bytes: key (high, low), payload,
        seq, message id, position, time, and when the key was made, each an uint64.
        RuntimeError: something was folded before. ValueError: a buffer is not whole records, an id
        above 63 bits, or a key that is zero, double, or not of a rising position up to `position`.
        MemoryError. After an error nothing has changed.
        """
        if self.in_flight or self.committed.position or self.heads_capacity:
            raise RuntimeError("only a fresh sequencer is restored")
        if message_id >> 63:
            raise ValueError(f"message id {message_id} is above 63 bits")
        cdef Py_buffer head_view, key_view
        cdef const char* wrong
        cdef uint64_t conversations, count
        PyObject_GetBuffer(heads, &head_view, PyBUF_SIMPLE)
        try:
            PyObject_GetBuffer(keys, &key_view, PyBUF_SIMPLE)
            try:
                if head_view.len % sizeof(uint64_t) or key_view.len % KEY_BYTES:
                    raise ValueError("heads or keys are not whole records")
                conversations = head_view.len // sizeof(uint64_t)
                count = key_view.len // KEY_BYTES
                if conversations > UINT32_MAX or count > DEDUPE_ENTRIES_MAX:
                    raise ValueError("too many heads or keys")
                if not self.reserve(conversations, count):
                    self.forget_all()
                    raise MemoryError
                wrong = self.restore_keys(<const char*>key_view.buf, count, position)
                if wrong != NULL:
                    self.forget_all()
                    raise ValueError(wrong.decode())
                if conversations:
                    memcpy(self.heads, head_view.buf, head_view.len)
            finally:
                PyBuffer_Release(&key_view)
        finally:
            PyBuffer_Release(&head_view)
        self.folded.position = position
        self.folded.message_id = message_id
        self.folded.keys = self.queue.count
        self.committed = self.folded

    cdef const char* restore_keys(
        self, const char* keys, uint64_t count, uint64_t position
    ) noexcept nogil:
        """Remember `count` keys, for which room was reserved; what is wrong with them, or NULL."""
        cdef:
            uint64_t i
            uint64_t after = 0
            uint64_t* slot
            uint32_t number
            imfast_result key, soon
        for i in range(count):
            if i + AHEAD < count:
                memcpy(&soon, keys + (i + AHEAD) * KEY_BYTES, KEY_BYTES)
                imfast_map_prefetch(&self.map, soon.key_high, soon.key_low)
            memcpy(&key, keys + i * KEY_BYTES, KEY_BYTES)
            if not key.key_high | key.key_low:
                return "a key is zero"
            if key.position <= after or key.position > position:
                return "positions of keys do not rise up to the last one"
            if key.message_id >> 63:
                return "a key has a message id above 63 bits"
            after = key.position
            slot = imfast_map_slot(&self.map, &self.queue, key.key_high, key.key_low)
            if slot[0]:
                return "a key is there twice"
            number = self.queue.first + self.queue.count
            imfast_map_fill(&self.map, slot, key.key_high, key.key_low, number)
            imfast_queue_push(&self.queue)[0] = key
        return NULL

    cdef void forget_all(self) noexcept nogil:
        """Make a sequencer fresh again whose restoring failed."""
        while self.queue.count:
            self.forget_newest()
        free(self.heads)
        self.heads = NULL
        self.heads_capacity = 0

    # fold

    def fold(self, batch, uint64_t count, uint64_t time_ms):
        """Number `count` records in the writable buffer `batch` at wall time `time_ms`.

        Returns how many were accepted (new or unnumbered); verdicts and results are in the records.
        RuntimeError: the batch before is neither committed nor rolled back. ValueError: buffer too
        small or not aligned to 8 bytes, time beyond the id's range, or a record with an unknown
        kind, a verdict that is no input, or an id above 63 bits. MemoryError. After an error
        nothing has changed.
        """
        if self.in_flight:
            raise RuntimeError("a batch is in flight: commit or roll back first")
        if time_ms > IMFAST_ID_TIME_MS_MAX:
            raise ValueError(f"time {time_ms} ms does not fit in an id")
        if count > UINT32_MAX - self.queue.count:
            raise ValueError(f"a batch of {count} records is too large")
        cdef Py_buffer view
        PyObject_GetBuffer(batch, &view, PyBUF_SIMPLE | PyBUF_WRITABLE)
        try:
            if <uint64_t>view.len < count * RECORD_BYTES:
                raise ValueError(f"buffer of {view.len} bytes holds fewer than {count} records")
            if <uintptr_t>view.buf % 8:
                raise ValueError("buffer is not aligned to 8 bytes")
            self.batch_time_ms = time_ms
            conversations = self.check(<imfast_record*>view.buf, count)
            if conversations < 0:
                raise ValueError("a record has an unknown kind, verdict or id")
            if not self.reserve(conversations, count):
                raise MemoryError
            self.in_flight = True
            self.number_all(<imfast_record*>view.buf, count)
        finally:
            PyBuffer_Release(&view)
        return self.folded.position - self.committed.position

    cdef int64_t check(self, const imfast_record* records, uint64_t count) noexcept nogil:
        """Heads the batch needs (highest index + 1), or -1 when a record is malformed."""
        cdef:
            uint64_t i
            uint32_t highest = 0
            bint malformed = False
        for i in range(count):
            highest = max(highest, records[i].conversation)
            malformed |= records[i].kind > IMFAST_UNNUMBERED
            malformed |= records[i].verdict > IMFAST_FORBIDDEN
            malformed |= (records[i].message_id >> 63) != 0
        if malformed:
            return -1
        return <int64_t>highest + 1 if count else 0

    cdef bint reserve(self, uint64_t conversations, uint64_t count) noexcept nogil:
        """Make room for a batch, so that numbering it cannot fail; False when memory is short."""
        cdef uint64_t capacity
        cdef void* grown
        if conversations > self.heads_capacity:
            capacity = max(conversations, self.heads_capacity * 2, 64)
            grown = realloc(self.heads, capacity * sizeof(uint64_t))
            if grown == NULL:
                return False
            self.heads = <uint64_t*>grown
            memset(
                self.heads + self.heads_capacity,
                0,
                (capacity - self.heads_capacity) * sizeof(uint64_t),
            )
            self.heads_capacity = capacity
        if count > self.numbered_capacity:
            grown = realloc(self.numbered, count * sizeof(uint32_t))
            if grown == NULL:
                return False
            self.numbered = <uint32_t*>grown
            self.numbered_capacity = count
        if imfast_queue_reserve(&self.queue, <uint32_t>count):
            return False
        return imfast_map_reserve(&self.map, self.queue.count + count) == 0

    cdef void number_all(self, imfast_record* records, uint64_t count) noexcept nogil:
        cdef uint64_t i
        cdef const imfast_record* soon
        for i in range(count):
            if i + AHEAD < count:
                soon = &records[i + AHEAD]
                imfast_map_prefetch(&self.map, soon.key_high, soon.key_low)
                prefetch(&self.heads[soon.conversation])
            self.number_one(&records[i])

    cdef void number_one(self, imfast_record* record) noexcept nogil:
        """Decide one record; the order of the questions is the contract: duplicate first."""
        cdef:
            uint64_t* slot = NULL
            imfast_result* result
            uint32_t number
            uint64_t made_ms = record.seq
        if record.key_high | record.key_low:
            slot = imfast_map_slot(&self.map, &self.queue, record.key_high, record.key_low)
            if slot[0]:
                if imfast_fault("dedupe-after-numbering"):
                    self.heads[record.conversation] += 1
                self.repeat(record, imfast_queue_at(&self.queue, <uint32_t>slot[0]))
                return
        if record.verdict == IMFAST_FORBIDDEN:
            record.verdict = IMFAST_REFUSED
            record.seq = record.message_id = record.position = 0
            return

        self.folded.position += 1
        record.position = self.folded.position
        record.time_ms = self.batch_time_ms
        if record.kind == IMFAST_UNNUMBERED:
            record.verdict = IMFAST_ACCEPTED_UNNUMBERED
            record.seq = record.message_id = 0
        else:
            record.verdict = IMFAST_NEW
            self.heads[record.conversation] += 1
            self.numbered[self.numbered_count] = record.conversation
            self.numbered_count += 1
            record.seq = self.heads[record.conversation]
            if record.message_id == 0:
                record.message_id = imfast_id_next(
                    self.folded.message_id, self.batch_time_ms, self.partition
                )
            self.folded.message_id = max(self.folded.message_id, record.message_id)

        if slot != NULL:
            number = self.queue.first + self.queue.count
            imfast_map_fill(&self.map, slot, record.key_high, record.key_low, number)
            result = imfast_queue_push(&self.queue)
            result.key_high = record.key_high
            result.key_low = record.key_low
            result.payload = record.payload
            result.seq = record.seq
            result.message_id = record.message_id
            result.position = record.position
            result.time_ms = record.time_ms
            result.made_ms = made_ms
            self.folded.keys += 1

    cdef void repeat(self, imfast_record* record, const imfast_result* first) noexcept nogil:
        """Answer a key in the window: its first result, or a conflict, which tells nothing."""
        if record.payload != first.payload:
            record.verdict = IMFAST_CONFLICT
            record.seq = record.message_id = record.position = 0
            return
        record.verdict = IMFAST_DUPLICATE
        record.seq = first.seq
        record.message_id = first.message_id
        record.position = first.position
        record.time_ms = first.time_ms

    # end of a batch

    def commit(self, uint64_t forgettable=UINT64_MAX):
        """The batch in flight is durable: keep it, and forget what left the dedupe window.

        Keys behind the position `forgettable` stay: nobody else knows them yet.
        RuntimeError when none is in flight.
        """
        if not self.in_flight:
            raise RuntimeError("no batch is in flight")
        # A batch that accepted nothing is not in the log: if it evicted, a replay would differ.
        if self.folded.position != self.committed.position:
            self.evict(forgettable)
        self.folded.keys = self.queue.count
        self.committed = self.folded
        self.numbered_count = 0
        self.in_flight = False

    def rollback(self):
        """The batch in flight failed: restore heads, position and id, forget its keys.

        RuntimeError when none is in flight.
        """
        if not self.in_flight:
            raise RuntimeError("no batch is in flight")
        cdef uint64_t i
        if not imfast_fault("rolled-back-number-kept"):
            for i in range(self.numbered_count):
                self.heads[self.numbered[i]] -= 1
        if imfast_fault("failed-key-remembered"):
            self.committed.keys = self.queue.count
        while self.queue.count > self.committed.keys:
            self.forget_newest()
        self.folded = self.committed
        self.numbered_count = 0
        self.in_flight = False

    cdef void evict(self, uint64_t forgettable) noexcept nogil:
        """Drop the oldest results: above `dedupe_entries`, or out of the window at batch time."""
        cdef imfast_result* oldest
        cdef imfast_result* soon
        while self.queue.count:
            oldest = imfast_queue_at(&self.queue, self.queue.first)
            if oldest.position > forgettable:
                return
            if (
                self.queue.count <= self.dedupe_entries
                and oldest.time_ms + self.dedupe_window_ms >= self.batch_time_ms
            ):
                return
            if self.queue.count > AHEAD:
                soon = imfast_queue_at(&self.queue, self.queue.first + AHEAD)
                imfast_map_prefetch(&self.map, soon.key_high, soon.key_low)
            imfast_map_remove(&self.map, oldest.key_high, oldest.key_low, self.queue.first)
            imfast_queue_pop_oldest(&self.queue)

    cdef void forget_newest(self) noexcept nogil:
        cdef uint32_t number = self.queue.first + self.queue.count - 1
        cdef imfast_result* newest = imfast_queue_at(&self.queue, number)
        imfast_map_remove(&self.map, newest.key_high, newest.key_low, number)
        imfast_queue_pop_newest(&self.queue)

    # reading: committed state only

    def head(self, uint32_t conversation):
        """Last committed seq of the conversation with this index, 0 before its first."""
        if conversation >= self.heads_capacity:
            return 0
        cdef uint64_t i, head = self.heads[conversation]
        for i in range(self.numbered_count):
            head -= self.numbered[i] == conversation
        return head

    @property
    def last_position(self):
        """Position of the last committed command, 0 before the first."""
        return self.committed.position

    @property
    def last_message_id(self):
        """Highest committed message id, 0 before the first."""
        return self.committed.message_id

    @property
    def dedupe_len(self):
        """Committed keys in the dedupe window."""
        return self.committed.keys

    @property
    def oldest_key_ms(self):
        """Batch time of the oldest committed key: since then retries are known; 0 without keys."""
        if self.committed.keys == 0:
            return 0
        return imfast_queue_at(&self.queue, self.queue.first).time_ms

    @property
    def oldest_key_position(self):
        """Position of the oldest committed key; the last position + 1 without keys."""
        if self.committed.keys == 0:
            return self.committed.position + 1
        return imfast_queue_at(&self.queue, self.queue.first).position

    @property
    def memory_bytes(self):
        """Memory allocated for heads, undo list and dedupe window."""
        return (
            self.heads_capacity * sizeof(uint64_t)
            + self.numbered_capacity * sizeof(uint32_t)
            + imfast_map_bytes(&self.map)
            + imfast_queue_bytes(&self.queue)
        )
