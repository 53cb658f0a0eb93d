#include "server/supervisor.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <fcntl.h>

#include "common/file.h"
#include "server/front_memory.h"
#include "http/http_listen.h"
#include "server/sandbox.h"

enum {
    STOP_S = 45,        /* for a clean stop: finish, cancel, log it */
    FOLLOW_S = 10,      /* for the other one, when one has ended */
    EXIT_PEER_GONE = 3, /* of a child: only because the other one ended */
    EXIT_TPM_GONE = 4,  /* of the attester: the TPM failed, and the front was told */
};

struct child {
    const char *name;
    pid_t pid; /* 0: not running */
    int status;
};

struct supervisor {
    const struct server_options *options;
    struct child attester, front, publisher;
    struct front_fds fds;             /* until the front has them */
    struct attester_fds attester_fds; /* until the attester has them */
    int publisher_channel;            /* until the publisher has it; -1 where there is none */
    int ready;                        /* the front's byte */
    unsigned n_asked;                 /* to stop */
    bool failed, killed;
    time_t deadline_s; /* monotonic; 0: none */
};

static void say(const char *format, ...) PRINTF_LIKE(1, 2);
static void say(const char *format, ...)
{
    char text[1200];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    fprintf(stderr, "blindllama-server: %s\n", text);
}

static time_t now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec;
}

static void watched_signals(sigset_t *out)
{
    sigemptyset(out);
    sigaddset(out, SIGCHLD);
    sigaddset(out, SIGTERM);
    sigaddset(out, SIGINT);
}

static struct err make_channel(int *one, int *other)
{
    int channel[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, channel) != 0)
        return err_errno("cannot make the channels between the processes");
    *one = channel[0];
    *other = channel[1];
    return err_ok();
}

static struct err make_channels(struct supervisor *s)
{
    int ready[2];
    TRY(make_channel(&s->fds.channel, &s->attester_fds.front));
    if (s->options->publisher.witnesses != NULL)
        TRY(make_channel(&s->publisher_channel, &s->attester_fds.publisher));
    if (pipe2(ready, O_CLOEXEC) != 0)
        return err_errno("cannot make a pipe");
    s->ready = ready[0];
    s->fds.ready = ready[1];
    return err_ok();
}

/* In the child: it dies with the supervisor, and hears Ctrl-C only from it. */
static struct err become_child(const char *name, pid_t supervisor)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != supervisor)
        return err_set(ERR_IO, "the supervisor ended");
    prctl(PR_SET_NAME, name);
    signal(SIGINT, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    sigset_t signals;
    watched_signals(&signals);
    sigprocmask(SIG_UNBLOCK, &signals, NULL);
    return front_memory_private();
}

static void close_fronts(struct supervisor *s)
{
    fd_close(&s->fds.listen);
    fd_close(&s->fds.channel);
    fd_close(&s->fds.ready);
    fd_close(&s->ready);
}

static void close_attesters(struct supervisor *s)
{
    fd_close(&s->attester_fds.front);
    fd_close(&s->attester_fds.publisher);
}

static struct err attester_body(struct supervisor *s, bool *tpm_failed)
{
    const struct attester_options *o = &s->options->attester;
    close_fronts(s);
    fd_close(&s->publisher_channel);
    signal(SIGTERM, SIG_IGN); /* it ends when the front has said so, or is gone */
    bool device = strncmp(o->tcti, "device", strlen("device")) == 0;
    TRY(sandbox_enter(device ? SANDBOX_ATTESTER_DEVICE : SANDBOX_ATTESTER));
    return attester_run(o, s->attester_fds, tpm_failed);
}

static int run_attester(struct supervisor *s, pid_t supervisor)
{
    bool tpm_failed = false;
    struct err e = become_child("bl-attester", supervisor);
    if (!is_err(e))
        e = attester_body(s, &tpm_failed);
    if (is_err(e))
        say("attester: %s", err_message());
    if (tpm_failed)
        return EXIT_TPM_GONE;
    return is_err(e) ? EXIT_FAILED : EXIT_CLEAN;
}

static int run_publisher(struct supervisor *s, pid_t supervisor)
{
    struct err e = become_child("bl-publisher", supervisor);
    close_fronts(s);
    close_attesters(s);
    signal(SIGTERM, SIG_IGN); /* it ends when the attester has said so, or is gone */
    if (!is_err(e))
        e = publisher_run(&s->options->publisher, s->publisher_channel);
    if (is_err(e))
        say("publisher: %s", err_message());
    return is_err(e) ? EXIT_FAILED : EXIT_CLEAN;
}

static int run_front(struct supervisor *s, pid_t supervisor)
{
    bool attester_ended = false;
    struct err e = become_child("bl-front", supervisor);
    close_attesters(s);
    fd_close(&s->publisher_channel);
    fd_close(&s->ready);
    if (!is_err(e))
        e = front_run(&s->options->front, s->fds, &attester_ended);
    if (!is_err(e))
        return EXIT_CLEAN;
    if (attester_ended)
        return EXIT_PEER_GONE;
    say("%s", err_message());
    return EXIT_FAILED;
}

/* True in the child, whose exit code is then in *code. */
static bool start_child(struct supervisor *s, struct child *child,
                        int (*run)(struct supervisor *s, pid_t supervisor), int *code)
{
    pid_t self = getpid();
    pid_t pid = fork();
    if (pid == 0) {
        *code = run(s, self);
        return true;
    }
    if (pid < 0) {
        say("cannot fork: %s", strerror(errno));
        s->failed = true;
        return false;
    }
    child->pid = pid;
    return false;
}

static void signal_child(const struct child *child, int number)
{
    if (child->pid > 0)
        kill(child->pid, number);
}

static void kill_all(struct supervisor *s)
{
    s->killed = true;
    signal_child(&s->front, SIGKILL);
    signal_child(&s->attester, SIGKILL);
    signal_child(&s->publisher, SIGKILL);
}

static void on_asked(struct supervisor *s)
{
    if (++s->n_asked > 1) {
        say("stopping at once: the log does not know of this stop");
        kill_all(s);
        return;
    }
    s->deadline_s = now_s() + STOP_S;
    signal_child(&s->front, SIGTERM);
}

/* The front may be ended by our own SIGTERM while it is still loading; then the attester ends
 * without having been told. */
static bool ended_as_asked(const struct supervisor *s, const struct child *child)
{
    if (child == &s->publisher && s->front.pid == 0 && s->attester.pid == 0)
        return true;
    int front = s->front.status;
    bool sigterm = s->front.pid == 0 && WIFSIGNALED(front) && WTERMSIG(front) == SIGTERM;
    if (s->killed || (sigterm && (s->n_asked > 0 || (s->failed && child == &s->front))))
        return true;
    if (WIFEXITED(child->status) && WEXITSTATUS(child->status) == EXIT_CLEAN)
        return s->n_asked > 0 || s->failed || child == &s->publisher;
    return false;
}

/* The front was told as well, and goes on without attestation. */
static bool may_go_on_without(const struct supervisor *s, const struct child *child)
{
    return child == &s->attester && s->front.pid > 0 && s->options->front.serve_without_tpm &&
           WIFEXITED(child->status) && WEXITSTATUS(child->status) == EXIT_TPM_GONE;
}

/* It ends cleanly behind the attester, or when that has asked for it. Otherwise the attester sees
 * its channel close, and ends. */
static void on_publisher_end(struct supervisor *s)
{
    if (s->failed && s->deadline_s == 0)
        s->deadline_s = now_s() + FOLLOW_S;
}

static void on_end(struct supervisor *s, struct child *child)
{
    struct child *other = child == &s->front ? &s->attester : &s->front;
    child->pid = 0;
    if (!ended_as_asked(s, child)) {
        s->failed = true;
        if (WIFSIGNALED(child->status))
            say("the %s was ended by signal %d (%s)", child->name, WTERMSIG(child->status),
                strsignal(WTERMSIG(child->status)));
    }
    if (s->front.pid == 0 && s->attester.pid == 0)
        signal_child(&s->publisher, SIGKILL); /* it may be waiting, and holds nothing */
    if (child == &s->publisher) {
        on_publisher_end(s);
        return;
    }
    if (other->pid == 0 || may_go_on_without(s, child))
        return;
    s->deadline_s = now_s() + FOLLOW_S;
    if (other == &s->front) /* the attester sees its channel close */
        signal_child(other, SIGTERM);
}

static void reap(struct supervisor *s)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        struct child *child = pid == s->front.pid       ? &s->front
                              : pid == s->attester.pid  ? &s->attester
                              : pid == s->publisher.pid ? &s->publisher
                                                        : NULL;
        if (child == NULL)
            continue;
        child->status = status;
        on_end(s, child);
    }
}

static void watch(struct supervisor *s)
{
    sigset_t signals;
    watched_signals(&signals);
    while (s->front.pid > 0 || s->attester.pid > 0 || s->publisher.pid > 0) {
        struct timespec second = {1, 0};
        int number = sigtimedwait(&signals, NULL, &second);
        if (number == SIGCHLD)
            reap(s);
        else if (number > 0)
            on_asked(s);
        if (s->deadline_s != 0 && now_s() > s->deadline_s && !s->killed) {
            say("a process did not end in time and is killed");
            s->failed = true;
            kill_all(s);
        }
    }
}

static bool was_ready(const struct supervisor *s)
{
    char byte;
    return read(s->ready, &byte, 1) == 1;
}

static int exit_code(const struct supervisor *s)
{
    bool ready = was_ready(s);
    if (s->failed)
        return ready ? EXIT_FAILED : EXIT_NOT_STARTED;
    return s->killed ? EXIT_FAILED : EXIT_CLEAN;
}

static void close_all(struct supervisor *s)
{
    fd_close(&s->fds.listen);
    fd_close(&s->fds.channel);
    fd_close(&s->fds.ready);
    close_attesters(s);
    fd_close(&s->publisher_channel);
}

/* True in a child. */
static bool start_children(struct supervisor *s, int *code)
{
    if (s->publisher_channel >= 0 && start_child(s, &s->publisher, run_publisher, code))
        return true;
    return start_child(s, &s->attester, run_attester, code) ||
           start_child(s, &s->front, run_front, code);
}

int supervisor_run(const struct server_options *options)
{
    struct supervisor s = {.options = options,
                           .attester = {.name = "attester"},
                           .front = {.name = "front"},
                           .publisher = {.name = "publisher"},
                           .fds = {-1, -1, -1},
                           .attester_fds = {-1, -1},
                           .publisher_channel = -1,
                           .ready = -1};
    sigset_t signals;
    watched_signals(&signals);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    struct err e = http_bind(&s.fds.listen, options->listen);
    if (!is_err(e))
        e = make_channels(&s);
    if (is_err(e)) {
        say("%s", err_message());
        close_all(&s);
        return EXIT_NOT_STARTED;
    }
    int code;
    if (start_children(&s, &code))
        return code;
    close_all(&s); /* each end now has one owner: a child that ends is seen by the other */
    e = sandbox_enter(SANDBOX_SUPERVISOR);
    if (is_err(e) || s.failed) {
        if (is_err(e))
            say("%s", err_message());
        s.failed = true;
        kill_all(&s);
    }
    watch(&s);
    code = exit_code(&s);
    fd_close(&s.ready);
    return code;
}
