// Token buckets of one number each: when the bucket will be full again. It holds `depth` at most, so it has room
// for a cost while that time stays within `depth` of now (the virtual scheduling form of the generic cell rate
// algorithm, ITU-T I.371 annex A). Nothing runs between two takes, and a bucket whose time has passed is like a
// new one: forgetting it changes nothing. rust/wire/src/rate.rs is the same rule, spec/vectors hold both to it.
#pragma once
#include <stdint.h>
#include <sys/mman.h>

#define IMFAST_BUCKETS_IN_SET 4 // one cache line
#define IMFAST_BUCKET_NS_MAX (1ull << 62)

typedef struct {
    uint64_t interval_ns; // what one token takes to come back
    uint64_t depth_ns;    // what a whole bucket takes
} imfast_rate;

typedef struct {
    uint64_t key;
    uint64_t full_at_ns;
} imfast_bucket;

typedef struct {
    imfast_bucket *slots;
    uint32_t shift;      // a key's set is the product's bits above it
    uint64_t multiplier; // random and odd: clients cannot aim at one set
    uint64_t evictions;  // buckets forgotten before they were full
} imfast_buckets;

// `per_second` in 1 to 10^9, `burst` in 1 to 2^32 - 1: the depth stays below 2^62 ns.
static inline imfast_rate imfast_rate_of(uint64_t per_second, uint64_t burst) {
    imfast_rate rate;
    rate.interval_ns = (1000000000ull + per_second / 2) / per_second;
    rate.depth_ns = rate.interval_ns * burst;
    return rate;
}

// Takes `cost` tokens, or none: then the milliseconds until there are enough, at least 1. A cost above the burst
// counts as the burst, or it would never be let through.
static inline uint32_t imfast_bucket_take(uint64_t *full_at_ns, imfast_rate rate, uint32_t cost, uint64_t now_ns) {
    uint64_t cost_ns = cost * rate.interval_ns;
    if (cost_ns > rate.depth_ns) cost_ns = rate.depth_ns;
    uint64_t missing_ns = *full_at_ns > now_ns ? *full_at_ns - now_ns : 0;
    if (missing_ns > rate.depth_ns) missing_ns = rate.depth_ns; // the clock went back
    missing_ns += cost_ns;
    if (missing_ns <= rate.depth_ns) {
        *full_at_ns = now_ns + missing_ns;
        return 0;
    }
    uint64_t wait_ms = (missing_ns - rate.depth_ns + 999999) / 1000000;
    return wait_ms < UINT32_MAX ? (uint32_t)wait_ms : UINT32_MAX;
}

// Room for at least `count` buckets, which must be at least 1; -1 when memory is short. Pages are touched as they
// come into use.
static inline int imfast_buckets_init(imfast_buckets *buckets, uint64_t count, uint64_t seed) {
    uint32_t bits = 1;
    while (bits < 32 && ((uint64_t)IMFAST_BUCKETS_IN_SET << bits) < count) bits++;
    if (((uint64_t)IMFAST_BUCKETS_IN_SET << bits) < count) return -1;
    uint64_t bytes = (sizeof(imfast_bucket) * IMFAST_BUCKETS_IN_SET) << bits;
    void *slots = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (slots == MAP_FAILED) return -1;
    buckets->slots = (imfast_bucket *)slots;
    buckets->shift = 64 - bits;
    buckets->multiplier = seed | 1;
    buckets->evictions = 0;
    return 0;
}

static inline uint64_t imfast_buckets_count(const imfast_buckets *buckets) {
    return (uint64_t)IMFAST_BUCKETS_IN_SET << (64 - buckets->shift);
}

static inline void imfast_buckets_free(imfast_buckets *buckets) {
    if (buckets->slots) munmap(buckets->slots, imfast_buckets_count(buckets) * sizeof(imfast_bucket));
    buckets->slots = NULL;
}

static inline imfast_bucket *imfast_buckets_set(const imfast_buckets *buckets, uint64_t key) {
    return &buckets->slots[(key * buckets->multiplier >> buckets->shift) * IMFAST_BUCKETS_IN_SET];
}

static inline void imfast_buckets_prefetch(const imfast_buckets *buckets, uint64_t key) {
    __builtin_prefetch(imfast_buckets_set(buckets, key));
}

// The key's bucket. A new key takes the place of the bucket that is nearest to full, which is a loss to nobody
// where it is full; where it is not, its owner starts with a full one again: the table never refuses too much.
static inline imfast_bucket *imfast_buckets_find(imfast_buckets *buckets, uint64_t key, uint64_t now_ns) {
    imfast_bucket *set = imfast_buckets_set(buckets, key), *fullest = set;
    for (int i = 0; i < IMFAST_BUCKETS_IN_SET; i++) {
        if (set[i].key == key) return &set[i];
        if (set[i].full_at_ns < fullest->full_at_ns) fullest = &set[i];
    }
    buckets->evictions += fullest->full_at_ns > now_ns;
    fullest->key = key;
    fullest->full_at_ns = 0;
    return fullest;
}
