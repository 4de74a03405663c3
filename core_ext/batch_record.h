// One command of a batch as the Rust fold and the sequencer share it: one cache line, and a batch is
// an array of them in one writable buffer. The same layout stands in rust/partition.
#pragma once
#include <stddef.h>
#include <stdint.h>

enum imfast_kind {
    IMFAST_MESSAGE = 0,     // numbered content
    IMFAST_EVENT = 1,       // numbered, not content
    IMFAST_UNNUMBERED = 2,  // takes a position, no number and no id (cursors)
};

enum imfast_verdict {
    IMFAST_ALLOWED = 0,   // in: Rust found the sender entitled
    IMFAST_FORBIDDEN = 1, // in: Rust refused it; a retry of an accepted command still gets its result
    IMFAST_NEW = 2,
    IMFAST_DUPLICATE = 3,
    IMFAST_CONFLICT = 4,  // the key was used with another payload
    IMFAST_REFUSED = 5,
    IMFAST_ACCEPTED_UNNUMBERED = 6,
};

typedef struct {
    uint64_t key_high;     // 128-bit hash of (tenant, conversation, sender, key); both 0: no key
    uint64_t key_low;
    uint64_t payload;      // hash of the content
    uint32_t conversation; // dense index of the conversation in its partition
    uint8_t kind;          // imfast_kind
    uint8_t verdict;       // imfast_verdict
    uint16_t reserved;
    uint64_t seq;          // in: when the key says that it was made, else 0
                           // out: the number, or the first result's
    uint64_t message_id;   // in: id given by a replayed command, else 0; out: as seq
    uint64_t position;     // out: as seq
    uint64_t time_ms;      // in: the batch's wall time; out: as seq
} imfast_record;

static_assert(sizeof(imfast_record) == 64, "a record is one cache line");
static_assert(offsetof(imfast_record, conversation) == 24, "layout shared with Rust");
static_assert(offsetof(imfast_record, seq) == 32, "layout shared with Rust");
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "records are little-endian");
