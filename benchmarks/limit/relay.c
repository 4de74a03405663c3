/* Request → delivery and answer with no logic: a relay between pairs of N connections.
 *
 *   relay connections=1000 window=16 bytes=128 answer=32 rate=0 warmup_ms=500 ms=2000
 *
 * A message is a u32 length and `bytes`; the relay passes what it read on to the partner in one
 * send and answers the sender with `answer` bytes a message in another (answer=0: not at all).
 * The client, a child process, keeps `window` messages of each connection under way, one send a
 * message; a message is done when it is delivered and answered. With rate=R it sends R messages a
 * second instead, and prints how long after their intended times they were delivered. */
#include "loopback.h"

enum { LATENCIES_MAX = 1 << 22 };


struct peer {
    int fd;
    uint64_t sent, delivered, answered; /* of the messages this one sent */
    size_t have;                        /* bytes of a message that was cut */
    uint8_t cut[4096];
};

static uint32_t length_of(const uint8_t *at) {
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static void fill(uint8_t *at, uint32_t payload) {
    memset(at, 0x5a, 4 + payload);
    at[0] = (uint8_t)(payload >> 24), at[1] = (uint8_t)(payload >> 16);
    at[2] = (uint8_t)(payload >> 8), at[3] = (uint8_t)payload;
}

/* The server's side: fixed-size messages, so counting them is a division. */
static void relay(int listener, long count, size_t bytes, size_t answer) {
    int *fds = calloc((size_t)count, sizeof *fds), epoll = epoll_create1(0);
    size_t *cut = calloc((size_t)count, sizeof *cut);
    uint8_t *buffer = malloc(READ_BYTES), *answers = malloc(READ_BYTES);
    size_t message = bytes + 4, reply = answer + 4, replies = READ_BYTES / reply;
    for (size_t i = 0; i < replies; i++) fill(answers + i * reply, (uint32_t)answer);
    for (long i = 0; i < count; i++) watch(epoll, fds[i] = accept_one(listener), (uint32_t)i);
    for (;;) {
        struct epoll_event events[EVENTS];
        int ready = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < ready; i++) {
            uint32_t at = events[i].data.u32;
            ssize_t got = recv(fds[at], buffer, READ_BYTES, 0);
            if (got <= 0) exit(0);
            size_t whole = (cut[at] + (size_t)got) / message;
            cut[at] = (cut[at] + (size_t)got) % message;
            if (send(fds[at ^ 1], buffer, (size_t)got, MSG_NOSIGNAL) != got) exit(0);
            if (whole && answer)
                if (send(fds[at], answers, whole * reply, MSG_NOSIGNAL) < 0) exit(0);
        }
    }
}

static uint64_t finished(const struct peer *p, bool answers) {
    return answers && p->answered < p->delivered ? p->answered : p->delivered;
}

static void take(struct peer *all, long at, const uint8_t *from, size_t got, size_t bytes) {
    struct peer *p = &all[at];
    while (got) {
        size_t wanted = p->have < 4 ? 4 : 4 + length_of(p->cut);
        size_t step = wanted - p->have < got ? wanted - p->have : got;
        memcpy(p->cut + p->have, from, step);
        p->have += step, from += step, got -= step;
        if (p->have < 4 || p->have < 4 + length_of(p->cut)) continue;
        if (length_of(p->cut) == bytes) all[at ^ 1].delivered++;
        else p->answered++;
        p->have = 0;
    }
}

static int ascending(const void *left, const void *right) {
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

struct paced {
    struct peer *all;
    long count;
    size_t bytes;
    double *intended; /* of the message that each connection sent last */
    double *took;
    size_t taken;
};

/* Deliveries at `at` since the last look; at these rates a connection has one message under way. */
static void note(struct paced *run, long at, uint64_t before, double measured_from, double now) {
    double intended = run->intended[at ^ 1];
    if (run->all[at ^ 1].delivered > before && intended >= measured_from &&
        run->taken < LATENCIES_MAX)
        run->took[run->taken++] = (now - intended) * 1e6;
}

static void pace(struct paced *run, int epoll, double rate, double warmup, double length) {
    uint8_t *buffer = malloc(READ_BYTES), message[4100];
    fill(message, (uint32_t)run->bytes);
    double start = seconds_now();
    for (uint64_t sent = 0;;) {
        double now = seconds_now(), due = start + (double)sent / rate;
        if (now >= start + warmup + length) break;
        if (now >= due) {
            long at = (long)(sent++ % (uint64_t)run->count);
            run->intended[at] = due;
            if (send(run->all[at].fd, message, run->bytes + 4, 0) < 0) die("send");
            continue;
        }
        struct epoll_event events[EVENTS];
        struct timespec wait = {.tv_nsec = (long)((due - now) * 1e9)};
        int ready = epoll_pwait2(epoll, events, EVENTS, &wait, NULL);
        for (int i = 0; i < ready; i++) {
            long at = events[i].data.u32;
            ssize_t got = recv(run->all[at].fd, buffer, READ_BYTES, 0);
            if (got <= 0) die("recv");
            uint64_t before = run->all[at ^ 1].delivered;
            take(run->all, at, buffer, (size_t)got, run->bytes);
            note(run, at, before, start + warmup, seconds_now());
        }
    }
}

static void print_latencies(struct paced *run) {
    if (!run->taken) die("nothing was delivered");
    qsort(run->took, run->taken, sizeof *run->took, ascending);
    printf("{\"messages\": %zu, \"p50_us\": %.1f, \"p99_us\": %.1f, \"max_us\": %.1f}\n",
           run->taken, run->took[run->taken / 2], run->took[run->taken * 99 / 100],
           run->took[run->taken - 1]);
}

int main(int argc, char **argv) {
    long count = number(argc, argv, "connections", 1000) & ~1L;
    uint64_t window = (uint64_t)number(argc, argv, "window", 16);
    size_t bytes = (size_t)number(argc, argv, "bytes", 128);
    size_t answer = (size_t)number(argc, argv, "answer", 32);
    double warmup = (double)number(argc, argv, "warmup_ms", 500) / 1e3;
    double length = (double)number(argc, argv, "ms", 2000) / 1e3;
    if (bytes > 4000 || answer == bytes) return fprintf(stderr, "bytes, answer: invalid\n"), 2;
    int port, listener = listen_loopback(&port), epoll = epoll_create1(0);
    pid_t server = fork();
    if (!server) relay(listener, count, bytes, answer);

    struct peer *all = calloc((size_t)count, sizeof *all);
    uint8_t *buffer = malloc(READ_BYTES), message[4100];
    if (!all || !buffer) die("memory");
    fill(message, (uint32_t)bytes);
    for (long i = 0; i < count; i++) {
        all[i].fd = connect_loopback(port);
        watch(epoll, all[i].fd, (uint32_t)i);
    }
    double rate = (double)number(argc, argv, "rate", 0);
    if (rate > 0) {
        struct paced run = {.all = all, .count = count, .bytes = bytes};
        run.intended = calloc((size_t)count, sizeof *run.intended);
        run.took = malloc(LATENCIES_MAX * sizeof *run.took);
        if (!run.intended || !run.took) die("memory");
        pace(&run, epoll, rate, warmup, length);
        print_latencies(&run);
        kill(server, SIGKILL);
        return 0;
    }
    for (long i = 0; i < count; i++)
        for (; all[i].sent < window; all[i].sent++)
            if (send(all[i].fd, message, bytes + 4, 0) < 0) die("send");
    double began = seconds_now() + warmup, now = 0, cpu_began = 0;
    uint64_t done = 0;
    for (bool measured = false;;) {
        struct epoll_event events[EVENTS];
        int ready = epoll_wait(epoll, events, EVENTS, 1000);
        for (int i = 0; i < ready; i++) {
            long at = events[i].data.u32;
            ssize_t got = recv(all[at].fd, buffer, READ_BYTES, 0);
            if (got <= 0) die("recv");
            take(all, at, buffer, (size_t)got, bytes);
            for (long one = at & ~1L; one <= (at | 1); one++) {
                struct peer *p = &all[one];
                while (p->sent - finished(p, answer) < window) {
                    if (send(p->fd, message, bytes + 4, 0) < 0) die("send");
                    p->sent++, done++;
                }
            }
        }
        now = seconds_now();
        if (!measured && now >= began)
            measured = true, began = now, cpu_began = cpu_seconds(), done = 0;
        else if (measured && now >= began + length)
            break;
    }
    double client_cpu = cpu_seconds() - cpu_began;
    kill(server, SIGKILL);
    struct rusage usage;
    wait4(server, NULL, 0, &usage);
    double server_cpu = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                        (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    printf("{\"messages\": %lu, \"seconds\": %f, \"client_cpu_seconds\": %f, "
           "\"server_cpu_seconds_with_warmup\": %f}\n",
           done, now - began, client_cpu, server_cpu);
    return 0;
}
