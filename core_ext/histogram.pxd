"""Counts of values in log-linear buckets: quantiles with a bounded relative error, mergeable.

A block of memory holds everything, so that another process can read it where it is shared:

    0   u64 version 1, precision in bits 8 to 15, bits of the highest value in bits 16 to 23
    8   u64 values recorded
    16  u64 their sum, modulo 2^64
    24  u64 the smallest, 2^64 - 1 before the first
    32  u64 the largest
    40  24 bytes of zeros
    64  u64 counts, by bucket
"""

from libc.stdint cimport uint64_t


cdef struct Header:
    uint64_t form
    uint64_t count
    uint64_t total
    uint64_t smallest
    uint64_t largest
    uint64_t unused[3]


cdef class Histogram:
    cdef:
        readonly unsigned int precision     # a bucket is at most 2^-precision of its values wide
        readonly unsigned int highest_bits  # values of more bits count as the highest of these
        Header* header
        uint64_t* counts
        uint64_t buckets
        Py_buffer view  # of the memory, which somebody else may own

    cdef uint64_t index(self, uint64_t value) noexcept nogil
    cdef uint64_t upper(self, uint64_t index) noexcept nogil
    cdef void add(self, uint64_t value, uint64_t times) noexcept nogil
    cdef void clear(self) noexcept nogil
