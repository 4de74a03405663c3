// Message ids: 41 bits of milliseconds since 2024-01-01T00:00:00Z, 10 bits partition, 12 bits counter.
#pragma once
#include <stdint.h>

#define IMFAST_ID_EPOCH_MS 1704067200000ull
#define IMFAST_ID_TIME_BITS 41
#define IMFAST_ID_PARTITION_BITS 10
#define IMFAST_ID_COUNTER_BITS 12
#define IMFAST_ID_TIME_SHIFT (IMFAST_ID_PARTITION_BITS + IMFAST_ID_COUNTER_BITS)
#define IMFAST_ID_PARTITION_MAX ((1ull << IMFAST_ID_PARTITION_BITS) - 1)
#define IMFAST_ID_COUNTER_MAX ((1ull << IMFAST_ID_COUNTER_BITS) - 1)
#define IMFAST_ID_TIME_MS_MAX (IMFAST_ID_EPOCH_MS + (1ull << IMFAST_ID_TIME_BITS) - 1)

static inline uint64_t imfast_id_join(uint64_t elapsed_ms, uint64_t partition) {
    return elapsed_ms << IMFAST_ID_TIME_SHIFT | partition << IMFAST_ID_COUNTER_BITS;
}

static inline uint64_t imfast_id_elapsed_ms(uint64_t id) { return id >> IMFAST_ID_TIME_SHIFT; }

static inline uint64_t imfast_id_partition(uint64_t id) {
    return id >> IMFAST_ID_COUNTER_BITS & IMFAST_ID_PARTITION_MAX;
}

static inline uint64_t imfast_id_counter(uint64_t id) { return id & IMFAST_ID_COUNTER_MAX; }

// The partition's next id, always above `last`: when the clock stands still or goes back the counter
// advances, and a full counter borrows from the next millisecond. Times before the epoch count as it.
static inline uint64_t imfast_id_next(uint64_t last, uint64_t time_ms, uint64_t partition) {
    uint64_t elapsed_ms = time_ms > IMFAST_ID_EPOCH_MS ? time_ms - IMFAST_ID_EPOCH_MS : 0;
    uint64_t first = imfast_id_join(elapsed_ms, partition);
    if (first > last) return first;
    uint64_t last_partition = imfast_id_partition(last);
    if (last_partition == partition && imfast_id_counter(last) < IMFAST_ID_COUNTER_MAX) return last + 1;
    return imfast_id_join(imfast_id_elapsed_ms(last) + (last_partition >= partition), partition);
}
