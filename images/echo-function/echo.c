/* A function for tests and measurements: starts in a millisecond, needs no device, says where it runs.
 *
 *   GET /health                          200 "ok"
 *   ANY /echo                            200 with the request's own body
 *   ANY /...                             200 with facts as JSON: pod, node, device, process start, requests served, body bytes
 *   ?sleep_ms=N  ?spin_ms=N              before the answer: sleep, or keep a core busy
 *   ?status=N    ?bytes=N    ?exit=N     answer with this status, with N bytes of body, or end the process at once
 * Environment: PORT (8080), START_DELAY_MS (sleeps before it listens, as a model that loads).
 * HTTP/1.1 with keep-alive, Content-Length or chunked bodies up to 16 MiB, one thread per connection.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { HEAD_MAX = 32768, BODY_MAX = 16 << 20 };

typedef struct {
    int fd;
    size_t from, to;
    char buffer[HEAD_MAX];
} Reader;

static atomic_long served, in_flight;
static long long started_unix_ms, listening_after_ms;

static long long clock_ms(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

static void sleep_ms(long ms) {
    struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};
    if (ms > 0) nanosleep(&pause, 0);
}

static void end(int number) {
    (void)number;
    _exit(0);
}

/* A line without its end of line, in place; null at the end of the connection or when it is too long. */
static char *line(Reader *in) {
    for (;;) {
        char *end_of_line = memchr(in->buffer + in->from, '\n', in->to - in->from);
        ssize_t got;
        if (end_of_line) {
            char *begin = in->buffer + in->from;
            in->from = end_of_line + 1 - in->buffer;
            *end_of_line = 0;
            if (end_of_line > begin && end_of_line[-1] == '\r') end_of_line[-1] = 0;
            return begin;
        }
        if (in->from > 0) {
            memmove(in->buffer, in->buffer + in->from, in->to - in->from);
            in->to -= in->from;
            in->from = 0;
        }
        if (in->to == sizeof in->buffer) return 0;
        got = recv(in->fd, in->buffer + in->to, sizeof in->buffer - in->to, 0);
        if (got <= 0) return 0;
        in->to += got;
    }
}

static int take(Reader *in, char *target, size_t count) {
    while (count > 0) {
        size_t have = in->to - in->from < count ? in->to - in->from : count;
        if (have > 0) {
            memcpy(target, in->buffer + in->from, have);
            in->from += have;
        } else {
            ssize_t got = recv(in->fd, target, count, 0);
            if (got <= 0) return 0;
            have = got;
        }
        target += have;
        count -= have;
    }
    return 1;
}

/* Reads a chunked body; its length, or -1. */
static long take_chunks(Reader *in, char **body) {
    long size = 0;
    for (;;) {
        char *text = line(in), *rest, *larger;
        long chunk;
        if (!text) return -1;
        chunk = strtol(text, &rest, 16);
        if (rest == text || chunk < 0 || size + chunk > BODY_MAX) return -1;
        if (chunk == 0) break;
        larger = realloc(*body, size + chunk);
        if (!larger) return -1;
        *body = larger;
        if (!take(in, *body + size, chunk) || !line(in)) return -1;
        size += chunk;
    }
    for (;;) { /* trailers */
        char *text = line(in);
        if (!text) return -1;
        if (!*text) return size;
    }
}

static int put(int fd, const char *content, size_t count) {
    while (count > 0) {
        ssize_t sent = send(fd, content, count, MSG_NOSIGNAL);
        if (sent <= 0) return 0;
        content += sent;
        count -= sent;
    }
    return 1;
}

static long query(const char *path, const char *name, long otherwise) {
    const char *at = strchr(path, '?');
    size_t length = strlen(name);
    while (at) {
        at++;
        if (!strncmp(at, name, length) && at[length] == '=') return strtol(at + length + 1, 0, 10);
        at = strchr(at, '&');
    }
    return otherwise;
}

static const char *env(const char *name) {
    const char *value = getenv(name);
    return value ? value : "";
}

/* Values come from the pod's own environment; quotes and control characters in them are left out. */
static void add_text(char *target, size_t size, const char *name, const char *value) {
    size_t used = strlen(target);
    used += snprintf(target + used, size - used, "\"%s\": \"", name);
    for (; *value && used + 8 < size; value++)
        if ((unsigned char)*value >= ' ' && *value != '"' && *value != '\\') target[used++] = *value;
    snprintf(target + used, size - used, "\", ");
}

static void facts(char *target, size_t size, const char *method, long body, long long received_ms) {
    size_t used;
    strcpy(target, "{");
    add_text(target, size, "pod", *env("STOKER_POD_NAME") ? env("STOKER_POD_NAME") : env("HOSTNAME"));
    add_text(target, size, "node", env("STOKER_NODE_NAME"));
    add_text(target, size, "visibleDevices", env("NVIDIA_VISIBLE_DEVICES"));
    add_text(target, size, "method", method);
    used = strlen(target);
    snprintf(target + used, size - used,
             "\"bodyBytes\": %ld, \"served\": %ld, \"inFlight\": %ld, \"startedUnixMs\": %lld, "
             "\"listeningAfterMs\": %lld, \"receivedUnixMs\": %lld}\n",
             body, (long)served, (long)in_flight, started_unix_ms, listening_after_ms, received_ms);
}

static int answer(int fd, int status, const char *type, const char *body, size_t size, int keep, int head_only) {
    char head[256];
    int length = snprintf(head, sizeof head, "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n%s\r\n", status,
                          status < 400 ? "OK" : "Error", type, size, keep ? "" : "Connection: close\r\n");
    return put(fd, head, length) && (head_only || put(fd, body, size));
}

static int respond(int fd, const char *method, const char *path, const char *body, long size, int keep) {
    char text[4096];
    long long received = clock_ms(CLOCK_REALTIME), until = clock_ms(CLOCK_MONOTONIC) + query(path, "spin_ms", 0);
    long bytes = query(path, "bytes", -1), code = query(path, "exit", -1);
    int status = query(path, "status", 200), head_only = !strcmp(method, "HEAD");
    if (!strncmp(path, "/health", 7)) return answer(fd, 200, "text/plain", "ok\n", 3, keep, head_only);
    if (code >= 0) _exit((int)code);
    served++;
    sleep_ms(query(path, "sleep_ms", 0));
    while (clock_ms(CLOCK_MONOTONIC) < until) {
    }
    if (status < 200 || status > 599) status = 400;
    if (bytes >= 0 && bytes <= BODY_MAX) {
        char *filler = malloc(bytes + 1);
        int done;
        if (!filler) return 0;
        memset(filler, 'x', bytes);
        done = answer(fd, status, "text/plain", filler, bytes, keep, head_only);
        free(filler);
        return done;
    }
    if (!strncmp(path, "/echo", 5)) return answer(fd, status, "application/octet-stream", body ? body : "", size, keep, head_only);
    facts(text, sizeof text, method, size, received);
    return answer(fd, status, "application/json", text, strlen(text), keep, head_only);
}

/* One request; 0 ends the connection. */
static int serve(Reader *in) {
    char *text = line(in), *body = 0, method[16], path[2048];
    long size = 0;
    int keep = 1, chunked = 0, minor = 1, done;
    if (!text || sscanf(text, "%15s %2047s HTTP/1.%1d", method, path, &minor) != 3) return 0;
    keep = minor == 1;
    while ((text = line(in)) && *text) {
        if (!strncasecmp(text, "content-length:", 15)) size = strtol(text + 15, 0, 10);
        else if (!strncasecmp(text, "transfer-encoding:", 18)) chunked = strstr(text, "chunked") != 0;
        else if (!strncasecmp(text, "connection:", 11)) keep = strcasestr(text, "close") ? 0 : keep;
        else if (!strncasecmp(text, "expect:", 7) && !put(in->fd, "HTTP/1.1 100 Continue\r\n\r\n", 25)) return 0;
    }
    if (!text) return 0;
    if (chunked) {
        size = take_chunks(in, &body);
    } else if (size > 0 && size <= BODY_MAX) {
        body = malloc(size);
        if (!body || !take(in, body, size)) size = -1;
    }
    if (size < 0 || size > BODY_MAX) {
        free(body);
        answer(in->fd, 413, "text/plain", "", 0, 0, 0);
        return 0;
    }
    in_flight++;
    done = respond(in->fd, method, path, body, size, keep);
    in_flight--;
    free(body);
    return done && keep;
}

static void *connection(void *argument) {
    Reader *in = argument;
    while (serve(in)) {
    }
    close(in->fd);
    free(in);
    return 0;
}

int main(void) {
    struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_addr = in6addr_any};
    struct sigaction ending = {.sa_handler = end};
    long long began = clock_ms(CLOCK_MONOTONIC);
    int listener, one = 1, zero = 0, port = *env("PORT") ? atoi(env("PORT")) : 8080;
    pthread_attr_t small;
    started_unix_ms = clock_ms(CLOCK_REALTIME);
    sigaction(SIGTERM, &ending, 0);
    sigaction(SIGINT, &ending, 0);
    sleep_ms(*env("START_DELAY_MS") ? atol(env("START_DELAY_MS")) : 0);
    listener = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener >= 0) setsockopt(listener, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof zero);
    address.sin6_port = htons(port);
    struct sockaddr_in plain = {.sin_family = AF_INET, .sin_port = htons(port)};
    const struct sockaddr *where = (const struct sockaddr *)&address;
    socklen_t where_size = sizeof address;
    if (listener < 0) { /* a kernel without IPv6 */
        listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        where = (const struct sockaddr *)&plain;
        where_size = sizeof plain;
    }
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, where, where_size) != 0 || listen(listener, 1024) != 0) {
        fprintf(stderr, "echo-function: cannot listen on port %d; set PORT to another\n", port);
        return 2;
    }
    listening_after_ms = clock_ms(CLOCK_MONOTONIC) - began;
    pthread_attr_init(&small);
    pthread_attr_setdetachstate(&small, PTHREAD_CREATE_DETACHED);
    for (;;) {
        pthread_t thread;
        Reader *in = malloc(sizeof *in);
        int fd = accept4(listener, 0, 0, SOCK_CLOEXEC);
        if (!in || fd < 0) {
            free(in);
            if (fd >= 0) close(fd);
            sleep_ms(1);
            continue;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        in->fd = fd;
        in->from = in->to = 0;
        if (pthread_create(&thread, &small, connection, in) != 0) {
            close(fd);
            free(in);
        }
    }
}
