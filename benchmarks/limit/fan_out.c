/* Fan-out with no logic: pre-framed WebSocket frames to N sockets, `frames` of them in each send().
 *
 *   fan_out connections=1000 frames=16 bytes=128
 *
 * Prints its port, accepts that many connections, and sends round after round until the other end
 * closes. Then it prints frames sent and CPU seconds as JSON. */
#include "loopback.h"

int main(int argc, char **argv) {
    long connections = number(argc, argv, "connections", 1000);
    long frames = number(argc, argv, "frames", 16);
    size_t bytes = (size_t)number(argc, argv, "bytes", 128);
    if (bytes < 4 || bytes > 65535) return fprintf(stderr, "bytes: 4 to 65535\n"), 2;
    uint8_t *buffer = calloc((size_t)frames, bytes);
    int *sockets = calloc((size_t)connections, sizeof *sockets);
    if (!buffer || !sockets) die("memory");
    for (long i = 0; i < frames; i++) {
        uint8_t *frame = buffer + (size_t)i * bytes;
        frame[0] = 0x82; /* one binary message */
        if (bytes - 2 < 126) {
            frame[1] = (uint8_t)(bytes - 2);
        } else {
            frame[1] = 126;
            frame[2] = (uint8_t)((bytes - 4) >> 8);
            frame[3] = (uint8_t)(bytes - 4);
        }
    }
    int port, listener = listen_loopback(&port);
    printf("%d\n", port);
    fflush(stdout);
    for (long i = 0; i < connections; i++) sockets[i] = accept_one(listener);

    double began = seconds_now(), cpu_began = cpu_seconds();
    uint64_t sent = 0;
    size_t size = (size_t)frames * bytes;
    for (bool open = true; open;)
        for (long i = 0; i < connections; i++) {
            /* Blocking: a full socket stops the round, as the sink drains them all alike. */
            if (send(sockets[i], buffer, size, MSG_NOSIGNAL) != (ssize_t)size) {
                open = false;
                break;
            }
            sent += (uint64_t)frames;
        }
    printf("{\"frames\": %lu, \"seconds\": %f, \"cpu_seconds\": %f}\n", sent,
           seconds_now() - began, cpu_seconds() - cpu_began);
    return 0;
}
