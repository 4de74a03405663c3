/* A commit with no logic: append `bytes`, fdatasync, again and again.
 *
 *   sync_write path=FILE bytes=4096 ms=2000 gap_us=0
 *
 * `gap_us` waits between commits. Prints the distribution of write + fdatasync in microseconds. */
#include "loopback.h"

static int ascending(const void *left, const void *right) {
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

int main(int argc, char **argv) {
    enum { COUNT_MAX = 1 << 20 };
    const char *path = text(argc, argv, "path", NULL);
    size_t bytes = (size_t)number(argc, argv, "bytes", 4096), count = 0;
    double length = (double)number(argc, argv, "ms", 2000) / 1e3;
    long gap = number(argc, argv, "gap_us", 0);
    if (!path) return fprintf(stderr, "path=FILE is missing\n"), 2;
    int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_APPEND, 0600);
    double *took = malloc(COUNT_MAX * sizeof *took);
    uint8_t *buffer = malloc(bytes);
    if (fd < 0 || !took || !buffer) die(path);
    memset(buffer, 0x5a, bytes);
    double began = seconds_now(), end = began + length;
    while (count < COUNT_MAX) {
        double start = seconds_now();
        if (start >= end) break;
        if (write(fd, buffer, bytes) != (ssize_t)bytes || fdatasync(fd)) die("commit");
        took[count++] = (seconds_now() - start) * 1e6;
        if (gap) usleep((useconds_t)gap);
    }
    double elapsed = seconds_now() - began;
    unlink(path);
    if (!count) return 1;
    qsort(took, count, sizeof *took, ascending);
    printf("{\"commits\": %zu, \"seconds\": %f, \"cpu_seconds\": %f, \"p50_us\": %.1f, "
           "\"p99_us\": %.1f, \"max_us\": %.1f}\n",
           count, elapsed, cpu_seconds(), took[count / 2], took[count * 99 / 100], took[count - 1]);
    return 0;
}
