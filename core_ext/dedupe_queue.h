// First results of the commands with a key, oldest first, in chunks: growing copies no result, so a
// large window costs no pause, and memory follows the number of results.
#pragma once
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define IMFAST_CHUNK_BITS 12
#define IMFAST_CHUNK_SIZE (1u << IMFAST_CHUNK_BITS)

typedef struct {
    uint64_t key_high, key_low, payload;
    uint64_t seq, message_id, position, time_ms;
    uint64_t made_ms; // when the key says that it was made; 0 where it does not say
} imfast_result; // one cache line

// A result is named by its number, which counts up from 0 and wraps at 2^32 (more are never alive).
typedef struct {
    imfast_result **chunks;   // ring of chunks, by (number >> CHUNK_BITS) & chunk_mask; NULL: none
    uint32_t chunk_mask;
    uint32_t first;           // number of the oldest result
    uint32_t count;           // results alive
    uint32_t allocated;       // chunks that exist, the spare one included
    imfast_result *spare;     // the last emptied chunk, kept so that a steady window allocates nothing
} imfast_queue;

static inline int imfast_queue_init(imfast_queue *queue) {
    memset(queue, 0, sizeof *queue);
    queue->chunk_mask = 15;
    queue->chunks = (imfast_result **)calloc(16, sizeof *queue->chunks);
    return queue->chunks ? 0 : -1;
}

static inline void imfast_queue_free(imfast_queue *queue) {
    if (!queue->chunks) return;
    for (uint32_t i = 0; i <= queue->chunk_mask; i++) free(queue->chunks[i]);
    free(queue->chunks);
    free(queue->spare);
    memset(queue, 0, sizeof *queue);
}

static inline imfast_result *imfast_queue_at(const imfast_queue *queue, uint32_t number) {
    imfast_result *chunk = queue->chunks[number >> IMFAST_CHUNK_BITS & queue->chunk_mask];
    return chunk + (number & (IMFAST_CHUNK_SIZE - 1));
}

// Chunk number of `number` counted from the chunk of the oldest result (correct over the wrap at 2^32).
static inline uint32_t imfast_queue_chunk(const imfast_queue *queue, uint32_t number) {
    uint32_t base = queue->first & ~(IMFAST_CHUNK_SIZE - 1);
    return (number - base) >> IMFAST_CHUNK_BITS;
}

// Doubles the ring of chunks until it spans `spanned` chunks; -1 when memory is short.
static inline int imfast_queue_widen(imfast_queue *queue, uint32_t spanned) {
    uint64_t wanted = (uint64_t)queue->chunk_mask + 1;
    while (wanted < spanned) wanted *= 2;
    if (wanted == (uint64_t)queue->chunk_mask + 1) return 0;
    imfast_result **chunks = (imfast_result **)calloc(wanted, sizeof *chunks);
    if (!chunks) return -1;
    uint32_t base = queue->first >> IMFAST_CHUNK_BITS;
    uint32_t number_mask = UINT32_MAX >> IMFAST_CHUNK_BITS;
    for (uint32_t i = 0; i <= queue->chunk_mask; i++) {
        uint32_t chunk = (base + i) & number_mask;
        chunks[chunk & (wanted - 1)] = queue->chunks[chunk & queue->chunk_mask];
    }
    free(queue->chunks);
    queue->chunks = chunks;
    queue->chunk_mask = (uint32_t)(wanted - 1);
    return 0;
}

// Makes room for `more` results, so that as many pushes cannot fail; -1 when memory is short.
static inline int imfast_queue_reserve(imfast_queue *queue, uint32_t more) {
    if (more == 0) return 0;
    uint32_t last = queue->first + queue->count + more - 1;
    uint32_t spanned = imfast_queue_chunk(queue, last) + 1;
    if (imfast_queue_widen(queue, spanned)) return -1;
    uint32_t base = queue->first >> IMFAST_CHUNK_BITS;
    for (uint32_t i = imfast_queue_chunk(queue, queue->first + queue->count); i < spanned; i++) {
        imfast_result **chunk = &queue->chunks[(base + i) & queue->chunk_mask];
        if (*chunk) continue;
        if (queue->spare) {
            *chunk = queue->spare;
            queue->spare = NULL;
            continue;
        }
        *chunk = (imfast_result *)malloc(IMFAST_CHUNK_SIZE * sizeof **chunk);
        if (!*chunk) return -1;
        queue->allocated++;
    }
    return 0;
}

// Appends a result (room was reserved); returns it, its number is first + count - 1.
static inline imfast_result *imfast_queue_push(imfast_queue *queue) {
    return imfast_queue_at(queue, queue->first + queue->count++);
}

static inline void imfast_queue_pop_newest(imfast_queue *queue) { queue->count--; }

static inline void imfast_queue_pop_oldest(imfast_queue *queue) {
    uint32_t number = queue->first++;
    queue->count--;
    if ((queue->first & (IMFAST_CHUNK_SIZE - 1)) != 0) return;
    imfast_result **chunk = &queue->chunks[number >> IMFAST_CHUNK_BITS & queue->chunk_mask];
    if (queue->spare) {
        free(*chunk);
        queue->allocated--;
    } else {
        queue->spare = *chunk;
    }
    *chunk = NULL;
}

static inline uint64_t imfast_queue_bytes(const imfast_queue *queue) {
    return (uint64_t)queue->allocated * IMFAST_CHUNK_SIZE * sizeof(imfast_result) +
           ((uint64_t)queue->chunk_mask + 1) * sizeof *queue->chunks;
}
