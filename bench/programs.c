#include "bench/programs.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <libgen.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench/results.h"
#include "common/file.h"

static void become(const char *const *argv, int out, unsigned cpu)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    dup2(null, STDIN_FILENO);
    dup2(out, STDOUT_FILENO);
    dup2(null, STDERR_FILENO);
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    CPU_SET(cpu, &cpus);
    if (sysconf(_SC_NPROCESSORS_ONLN) > (long)cpu)
        sched_setaffinity(0, sizeof cpus, &cpus);
    execvp(argv[0], (char *const *)(uintptr_t)argv);
    _exit(127);
}

void program_start(struct program *p, const char *const *argv, unsigned cpu)
{
    int fds[2];
    must(pipe2(fds, O_CLOEXEC) == 0 ? err_ok() : err_errno("cannot make a pipe"));
    pid_t pid = fork();
    if (pid == 0)
        become(argv, fds[1], cpu);
    close(fds[1]);
    must(pid > 0 ? err_ok() : err_errno("cannot start %s", argv[0]));
    *p = (struct program){pid, fds[0]};
}

void program_line(struct program *p, struct buf *line)
{
    char c = 0;
    while (read(p->out, &c, 1) == 1 && c != '\n')
        buf_append_u8(line, (uint8_t)c);
    if (c != '\n')
        must(err_set(ERR_IO, "a program that is measured has ended early"));
}

void program_finish(struct program *p, struct buf *rest)
{
    char chunk[4096];
    ssize_t n;
    int status = 0;
    while ((n = read(p->out, chunk, sizeof chunk)) > 0)
        buf_append(rest, chunk, (size_t)n);
    fd_close(&p->out);
    waitpid(p->pid, &status, 0);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        must(err_set(ERR_IO, "a program that measures has failed: %s", buf_str(rest)));
}

void program_stop(struct program *p)
{
    const struct timespec tick = {0, 10 * 1000 * 1000};
    kill(p->pid, SIGTERM);
    unsigned i = 0;
    for (; i < 500 && waitpid(p->pid, NULL, WNOHANG) == 0; i++)
        nanosleep(&tick, NULL);
    if (i == 500) {
        kill(p->pid, SIGKILL);
        waitpid(p->pid, NULL, 0);
    }
    fd_close(&p->out);
}

double program_cpu(const struct program *p)
{
    clockid_t clock;
    struct timespec t;
    if (clock_getcpuclockid(p->pid, &clock) != 0 || clock_gettime(clock, &t) != 0)
        must(err_set(ERR_IO, "a program that is measured has ended early"));
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

bool program_exists(const char *name)
{
    if (strchr(name, '/') != NULL)
        return access(name, X_OK) == 0;
    BUF_AUTO path = BUF_INIT;
    const char *dirs = getenv("PATH");
    for (const char *at = dirs; at != NULL && *at != 0;) {
        size_t len = strcspn(at, ":");
        buf_clear(&path);
        buf_printf(&path, "%.*s/%s", (int)len, at, name);
        if (access(buf_str(&path), X_OK) == 0)
            return true;
        at += len + (at[len] == ':');
    }
    return false;
}

const char *program_beside(struct buf *out, const char *name)
{
    char self[4096] = "";
    if (readlink("/proc/self/exe", self, sizeof self - 1) <= 0)
        must(err_errno("cannot find this program"));
    return path_join(out, dirname(self), name);
}

unsigned program_free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    FD_AUTO fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, len) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &len) != 0)
        must(err_errno("cannot find a free port"));
    return ntohs(address.sin_port);
}
