#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "server/front_memory.h"
#include "server/sandbox.h"

/* Runs `tries` in a child inside the sandbox of `role`; its return value comes back. */
static int inside(enum sandbox_role role, int (*tries)(void))
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(is_err(sandbox_enter(role)) ? 99 : tries());
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void *nothing(void *context)
{
    return context;
}

/* Each returns the number of the first expectation that does not hold, 0 if all do. */
static int no_programs_no_processes(void)
{
    if (execl("/bin/true", "true", (char *)NULL) != -1 || errno != EPERM)
        return 1;
    if (fork() != -1 || errno != EPERM)
        return 2;
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != -1 || errno != EPERM)
        return 3;
    pthread_t thread;
    if (pthread_create(&thread, NULL, nothing, NULL) != 0 || pthread_join(thread, NULL) != 0)
        return 4;
    return 0;
}

static int no_network_of_its_own(void)
{
    struct sockaddr nowhere = {.sa_family = AF_UNIX};
    if (socket(AF_INET, SOCK_STREAM, 0) != -1 || errno != EPERM)
        return 1;
    if (socket(AF_UNIX, SOCK_STREAM, 0) != -1 || errno != EPERM)
        return 2;
    if (connect(0, &nowhere, sizeof nowhere) != -1 || errno != EPERM)
        return 3;
    return 0;
}

static int no_listening(void)
{
    struct sockaddr nowhere = {.sa_family = AF_UNIX};
    if (bind(0, &nowhere, sizeof nowhere) != -1 || errno != EPERM)
        return 1;
    if (listen(0, 1) != -1 || errno != EPERM)
        return 2;
    if (accept(0, NULL, NULL) != -1 || errno != EPERM)
        return 3;
    return 0;
}

static int accepts(void)
{
    return accept(-1, NULL, NULL) == -1 && errno == EBADF ? 0 : 1;
}

static int no_file_for_others(void)
{
    struct msghdr message = {0};
    struct mmsghdr messages = {.msg_hdr = message};
    if (sendmsg(0, &message, 0) != -1 || errno != EPERM)
        return 1;
    return sendmmsg(0, &messages, 1, 0) == -1 && errno == EPERM ? 0 : 2;
}

static int makes_sockets(void)
{
    return socket(AF_UNIX, SOCK_STREAM, 0) >= 0 ? 0 : 1;
}

static int no_file_to_write(void)
{
    static const int flags[] = {O_WRONLY, O_RDWR, O_WRONLY | O_CREAT, O_RDONLY | O_CREAT,
                                O_RDWR | O_TMPFILE};
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        if (open("/tmp", flags[i], 0600) != -1 || errno != EPERM)
            return (int)i + 1;
    }
    return open("/dev/null", O_RDONLY) >= 0 ? 0 : 10;
}

static int writes_files(void)
{
    return open("/dev/null", O_RDWR) >= 0 ? 0 : 1;
}

/* What the user's side of a GPU's driver does once everything is opened and made: the front's
 * filter leaves it. ioctl and mmap on what is open (a driver's files are like any), threads of its
 * own, waiting for events, advice on memory, time and scheduling. */
static int does_what_a_gpu_driver_does(void)
{
    struct timespec now;
    struct pollfd event = {.events = POLLIN};
    uint64_t one = 1;
    pthread_t thread;
    int unread = 0, ends[2];
    if (pipe(ends) != 0 || ioctl(ends[0], FIONREAD, &unread) != 0)
        return 1;
    void *p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED || madvise(p, 1 << 20, MADV_DONTFORK) != 0 ||
        mprotect(p, 4096, PROT_NONE) != 0 || munmap(p, 1 << 20) != 0)
        return 2;
    event.fd = eventfd(0, EFD_CLOEXEC);
    if (event.fd < 0 || write(event.fd, &one, sizeof one) != sizeof one ||
        poll(&event, 1, 1000) != 1)
        return 3;
    if (pthread_create(&thread, NULL, nothing, NULL) != 0 || pthread_join(thread, NULL) != 0)
        return 4;
    if (sched_yield() != 0 || clock_gettime(CLOCK_MONOTONIC_RAW, &now) != 0)
        return 5;
    return open("/proc/self/maps", O_RDONLY) >= 0 ? 0 : 6;
}

/* Pages are locked when they are touched: a reservation that nobody touches, as a GPU's driver
 * makes it for its address space, costs nothing. */
static int reserves_address_space(void)
{
    const size_t len = (size_t)1 << 40;
    if (!front_memory_lock())
        return 77; /* the limit does not allow it: then it limits no later mapping, either */
    void *p = mmap(NULL, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return 1;
    uint8_t *used =
        mmap(p, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    if (used == MAP_FAILED)
        return 2;
    used[0] = 1;
    return munmap(p, len) == 0 ? 0 : 3;
}

static void skip_without_sandbox(void)
{
#ifdef SANDBOX_LEFT_OUT
    skip();
#endif
}

static void the_front_answers_and_does_nothing_else(void **state)
{
    (void)state;
    skip_without_sandbox();
    assert_int_equal(inside(SANDBOX_FRONT, no_programs_no_processes), 0);
    assert_int_equal(inside(SANDBOX_FRONT, no_network_of_its_own), 0);
    assert_int_equal(inside(SANDBOX_FRONT, no_file_to_write), 0);
    assert_int_equal(inside(SANDBOX_FRONT, no_file_for_others), 0);
    assert_int_equal(inside(SANDBOX_FRONT, accepts), 0);
}

static void a_gpu_that_was_opened_goes_on_in_the_front(void **state)
{
    (void)state;
    skip_without_sandbox();
    assert_int_equal(inside(SANDBOX_FRONT, does_what_a_gpu_driver_does), 0);
}

static void locked_memory_leaves_room_for_reservations(void **state)
{
    (void)state;
    skip_without_sandbox();
    int result = inside(SANDBOX_FRONT, reserves_address_space);
    if (result == 77)
        skip();
    assert_int_equal(result, 0);
}

static void the_attester_is_not_reachable(void **state)
{
    (void)state;
    skip_without_sandbox();
    assert_int_equal(inside(SANDBOX_ATTESTER, no_programs_no_processes), 0);
    assert_int_equal(inside(SANDBOX_ATTESTER, no_listening), 0);
    assert_int_equal(inside(SANDBOX_ATTESTER, makes_sockets), 0);
    assert_int_equal(inside(SANDBOX_ATTESTER, writes_files), 0);
}

static void with_a_tpm_device_the_attester_has_no_sockets(void **state)
{
    (void)state;
    skip_without_sandbox();
    assert_int_equal(inside(SANDBOX_ATTESTER_DEVICE, no_programs_no_processes), 0);
    assert_int_equal(inside(SANDBOX_ATTESTER_DEVICE, no_listening), 0);
    assert_int_equal(inside(SANDBOX_ATTESTER_DEVICE, no_network_of_its_own), 0);
    assert_int_equal(inside(SANDBOX_ATTESTER_DEVICE, writes_files), 0);
}

static void the_publisher_calls_and_is_not_called(void **state)
{
    (void)state;
    skip_without_sandbox();
    assert_int_equal(inside(SANDBOX_PUBLISHER, no_programs_no_processes), 0);
    assert_int_equal(inside(SANDBOX_PUBLISHER, no_listening), 0);
    assert_int_equal(inside(SANDBOX_PUBLISHER, no_file_to_write), 0);
    assert_int_equal(inside(SANDBOX_PUBLISHER, makes_sockets), 0);
}

static void the_supervisor_only_waits_and_kills(void **state)
{
    (void)state;
    skip_without_sandbox();
    assert_int_equal(inside(SANDBOX_SUPERVISOR, no_programs_no_processes), 0);
    assert_int_equal(inside(SANDBOX_SUPERVISOR, no_listening), 0);
    assert_int_equal(inside(SANDBOX_SUPERVISOR, no_network_of_its_own), 0);
}

static void the_text_says_what_is_denied(void **state)
{
    (void)state;
    BUF_AUTO text = BUF_INIT, again = BUF_INIT;
    sandbox_text(&text);
    sandbox_text(&again);
    assert_true(bytes_equal(buf_bytes(&text), buf_bytes(&again)));
    assert_int_equal(strncmp(buf_str(&text), "blindllama-sandbox/v1\n", 22), 0);
#ifdef SANDBOX_LEFT_OUT
    assert_non_null(strstr(buf_str(&text), "none: this build has AddressSanitizer"));
#else
    assert_non_null(strstr(buf_str(&text), "\nfront deny connect\n"));
    assert_non_null(strstr(buf_str(&text), "\nfront deny openat with O_WRONLY\n"));
    assert_null(strstr(buf_str(&text), "\nfront deny accept4\n"));
    assert_null(strstr(buf_str(&text), "\nattester deny connect\n"));
    assert_null(strstr(buf_str(&text), "\npublisher deny connect\n"));
    assert_non_null(strstr(buf_str(&text), "\npublisher deny openat with O_CREAT\n"));
    assert_non_null(strstr(buf_str(&text), "\nattester-with-device deny connect\n"));
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_front_answers_and_does_nothing_else),
        cmocka_unit_test(a_gpu_that_was_opened_goes_on_in_the_front),
        cmocka_unit_test(locked_memory_leaves_room_for_reservations),
        cmocka_unit_test(the_attester_is_not_reachable),
        cmocka_unit_test(with_a_tpm_device_the_attester_has_no_sockets),
        cmocka_unit_test(the_publisher_calls_and_is_not_called),
        cmocka_unit_test(the_supervisor_only_waits_and_kills),
        cmocka_unit_test(the_text_says_what_is_denied),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
