/*
 * The attester of a host that computes on GPUs, against a software TPM and an NVML of a test
 * (fake_nvml.c): what is said of them in the boot statement, and a report of each under every
 * quote.
 */
#include "tests/unit/attester_fixture.h"

#include <unistd.h>

#include "kernels/cuda/nvml.h"
#include "tests/unit/gpu_make.h"

#define UUID_0 "GPU-00000000-0000-0000-0000-000000000000"
#define UUID_1 "GPU-00000000-0000-0000-0000-000000000001"
#define UUID_2 "GPU-00000000-0000-0000-0000-000000000002"

static struct host host;
static struct gpu_keys keys;
static char folder[256];

#define POLICY_AUTO __attribute__((cleanup(policy_cleanup))) struct policy

static void say(const char *name, const char *text)
{
    BUF_AUTO path = BUF_INIT;
    OK(file_write_durable(path_join(&path, folder, name), bytes_of_str(text), 0600));
}

static FILE *create(const char *form, size_t gpu)
{
    char path[512], name[32];
    snprintf(name, sizeof name, form, gpu);
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    return f;
}

static void write_certificate(FILE *f, struct bytes der)
{
    const uint8_t *at = der.data;
    X509 *cert;
    while (at < der.data + der.len &&
           (cert = d2i_X509(NULL, &at, (long)(der.data + der.len - at))) != NULL) {
        assert_int_equal(PEM_write_X509(f, cert), 1);
        X509_free(cert);
    }
}

static void write_gpu(size_t gpu)
{
    BUF_AUTO chain = BUF_INIT;
    FILE *f = create("chain-%zu.pem", gpu);
    make_gpu_chain(&chain, &keys, gpu);
    write_certificate(f, buf_bytes(&chain));
    fclose(f);
    f = create("key-%zu.pem", gpu);
    assert_int_equal(PEM_write_PrivateKey(f, keys.gpus[gpu], NULL, NULL, 0, NULL, NULL), 1);
    fclose(f);
}

/* A boot with two GPUs whose memory is protected, as a front on GPUs measures it. */
static int set_up(void **state)
{
    (void)state;
    struct measurement *m = &host.measurement;
    m->n_gpus = 2;
    strcpy(m->gpus[0], UUID_0);
    strcpy(m->gpus[1], UUID_1);
    m->has_fatbin = true;
    strcpy(m->numerics, "sm90-1");
    memset(m->fatbin, 0x66, SHA256_LEN);
    say("driver", "580.95.05");
    say("vbios", "96.00.9F.00.01");
    say("confidential", "210");
    say("fails", "");
    say("report", "");
    return software_tpm_do(&host.tpm, "reboot");
}

static void policy_of_gpus(struct policy *out, const char *driver)
{
    BUF_AUTO lines = BUF_INIT;
    uint8_t root[SHA256_LEN];
    sha256(root, buf_bytes(&keys.root_certificate));
    buf_printf(&lines, "gpu-driver %s\ngpu-vbios 96.00.9F.00.01\ngpu-root ", driver);
    buf_append_hex(&lines, bytes_of(root, sizeof root));
    buf_append_str(&lines, "\n");
    host_policy(out, &host, buf_str(&lines));
}

static void verifiers_see_protected_gpus(void **state)
{
    (void)state;
    POLICY_AUTO policy = {0};
    policy_of_gpus(&policy, "580.95.05");
    host_start_measured(&host);
    host_verify(&host, &policy, true);
    host_verify(&host, &policy, true); /* another quote, other reports */
    host_stop(&host);
    host_start_measured(&host); /* the same boot, and its statement */
    host_verify(&host, &policy, true);
    host_stop(&host);
}

/* What a verdict says of this host; the policy asks nothing of GPUs. */
static void expect_sentence(const char *sentence)
{
    POLICY_AUTO policy = {0};
    uint8_t nonce[NONCE_LEN] = {7};
    BUF_AUTO json = BUF_INIT, lines = BUF_INIT;
    struct activation_target target = {0};
    __attribute__((cleanup(evidence_cleanup))) struct evidence evidence = EVIDENCE_INIT;
    struct verdict *verdict = calloc(1, sizeof *verdict);
    host_policy(&policy, &host, "");
    host_evidence(&host, nonce, &json);
    OK(evidence_parse(&evidence, buf_bytes(&json)));
    OK(verify_activation_target(&target, &evidence, &policy));
    struct verify_input input = {
        .evidence_json = buf_bytes(&json), .policy = &policy, .activated = &target};
    memcpy(input.nonce, nonce, sizeof nonce);
    memcpy(input.peer_spki_sha256, host.measurement.spki_sha256, SHA256_LEN);
    OK(verify_evidence(verdict, &input));
    verdict_print(&lines, verdict);
    for (size_t i = 0; i < lines.len; i++)
        if (lines.data[i] == '\n')
            lines.data[i] = ' ';
    if (verdict->outcome != OUTCOME_TRUE || strstr(buf_str(&lines), sentence) == NULL)
        fail_msg("%s", buf_str(&lines));
    free(verdict);
    EVP_PKEY_free(target.ek);
}

static void open_memory_is_said_and_has_no_reports(void **state)
{
    (void)state;
    static const char *const states[] = {"000", "211"};
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(set_up(NULL), 0);
        say("confidential", states[i]);
        /* whoever asks for a report would fail */
        say("fails", "nvmlDeviceGetConfComputeGpuAttestationReport:3");
        host_start_measured(&host);
        expect_sentence("GPU memory not protected, as far as the policy asks");
        host_stop(&host);
    }
}

static void a_driver_without_confidential_computing_is_open(void **state)
{
    (void)state;
    say("fails", "nvmlSystemGetConfComputeState:3");
    host_start_measured(&host);
    expect_sentence("GPU memory not protected");
    host_stop(&host);
}

/* Measuring fails, and the attester ends. */
static void expect_refusal(enum err_code code, const char *says)
{
    host_start(&host);
    assert_true(is_err(host_measure(&host)));
    host_ended(&host, code, says);
}

static void refuses_what_nvml_cannot_tell(void **state)
{
    (void)state;
    static const struct {
        const char *name, *text;
        enum err_code code;
        const char *says;
    } cases[] = {
        {"fails", "nvmlInit_v2:9", ERR_IO, "NVML cannot start: as the test wants it (9)"},
        {"fails", "nvmlSystemGetDriverVersion:999", ERR_IO, "driver's version: Unknown Error"},
        {"fails", "nvmlSystemGetConfComputeState:999", ERR_IO, "state of confidential computing"},
        {"fails", "nvmlDeviceGetName:999", ERR_IO, "tell the GPU's name"},
        {"fails", "nvmlDeviceGetVbiosVersion:999", ERR_IO, "tell the VBIOS version"},
        {"fails", "nvmlDeviceGetConfComputeGpuCertificate:999", ERR_IO, "GPU's certificates"},
        {"fails", "nvmlDeviceGetConfComputeGpuAttestationReport:999", ERR_IO, "GPU's report"},
        {"driver", "580 95", ERR_UNSUPPORTED, "version of the driver is no word: '580 95'"},
        {"vbios", "", ERR_UNSUPPORTED, "version of the VBIOS is no word"},
        {"chain-1.pem", "", ERR_IO, "0 bytes of certificates for " UUID_1},
        {"chain-1.pem", "no PEM", ERR_MALFORMED, "not X.509 in PEM"},
        {"report", "1", ERR_UNTRUE, UUID_0 ": GPU report: it answers another nonce"},
        {"report", "300", ERR_MALFORMED, UUID_0 ": GPU report: the signature is not of 96 bytes"},
        {"report", "9000", ERR_IO, "a report of 9000 bytes for " UUID_0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(set_up(NULL), 0);
        say(cases[i].name, cases[i].text);
        expect_refusal(cases[i].code, cases[i].says);
        write_gpu(1);
    }
}

static void refuses_a_gpu_that_nvml_does_not_know(void **state)
{
    (void)state;
    strcpy(host.measurement.gpus[1], UUID_2);
    expect_refusal(ERR_NOT_FOUND, UUID_2 ": NVML cannot find the GPU");
}

/* Also where the driver was loaded anew without a boot. */
static void other_gpus_need_another_boot(void **state)
{
    (void)state;
    host_start_measured(&host);
    host_stop(&host);
    say("driver", "580.95.06");
    expect_refusal(ERR_UNTRUE, "not those of this boot's statement");
    say("driver", "580.95.05");
    host.measurement.n_gpus = 1;
    expect_refusal(ERR_UNTRUE, "not those of this boot's statement");
}

/* A GPU that fails later ends the attester: no quote goes without its reports. */
static void a_quote_without_a_report_is_not_made(void **state)
{
    (void)state;
    uint8_t nonce[NONCE_LEN] = {9};
    BUF_AUTO memory = BUF_INIT;
    struct channel_frame answer;
    host_start_measured(&host);
    say("fails", "nvmlDeviceGetConfComputeGpuAttestationReport:15");
    assert_true(
        is_err(host_ask(&host, CHANNEL_QUOTE, bytes_of(nonce, sizeof nonce), &answer, &memory)));
    host_ended(&host, ERR_IO, "NVML cannot give the GPU's report");
}

static void a_library_that_lacks_functions_is_too_old(void **state)
{
    (void)state;
    char *const arguments[] = {(char *)(uintptr_t) "attester_gpu_test",
                               (char *)(uintptr_t) "lacking", NULL};
    pid_t child = fork();
    if (child == 0) {
        setenv("LD_LIBRARY_PATH", BL_FAKE_NVML_DIR "/lacking", 1);
        execv("/proc/self/exe", arguments);
        _exit(1);
    }
    int status = 0;
    waitpid(child, &status, 0);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* The child of the test above. */
static int open_lacking(void)
{
    struct nvml *nvml;
    struct err e = nvml_open(&nvml);
    return e.code == ERR_UNSUPPORTED && strstr(err_message(), "lacks nvmlShutdown") != NULL ? 0 : 1;
}

/* The library is found by a path that is read when a program starts. */
static void find_the_library(char **argv)
{
    const char *path = getenv("LD_LIBRARY_PATH");
    if (path != NULL && strcmp(path, BL_FAKE_NVML_DIR) == 0)
        return;
    setenv("LD_LIBRARY_PATH", BL_FAKE_NVML_DIR, 1);
    execv("/proc/self/exe", argv);
    _exit(1);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(verifiers_see_protected_gpus, set_up),
        cmocka_unit_test(open_memory_is_said_and_has_no_reports),
        cmocka_unit_test_setup(a_driver_without_confidential_computing_is_open, set_up),
        cmocka_unit_test(refuses_what_nvml_cannot_tell),
        cmocka_unit_test_setup(refuses_a_gpu_that_nvml_does_not_know, set_up),
        cmocka_unit_test_setup(other_gpus_need_another_boot, set_up),
        cmocka_unit_test_setup(a_quote_without_a_report_is_not_made, set_up),
        cmocka_unit_test(a_library_that_lacks_functions_is_too_old),
    };
    if (argc == 2)
        return open_lacking();
    find_the_library(argv);
    software_tpm_skip_where_absent();
    if (host_init(&host) != 0)
        return 1;
    snprintf(folder, sizeof folder, "%s", host.tpm.dir);
    setenv("BL_FAKE_NVML", folder, 1);
    gpu_keys_init(&keys);
    write_gpu(0);
    write_gpu(1);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    gpu_keys_cleanup(&keys);
    host_remove(&host);
    return failed;
}
