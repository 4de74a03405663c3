"""Token buckets by 64-bit key in a table of fixed size, a batch of requests at a time."""

from libc.stdint cimport uint32_t, uint64_t


cdef extern from "token_bucket.h" nogil:
    const uint64_t IMFAST_BUCKET_NS_MAX

    ctypedef struct imfast_rate:
        uint64_t interval_ns
        uint64_t depth_ns

    ctypedef struct imfast_bucket:
        uint64_t key
        uint64_t full_at_ns

    ctypedef struct imfast_buckets:
        uint64_t evictions

    imfast_rate imfast_rate_of(uint64_t per_second, uint64_t burst)
    uint32_t imfast_bucket_take(
        uint64_t* full_at_ns, imfast_rate rate, uint32_t cost, uint64_t now_ns
    )
    int imfast_buckets_init(imfast_buckets* buckets, uint64_t count, uint64_t seed)
    uint64_t imfast_buckets_count(const imfast_buckets* buckets)
    void imfast_buckets_free(imfast_buckets* buckets)
    void imfast_buckets_prefetch(const imfast_buckets* buckets, uint64_t key)
    imfast_bucket* imfast_buckets_find(imfast_buckets* buckets, uint64_t key, uint64_t now_ns)


cdef class TokenBuckets:
    cdef:
        imfast_rate rate
        imfast_buckets buckets

    cdef uint32_t take_one(self, uint64_t key, uint32_t cost, uint64_t now_ns) noexcept nogil
    cdef uint64_t take_all(
        self,
        const uint64_t* keys,
        const uint32_t* costs,
        uint32_t* waits,
        uint64_t count,
        uint64_t now_ns,
    ) noexcept nogil
