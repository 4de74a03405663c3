"""Who may do how much: token buckets by key, with memory that does not grow with the keys.

Time is an argument, in nanoseconds of any clock; one that goes back costs nobody more than a burst.
A call over a batch makes no Python object per request.
"""

from cpython.buffer cimport (
    PyBUF_SIMPLE,
    PyBUF_WRITABLE,
    PyBuffer_Release,
    PyObject_GetBuffer,
)
from libc.stdint cimport UINT32_MAX, uint32_t, uint64_t, uintptr_t

import os


cdef enum:
    AHEAD = 8  # requests between a prefetch and its use: hides one memory access
    PER_SECOND_MAX = 1_000_000_000


cdef class TokenBuckets:
    """Buckets of one rate and one depth, made as keys come; not thread-safe."""

    def __cinit__(self, uint64_t buckets, uint64_t per_second, uint64_t burst):
        """Room for at least `buckets` that are not full; each holds `burst` tokens.

        ValueError: `per_second` is not in 1 to 10^9, or `burst` not in 1 to 2^32 - 1. MemoryError.
        """
        if not 1 <= per_second <= PER_SECOND_MAX:
            raise ValueError(f"per_second {per_second} is not in 1 to {PER_SECOND_MAX}")
        if not 1 <= burst <= UINT32_MAX:
            raise ValueError(f"burst {burst} is not in 1 to {UINT32_MAX}")
        if buckets < 1:
            raise ValueError("no buckets")
        self.rate = imfast_rate_of(per_second, burst)
        # Sets come from a secret, so that no client can pick keys that share one.
        cdef uint64_t seed = int.from_bytes(os.urandom(8), "little")
        if imfast_buckets_init(&self.buckets, buckets, seed):
            raise MemoryError

    def __dealloc__(self):
        imfast_buckets_free(&self.buckets)

    cdef uint32_t take_one(self, uint64_t key, uint32_t cost, uint64_t now_ns) noexcept nogil:
        cdef imfast_bucket* bucket = imfast_buckets_find(&self.buckets, key, now_ns)
        return imfast_bucket_take(&bucket.full_at_ns, self.rate, cost, now_ns)

    cdef uint64_t take_all(
        self,
        const uint64_t* keys,
        const uint32_t* costs,
        uint32_t* waits,
        uint64_t count,
        uint64_t now_ns,
    ) noexcept nogil:
        cdef uint64_t i, refused = 0
        for i in range(min(count, <uint64_t>AHEAD)):
            imfast_buckets_prefetch(&self.buckets, keys[i])
        for i in range(count):
            if i + AHEAD < count:
                imfast_buckets_prefetch(&self.buckets, keys[i + AHEAD])
            waits[i] = self.take_one(keys[i], costs[i] if costs != NULL else 1, now_ns)
            refused += waits[i] != 0
        return refused

    def take(self, uint64_t key, uint64_t now_ns, uint32_t cost=1):
        """Take `cost` tokens of a key's bucket: 0, or the milliseconds until there are enough.

        A cost above the burst counts as the burst. ValueError: a time beyond 2^62 ns.
        """
        if now_ns > IMFAST_BUCKET_NS_MAX:
            raise ValueError(f"time {now_ns} ns is out of range")
        return self.take_one(key, cost, now_ns)

    def take_batch(self, keys, waits, uint64_t now_ns, costs=None):
        """Take for every key in turn; returns how many were refused.

        `keys` is a buffer of u64, `waits` a writable one of u32 that gets what `take` returns, and
        `costs` one of u32, 1 each without it. ValueError: buffers of different counts or not
        aligned, or a time beyond 2^62 ns; then nothing was taken.
        """
        cdef Py_buffer key_view, wait_view, cost_view
        cdef uint64_t count
        if now_ns > IMFAST_BUCKET_NS_MAX:
            raise ValueError(f"time {now_ns} ns is out of range")
        PyObject_GetBuffer(keys, &key_view, PyBUF_SIMPLE)
        try:
            count = key_view.len // sizeof(uint64_t)
            check(&key_view, count, sizeof(uint64_t))
            PyObject_GetBuffer(waits, &wait_view, PyBUF_SIMPLE | PyBUF_WRITABLE)
            try:
                check(&wait_view, count, sizeof(uint32_t))
                if costs is None:
                    return self.take_all(
                        <const uint64_t*>key_view.buf,
                        NULL,
                        <uint32_t*>wait_view.buf,
                        count,
                        now_ns,
                    )
                PyObject_GetBuffer(costs, &cost_view, PyBUF_SIMPLE)
                try:
                    check(&cost_view, count, sizeof(uint32_t))
                    return self.take_all(
                        <const uint64_t*>key_view.buf,
                        <const uint32_t*>cost_view.buf,
                        <uint32_t*>wait_view.buf,
                        count,
                        now_ns,
                    )
                finally:
                    PyBuffer_Release(&cost_view)
            finally:
                PyBuffer_Release(&wait_view)
        finally:
            PyBuffer_Release(&key_view)

    @property
    def capacity(self):
        """Buckets there is room for."""
        return imfast_buckets_count(&self.buckets)

    @property
    def memory_bytes(self):
        """Bytes of the table; pages that no key came to are not touched."""
        return imfast_buckets_count(&self.buckets) * sizeof(imfast_bucket)

    @property
    def evictions(self):
        """Buckets forgotten before they were full, for want of room: their keys got a new one."""
        return self.buckets.evictions


cdef int check(const Py_buffer* view, uint64_t count, size_t item) except -1:
    if <uint64_t>view.len != count * item:
        raise ValueError(f"a buffer of {view.len} bytes is not {count} items of {item}")
    if count and <uintptr_t>view.buf % item:
        raise ValueError(f"a buffer is not aligned to {item} bytes")
    return 0
