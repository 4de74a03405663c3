/* The bare counting sink: reads coalesced WebSocket frames from N sockets on one core.
 *
 *   sink port=PORT connections=1000 warmup_ms=500 ms=2000
 *
 * Connects, then counts whole frames; prints frames, bytes, reads and CPU of the measured time. */
#include "loopback.h"

struct connection {
    int fd;
    uint32_t head_bytes; /* of a header that was cut */
    uint64_t left;       /* bytes of the current frame still to come */
    uint8_t head[4];
};

static uint64_t walk(struct connection *c, const uint8_t *at, size_t bytes) {
    uint64_t frames = 0;
    while (bytes) {
        if (c->left) {
            size_t step = bytes < c->left ? bytes : c->left;
            c->left -= step, at += step, bytes -= step;
            frames += !c->left;
            continue;
        }
        if (!c->head_bytes)
            while (bytes >= 4) { /* the common case: whole frames */
                size_t length = frame_bytes(at);
                if (length > bytes) break;
                at += length, bytes -= length, frames++;
            }
        if (!bytes) break;
        c->head[c->head_bytes++] = *at++, bytes--;
        if (c->head_bytes == 4) c->left = frame_bytes(c->head) - 4, c->head_bytes = 0;
    }
    return frames;
}

int main(int argc, char **argv) {
    long count = number(argc, argv, "connections", 1000);
    int port = (int)number(argc, argv, "port", 0), epoll = epoll_create1(0);
    double warmup = (double)number(argc, argv, "warmup_ms", 500) / 1e3;
    double length = (double)number(argc, argv, "ms", 2000) / 1e3;
    struct connection *all = calloc((size_t)count, sizeof *all);
    uint8_t *buffer = malloc(READ_BYTES);
    if (!all || !buffer) die("memory");
    for (long i = 0; i < count; i++) {
        all[i].fd = connect_loopback(port);
        watch(epoll, all[i].fd, (uint32_t)i);
    }
    uint64_t frames = 0, bytes = 0, reads = 0;
    double began = seconds_now() + warmup, now = 0, cpu_began = 0;
    for (bool measured = false;;) {
        struct epoll_event events[EVENTS];
        int ready = epoll_wait(epoll, events, EVENTS, 1000);
        for (int i = 0; i < ready; i++) {
            struct connection *c = &all[events[i].data.u32];
            ssize_t got = recv(c->fd, buffer, READ_BYTES, 0);
            if (got <= 0) die("recv");
            frames += walk(c, buffer, (size_t)got), bytes += (uint64_t)got, reads++;
        }
        now = seconds_now();
        if (!measured && now >= began) {
            measured = true, began = now, cpu_began = cpu_seconds();
            frames = bytes = reads = 0;
        } else if (measured && now >= began + length) {
            break;
        }
    }
    printf("{\"frames\": %lu, \"bytes\": %lu, \"reads\": %lu, \"seconds\": %f, \"cpu_seconds\": %f}\n",
           frames, bytes, reads, now - began, cpu_seconds() - cpu_began);
    return 0;
}
