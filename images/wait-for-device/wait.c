/* Waits until the node's agent has granted this pod its shared device, then ends with 0: the pod's first container.
 *
 * Asks GET /v1/grant?pod=UID of STOKER_GRANT_HOST:STOKER_GRANT_PORT until the answer is 200. The agent holds each question for up
 * to ten seconds, so asking costs nothing; an agent that is away, restarts or answers anything else is asked again, for ever:
 * the operator decides when a start has taken too long. Says why it waits at the first refusal and every 30 s.
 */
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { FIRST_PAUSE_MS = 20, LONGEST_PAUSE_MS = 1000, ANSWER_TIMEOUT_S = 15, SAY_EVERY_MS = 30000 };

static void end(int number) { _exit(128 + number); }

static long long now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

static const char *need(const char *name) {
    const char *value = getenv(name);
    if (value && *value) return value;
    fprintf(stderr, "wait-for-device: the environment variable %s is missing; Stoker's operator sets it in every pod that it makes\n", name);
    exit(2);
}

static int dial(const char *host, const char *port) {
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *found, *each;
    struct timeval limit = {.tv_sec = ANSWER_TIMEOUT_S};
    int fd = -1;
    if (getaddrinfo(host, port, &hints, &found) != 0) return -1;
    for (each = found; each; each = each->ai_next) {
        fd = socket(each->ai_family, each->ai_socktype | SOCK_CLOEXEC, each->ai_protocol);
        if (fd < 0) continue;
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
        if (connect(fd, each->ai_addr, each->ai_addrlen) == 0) break;
        close(fd);
        fd = -1;
    }
    freeaddrinfo(found);
    return fd;
}

/* The status of the answer; 0 when there was none: not reachable, cut off, too slow, or not HTTP. */
static int ask(const char *host, const char *port, const char *request, size_t size) {
    char answer[64];
    size_t have = 0;
    int status = 0, fd = dial(host, port);
    if (fd < 0) return 0;
    if (send(fd, request, size, MSG_NOSIGNAL) == (ssize_t)size) {
        while (have < 12) {
            ssize_t got = recv(fd, answer + have, sizeof answer - 1 - have, 0);
            if (got <= 0) break;
            have += got;
        }
        answer[have] = 0;
        if (sscanf(answer, "HTTP/1.%*1[01] %3d", &status) != 1) status = 0;
    }
    close(fd);
    return status;
}

int main(void) {
    const char *host = need("STOKER_GRANT_HOST"), *port = need("STOKER_GRANT_PORT"), *uid = need("STOKER_POD_UID");
    char request[1024];
    long long said = -SAY_EVERY_MS - 1, began = now_ms(), asked;
    int pause_ms = FIRST_PAUSE_MS, size;
    struct sigaction ending = {.sa_handler = end}; /* the first process of a container ignores what it does not handle */
    sigaction(SIGTERM, &ending, 0);
    sigaction(SIGINT, &ending, 0);
    size = snprintf(request, sizeof request, "GET /v1/grant?pod=%s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", uid, host);
    if (size < 0 || (size_t)size >= sizeof request) {
        fprintf(stderr, "wait-for-device: STOKER_POD_UID or STOKER_GRANT_HOST is too long\n");
        return 2;
    }
    for (;;) {
        int status;
        asked = now_ms();
        status = ask(host, port, request, size);
        if (status == 200) return 0;
        if (now_ms() - said > SAY_EVERY_MS) {
            said = now_ms();
            if (status == 204) fprintf(stderr, "wait-for-device: the agent has not granted the device yet (%lld s)\n", (said - began) / 1000);
            else if (status) fprintf(stderr, "wait-for-device: the agent at %s:%s answers %d; asking again\n", host, port, status);
            else fprintf(stderr, "wait-for-device: no answer from the agent at %s:%s; asking again\n", host, port);
        }
        if (status == 204 && now_ms() - asked >= LONGEST_PAUSE_MS) {
            pause_ms = FIRST_PAUSE_MS; /* it was held, as it should be: ask again at once */
        } else {
            struct timespec pause = {.tv_sec = pause_ms / 1000, .tv_nsec = pause_ms % 1000 * 1000000L};
            nanosleep(&pause, 0);
            pause_ms = pause_ms * 2 > LONGEST_PAUSE_MS ? LONGEST_PAUSE_MS : pause_ms * 2;
        }
    }
}
