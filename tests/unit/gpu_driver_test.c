/* What the CUDA driver can answer, and what people are told. libcuda.so.1 is opened once a process,
 * so each driver is tried in a child: none, one too old, one that lacks a function, and one without
 * a device behind it that fails as it is told to (tests/unit/fake_libcuda.c). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "kernels/cuda/gpu.h"

/* What the child does; its error, or "" for success. */
enum deed { OPEN, OPEN_SECOND, ALLOC, INFO, LOAD, WAIT };

static struct err act(enum deed deed)
{
    const struct gpu_driver *d = &gpu_cuda;
    struct gpu *g = NULL;
    struct gpu_address a = {0};
    struct gpu_info info;
    struct gpu_module *m = NULL;
    struct gpu_stream *s = NULL;
    TRY(d->open(&g, deed == OPEN_SECOND ? 1 : 0));
    if (deed == ALLOC)
        TRY(d->alloc(g, &a, (size_t)200 << 20));
    if (deed == LOAD)
        TRY(d->module_load(g, &m, "", 0));
    if (deed == WAIT) {
        TRY(d->stream_new(g, &s));
        TRY(d->stream_wait(s));
    }
    if (deed == INFO) {
        TRY(d->info(g, &info));
        if (info.major != 75 || info.minor != 76 || info.n_multiprocessors != 16 ||
            info.shared_len_max != 97 || info.driver_version != 13000 || info.uuid[15] != 0x5a)
            return err_set(ERR_UNTRUE, "another attribute was asked for");
    }
    d->module_free(m);
    d->stream_free(s);
    d->free(g, a);
    d->close(g);
    return err_ok();
}

struct answer {
    int code;
    char message[600];
};

/* By a process that loads its libraries anew. */
static void ask(struct answer *out, enum deed deed, const char *folder, const char *version,
                const char *fails)
{
    int ends[2];
    char number[8], line[640];
    snprintf(number, sizeof number, "%d", (int)deed);
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(ends[1], 1);
        setenv("LD_LIBRARY_PATH", folder, 1);
        setenv("BL_FAKE_CUDA", version, 1);
        setenv("CUDA_FORCE_PTX_JIT", "1", 1); /* of whoever starts it: the driver must not see it */
        setenv("BL_FAKE_CUDA_FAILS", fails, 1);
        execl("/proc/self/exe", "gpu_driver_test", number, (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    FILE *from = fdopen(ends[0], "r");
    assert_non_null(fgets(line, sizeof line, from));
    fclose(from);
    int status = 0;
    waitpid(child, &status, 0);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    char *end = NULL;
    out->code = (int)strtol(line, &end, 10);
    snprintf(out->message, sizeof out->message, "%s", end);
}

static void expect(enum deed deed, const char *folder, const char *version, const char *fails,
                   enum err_code code, const char *words)
{
    struct answer a;
    ask(&a, deed, folder, version, fails);
    if (a.code != (int)code || strstr(a.message, words) == NULL)
        fail_msg("code %d, \"%s\"; wanted %d, \"%s\"", a.code, a.message, (int)code, words);
}

static void without_a_driver_the_cpu_is_named(void **state)
{
    (void)state;
    if (access("/dev/nvidiactl", F_OK) == 0)
        skip(); /* here is one */
    expect(OPEN, "/nowhere", "0", "", ERR_NOT_FOUND, "no NVIDIA driver here");
    expect(OPEN, "/nowhere", "0", "", ERR_NOT_FOUND, "use the CPU backend");
}

static void an_old_driver_is_refused_with_both_versions(void **state)
{
    (void)state;
    expect(OPEN, BL_FAKE_CUDA_DIR, "12040", "", ERR_UNSUPPORTED, "CUDA 12.4");
    expect(OPEN, BL_FAKE_CUDA_DIR, "12090", "", ERR_UNSUPPORTED, "13.0 or later");
    expect(OPEN, BL_FAKE_CUDA_DIR, "13000", "", ERR_NONE, "");
    expect(OPEN, BL_FAKE_CUDA_DIR, "13020", "", ERR_NONE, "");
}

static void a_driver_that_lacks_a_function_is_refused_with_its_name(void **state)
{
    (void)state;
    expect(OPEN, BL_FAKE_CUDA_DIR "/lacking", "13000", "", ERR_UNSUPPORTED, "lacks cuInit");
}

static void a_driver_that_cannot_start_says_why(void **state)
{
    (void)state;
    expect(OPEN, BL_FAKE_CUDA_DIR, "13000", "cuInit:100", ERR_NOT_FOUND, "start the driver");
    expect(OPEN, BL_FAKE_CUDA_DIR, "13000", "cuDevicePrimaryCtxRetain:2", ERR_MEMORY, "opened");
    expect(OPEN, BL_FAKE_CUDA_DIR, "13000", "cuCtxSetCurrent:999", ERR_IO, "as the test wants it");
}

static void a_gpu_that_is_not_there_is_named(void **state)
{
    (void)state;
    expect(OPEN_SECOND, BL_FAKE_CUDA_DIR, "13000", "", ERR_NOT_FOUND,
           "no GPU 1; this machine has 1");
}

static void too_little_memory_is_said_with_the_numbers(void **state)
{
    (void)state;
    expect(ALLOC, BL_FAKE_CUDA_DIR, "13000", "cuMemAlloc_v2:2", ERR_MEMORY,
           "has no 201 MiB free: 100 of 1000 MiB are left");
    expect(ALLOC, BL_FAKE_CUDA_DIR, "13000", "", ERR_NONE, "");
}

static void a_chip_that_no_kernels_were_built_for_is_unsupported(void **state)
{
    (void)state;
    expect(LOAD, BL_FAKE_CUDA_DIR, "13000", "cuModuleLoadData:209", ERR_UNSUPPORTED,
           "no kernels were built for");
}

/* 700: an illegal address; 214: an uncorrectable ECC error. */
static void a_failure_in_flight_ends_the_device(void **state)
{
    (void)state;
    expect(WAIT, BL_FAKE_CUDA_DIR, "13000", "cuStreamSynchronize:700", ERR_IO, "finish");
    expect(WAIT, BL_FAKE_CUDA_DIR, "13000", "cuStreamSynchronize:214", ERR_IO, "finish");
}

static void asks_for_the_attributes_that_it_means(void **state)
{
    (void)state;
    expect(INFO, BL_FAKE_CUDA_DIR, "13000", "", ERR_NONE, "");
}

int main(int argc, char **argv)
{
    if (argc == 2) {
        struct err e = act((enum deed)atoi(argv[1]));
        printf("%d %s\n", (int)e.code, is_err(e) ? err_message() : "");
        fflush(stdout);
        _exit(0); /* what a failed deed still holds is no leak here */
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_driver_the_cpu_is_named),
        cmocka_unit_test(an_old_driver_is_refused_with_both_versions),
        cmocka_unit_test(a_driver_that_lacks_a_function_is_refused_with_its_name),
        cmocka_unit_test(a_driver_that_cannot_start_says_why),
        cmocka_unit_test(a_gpu_that_is_not_there_is_named),
        cmocka_unit_test(too_little_memory_is_said_with_the_numbers),
        cmocka_unit_test(a_chip_that_no_kernels_were_built_for_is_unsupported),
        cmocka_unit_test(a_failure_in_flight_ends_the_device),
        cmocka_unit_test(asks_for_the_attributes_that_it_means),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
