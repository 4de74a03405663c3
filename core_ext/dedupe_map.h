// Open-addressing map from a 128-bit key to the number of its result in the queue.
//
// A slot is 8 bytes: the high half is a tag, from which the slot's home follows as well, so growing and
// deleting read no result; the low half is the result's number. Linear probing, load at most 3/4,
// deletion shifts back: no tombstones, the same cost after a day as after a minute.
#pragma once
#include <stdint.h>
#include <sys/mman.h>

#include "dedupe_queue.h"

typedef struct {
    uint64_t *slots;     // 0: empty (a tag is never 0)
    uint64_t mask;       // slots - 1
    uint32_t shift;      // a tag's home is tag >> shift
    uint64_t multiplier_high, multiplier_low; // random and odd: clients cannot aim at one slot
} imfast_map;

static inline int imfast_map_allocate(imfast_map *map, uint64_t capacity) {
    uint32_t bits = 9; // one page
    while (bits < 31 && (3ull << bits) / 4 < capacity) bits++;
    if ((3ull << bits) / 4 < capacity) return -1;
    size_t bytes = sizeof(uint64_t) << bits;
    void *slots = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (slots == MAP_FAILED) return -1;
    // Every lookup is a random access: with small pages it would miss the TLB too. Best effort.
    (void)madvise(slots, bytes, MADV_HUGEPAGE);
#ifdef MADV_POPULATE_WRITE
    (void)madvise(slots, bytes, MADV_POPULATE_WRITE); // else the first batches pay for the pages
#endif
    map->slots = (uint64_t *)slots;
    map->mask = (1ull << bits) - 1;
    map->shift = 32 - bits;
    return 0;
}

// `capacity` keys fit without growing.
static inline int imfast_map_init(imfast_map *map, uint64_t capacity, uint64_t seed_high, uint64_t seed_low) {
    map->multiplier_high = seed_high | 1;
    map->multiplier_low = seed_low | 1;
    return imfast_map_allocate(map, capacity);
}

static inline uint64_t imfast_map_bytes(const imfast_map *map) {
    return (map->mask + 1) * sizeof *map->slots;
}

static inline void imfast_map_free(imfast_map *map) {
    if (map->slots) munmap(map->slots, imfast_map_bytes(map));
    map->slots = NULL;
}

static inline uint32_t imfast_map_tag(const imfast_map *map, uint64_t high, uint64_t low) {
    return (uint32_t)((high * map->multiplier_high + low * map->multiplier_low) >> 32) | 1;
}

static inline void imfast_map_prefetch(const imfast_map *map, uint64_t high, uint64_t low) {
    __builtin_prefetch(&map->slots[imfast_map_tag(map, high, low) >> map->shift]);
}

// The slot that holds the key, or the empty slot where it belongs.
static inline uint64_t *imfast_map_slot(const imfast_map *map, const imfast_queue *queue, uint64_t high,
                                        uint64_t low) {
    uint32_t tag = imfast_map_tag(map, high, low);
    for (uint64_t i = tag >> map->shift;; i = (i + 1) & map->mask) {
        uint64_t slot = map->slots[i];
        if (slot == 0) return &map->slots[i];
        if (slot >> 32 != tag) continue;
        const imfast_result *result = imfast_queue_at(queue, (uint32_t)slot);
        if (result->key_high == high && result->key_low == low) return &map->slots[i];
    }
}

static inline void imfast_map_fill(const imfast_map *map, uint64_t *slot, uint64_t high, uint64_t low,
                                   uint32_t number) {
    *slot = (uint64_t)imfast_map_tag(map, high, low) << 32 | number;
}

// Forgets the result `number` of the key; it must be there.
static inline void imfast_map_remove(imfast_map *map, uint64_t high, uint64_t low, uint32_t number) {
    uint64_t *slots = map->slots, mask = map->mask;
    uint64_t sought = (uint64_t)imfast_map_tag(map, high, low) << 32 | number;
    uint64_t hole = sought >> 32 >> map->shift;
    while (slots[hole] != sought) hole = (hole + 1) & mask;
    for (uint64_t i = (hole + 1) & mask; slots[i]; i = (i + 1) & mask) {
        uint64_t home = slots[i] >> 32 >> map->shift;
        if (((i - home) & mask) < ((i - hole) & mask)) continue; // its home lies behind the hole
        slots[hole] = slots[i];
        hole = i;
    }
    slots[hole] = 0;
}

// Makes room for `keys` keys in all; -1 when memory is short, and the map is as before.
static inline int imfast_map_reserve(imfast_map *map, uint64_t keys) {
    uint64_t slots_before = map->mask + 1;
    if (keys <= slots_before / 4 * 3) return 0;
    imfast_map wider = *map;
    if (imfast_map_allocate(&wider, keys)) return -1;
    for (uint64_t i = 0; i < slots_before; i++) {
        uint64_t slot = map->slots[i];
        if (!slot) continue;
        uint64_t to = slot >> 32 >> wider.shift;
        while (wider.slots[to]) to = (to + 1) & wider.mask;
        wider.slots[to] = slot;
    }
    imfast_map_free(map);
    *map = wider;
    return 0;
}
