/* Fan-out with no logic: pre-framed WebSocket frames to N sockets, `frames` of them in each send().
 *
 *   fan_out connections=1000 frames=16 bytes=128 rate=0
 *
 * Prints its port, accepts that many connections, and sends round after round until the other end
 * closes. Then it prints frames sent and CPU seconds as JSON. `frames` may be a fraction: 1.25 is
 * one frame in three rounds and two in the fourth. With rate=R it sends R rounds a second. Frames of
 * 16 bytes and more hold what a server's do: a length and a `ServerFrame` of imfast.proto with a
 * `message` of zeros, so that a client that looks into them has something to read. */
#include "loopback.h"

static void wait_until(double at) {
    double left = at - seconds_now();
    if (left <= 0) return;
    struct timespec t = {.tv_sec = (time_t)left, .tv_nsec = (long)((left - (double)(time_t)left) * 1e9)};
    nanosleep(&t, NULL);
}

/* Protobuf's variable-length number; returns the byte behind it. */
static uint8_t *varint(uint8_t *at, size_t value) {
    for (; value > 127; value >>= 7) *at++ = (uint8_t)(value | 128);
    *at++ = (uint8_t)value;
    return at;
}

/* What is left of `room` bytes behind the number that says so. */
static size_t behind_length(size_t room) { return room - (room > 128 ? room > 16386 ? 3 : 2 : 1); }

static void write_payload(uint8_t *at, size_t bytes) {
    if (bytes < 12) return;
    size_t frame = behind_length(bytes);
    at = varint(at, frame);
    *at++ = 0x82, *at++ = 0x01; /* field 16, length-delimited */
    varint(at, behind_length(frame - 2));
}

int main(int argc, char **argv) {
    long connections = number(argc, argv, "connections", 1000);
    double frames = atof(text(argc, argv, "frames", "16")), rate = atof(text(argc, argv, "rate", "0"));
    size_t bytes = (size_t)number(argc, argv, "bytes", 128);
    if (bytes < 4 || bytes > 65535) return fprintf(stderr, "bytes: 4 to 65535\n"), 2;
    if (frames < 1) return fprintf(stderr, "frames: at least 1\n"), 2;
    long frames_max = (long)frames + 1;
    uint8_t *buffer = calloc((size_t)frames_max, bytes);
    int *sockets = calloc((size_t)connections, sizeof *sockets);
    if (!buffer || !sockets) die("memory");
    for (long i = 0; i < frames_max; i++) {
        uint8_t *frame = buffer + (size_t)i * bytes;
        frame[0] = 0x82; /* one binary message */
        if (bytes - 2 < 126) {
            frame[1] = (uint8_t)(bytes - 2);
        } else {
            frame[1] = 126;
            frame[2] = (uint8_t)((bytes - 4) >> 8);
            frame[3] = (uint8_t)(bytes - 4);
        }
        size_t header = bytes - 2 < 126 ? 2 : 4;
        write_payload(frame + header, bytes - header);
    }
    int port, listener = listen_loopback(&port);
    printf("%d\n", port);
    fflush(stdout);
    for (long i = 0; i < connections; i++) sockets[i] = accept_one(listener);

    double began = seconds_now(), cpu_began = cpu_seconds();
    uint64_t sent = 0, rounds = 0;
    double owed = 0;
    for (bool open = true; open; rounds++) {
        owed += frames;
        uint64_t now = (uint64_t)owed;
        owed -= (double)now;
        if (rate > 0) wait_until(began + (double)rounds / rate);
        for (long i = 0; i < connections; i++) {
            /* Blocking: a full socket stops the round, as the sink drains them all alike. */
            if (send(sockets[i], buffer, now * bytes, MSG_NOSIGNAL) != (ssize_t)(now * bytes)) {
                open = false;
                break;
            }
            sent += now;
        }
    }
    printf("{\"frames\": %lu, \"seconds\": %f, \"cpu_seconds\": %f}\n", sent,
           seconds_now() - began, cpu_seconds() - cpu_began);
    return 0;
}
