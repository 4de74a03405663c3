/* Accept + upgrade with no logic: read a request's head, answer a constant 101.
 *
 *   accept connections=4000
 *
 * The client is a child process that connects one after the other. Prints the rate and the
 * server's CPU for each connection. */
#include "loopback.h"

static const char REQUEST[] =
    "GET /v1/ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
static const char ANSWER[] =
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

static void client(int port, long connections) {
    char answer[sizeof ANSWER];
    for (long i = 0; i < connections; i++) {
        int fd = connect_loopback(port);
        if (send(fd, REQUEST, sizeof REQUEST - 1, 0) < 0) die("send");
        if (recv(fd, answer, sizeof ANSWER - 1, MSG_WAITALL) != sizeof ANSWER - 1) die("recv");
    } /* all stay open until the process ends */
    exit(0);
}

int main(int argc, char **argv) {
    long connections = number(argc, argv, "connections", 4000);
    int port, listener = listen_loopback(&port);
    pid_t child = fork();
    if (!child) client(port, connections);
    char head[4096];
    double began = seconds_now(), cpu_began = cpu_seconds();
    for (long i = 0; i < connections; i++) {
        int fd = accept_one(listener);
        if (recv(fd, head, sizeof head, 0) <= 0) die("recv");
        if (send(fd, ANSWER, sizeof ANSWER - 1, 0) < 0) die("send");
    }
    double seconds = seconds_now() - began, cpu = cpu_seconds() - cpu_began;
    int status;
    waitpid(child, &status, 0);
    printf("{\"connections\": %ld, \"seconds\": %f, \"cpu_seconds\": %f}\n", connections, seconds, cpu);
    return status != 0;
}
