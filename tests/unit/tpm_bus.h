/*
 * For tests: somebody on the bus between us and a software TPM, who answers in its place (busy,
 * locked), listens, and changes commands. A process of its own; told what to do through memory that
 * both share.
 */
#ifndef TESTS_TPM_BUS_H
#define TESTS_TPM_BUS_H

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "tests/unit/software_tpm.h"

enum { BUS_HEARD_MAX = 1 << 20, BUS_MESSAGE_MAX = 4096 + 10 };

/* What the bus does, and what it has seen; zero is a plain wire. */
struct bus_orders {
    uint32_t busy_code;                  /* answered instead of the TPM ... */
    unsigned busy_every;                 /* ... to every n-th command (0: never) ... */
    unsigned busy_times;                 /* ... so often in a row; UINT32_MAX: for ever */
    uint32_t spoil_command;              /* whose last byte is changed */
    unsigned slow_us;                    /* each command takes so much longer */
    unsigned in_flight, most_in_flight;  /* commands of all connections that wait for an answer */
    unsigned n_commands, n_busy, n_left; /* left of a row */
    size_t heard_len;
    uint8_t heard[BUS_HEARD_MAX]; /* commands and answers, in order */
};

struct tpm_bus {
    struct bus_orders *orders;
    pid_t pid;
    char path[96], tcti[128];
};

static inline uint32_t bus_u32(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static inline bool bus_read(int fd, uint8_t *out, size_t len)
{
    while (len > 0) {
        ssize_t n = read(fd, out, len);
        if (n <= 0)
            return false;
        out += n;
        len -= (size_t)n;
    }
    return true;
}

static inline bool bus_write(int fd, const uint8_t *data, size_t len)
{
    return write(fd, data, len) == (ssize_t)len;
}

/* A command or an answer: both have tag, size and code in front. 0 at the end. */
static inline size_t bus_message(int fd, uint8_t *out)
{
    if (!bus_read(fd, out, 10))
        return 0;
    uint32_t size = bus_u32(out + 2);
    if (size < 10 || size > BUS_MESSAGE_MAX || !bus_read(fd, out + 10, size - 10))
        return 0;
    return size;
}

static inline void bus_hear(struct bus_orders *o, const uint8_t *data, size_t len)
{
    if (o->heard_len + len > BUS_HEARD_MAX)
        return;
    memcpy(o->heard + o->heard_len, data, len);
    o->heard_len += len;
}

static inline bool bus_is_busy(struct bus_orders *o)
{
    if (o->n_left == 0) {
        if (o->busy_every == 0 || ++o->n_commands % o->busy_every != 0)
            return false;
        o->n_left = o->busy_times + 1;
    }
    if (o->busy_times != UINT32_MAX && --o->n_left == 0)
        return false; /* the row is over: this one goes through */
    o->n_busy++;
    return true;
}

/* Connections are processes: what they share is counted atomically. */
static inline void bus_begin(struct bus_orders *o)
{
    unsigned now = __atomic_add_fetch(&o->in_flight, 1, __ATOMIC_SEQ_CST);
    unsigned most = __atomic_load_n(&o->most_in_flight, __ATOMIC_SEQ_CST);
    while (now > most && !__atomic_compare_exchange_n(&o->most_in_flight, &most, now, false,
                                                      __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
        ;
    if (o->slow_us > 0)
        usleep(o->slow_us);
}

static inline void bus_end(struct bus_orders *o)
{
    __atomic_sub_fetch(&o->in_flight, 1, __ATOMIC_SEQ_CST);
}

static inline void bus_commands(struct bus_orders *o, int client, int tpm)
{
    uint8_t message[BUS_MESSAGE_MAX];
    size_t len;
    while ((len = bus_message(client, message)) > 0) {
        if (bus_is_busy(o)) {
            const uint8_t answer[10] = {
                0x80, 0x01, 0, 0, 0, 10, 0, 0, (uint8_t)(o->busy_code >> 8), (uint8_t)o->busy_code};
            if (!bus_write(client, answer, sizeof answer))
                return;
            continue;
        }
        bus_begin(o);
        if (o->spoil_command != 0 && bus_u32(message + 6) == o->spoil_command)
            message[len - 1] ^= 1;
        bus_hear(o, message, len);
        if (!bus_write(tpm, message, len) || (len = bus_message(tpm, message)) == 0)
            return;
        bus_hear(o, message, len);
        bus_end(o);
        if (!bus_write(client, message, len))
            return;
    }
}

/* The control channel has no framing that matters here. */
static inline void bus_control(int client, int tpm)
{
    uint8_t data[4096];
    struct pollfd ends[2] = {{.fd = client, .events = POLLIN}, {.fd = tpm, .events = POLLIN}};
    while (poll(ends, 2, -1) > 0)
        for (int i = 0; i < 2; i++) {
            if (ends[i].revents == 0)
                continue;
            ssize_t n = read(ends[i].fd, data, sizeof data);
            if (n <= 0 || !bus_write(ends[1 - i].fd, data, (size_t)n))
                return;
        }
}

static inline int bus_socket(const char *path, bool server)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%.107s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (server && bind(fd, (struct sockaddr *)&address, sizeof address) == 0 && listen(fd, 8) == 0)
        return fd;
    if (!server && connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    close(fd);
    return -1;
}

static inline void bus_serve(struct bus_orders *o, const int listening[2], const char *tpm_path)
{
    char control[104];
    snprintf(control, sizeof control, "%.96s.ctrl", tpm_path);
    struct pollfd both[2] = {{.fd = listening[0], .events = POLLIN},
                             {.fd = listening[1], .events = POLLIN}};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGCHLD, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    while (poll(both, 2, -1) > 0)
        for (int i = 0; i < 2; i++) {
            if (both[i].revents == 0)
                continue;
            int client = accept(both[i].fd, NULL, NULL);
            if (fork() == 0) {
                int tpm = bus_socket(i == 0 ? tpm_path : control, false);
                if (i == 0)
                    bus_commands(o, client, tpm);
                else
                    bus_control(client, tpm);
                _exit(0);
            }
            close(client);
        }
    _exit(1);
}

static inline int tpm_bus_start(struct tpm_bus *b, const struct software_tpm *t)
{
    char control[104], tpm_path[96];
    snprintf(b->path, sizeof b->path, "%s/bus", t->dir);
    snprintf(control, sizeof control, "%.96s.ctrl", b->path);
    snprintf(tpm_path, sizeof tpm_path, "%s/swtpm.sock", t->dir);
    snprintf(b->tcti, sizeof b->tcti, "swtpm:path=%s", b->path);
    b->orders =
        mmap(NULL, sizeof *b->orders, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    const int listening[2] = {bus_socket(b->path, true), bus_socket(control, true)};
    if (b->orders == MAP_FAILED || listening[0] < 0 || listening[1] < 0)
        return -1;
    b->pid = fork();
    if (b->pid == 0)
        bus_serve(b->orders, listening, tpm_path);
    close(listening[0]);
    close(listening[1]);
    return b->pid > 0 ? 0 : -1;
}

static inline void tpm_bus_stop(struct tpm_bus *b)
{
    kill(b->pid, SIGKILL);
    waitpid(b->pid, NULL, 0);
    munmap(b->orders, sizeof *b->orders);
}

#endif
