/*
 * Whose TLS key a connection takes: with roots only a certificate that one of them signed for the
 * name that was asked for, with pins only those keys; and each refusal says why, and what helps.
 */
#include <netdb.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <event2/event.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "common/file.h"
#include "http/connection.h"
#include "http/http.h"
#include "http/http_listen.h"
#include "http/tls.h"
#include "http/tls_trust.h"

static char folder[64];
static uint8_t spki[SHA256_LEN]; /* of the server's key */
static char url[128];
static pid_t server;

#define TRUST_AUTO __attribute__((cleanup(tls_trust_cleanup))) struct tls_trust

static void must(struct err e)
{
    if (is_err(e))
        fail_msg("%s", err_message());
}

static const char *in_folder(struct buf *out, const char *name)
{
    buf_clear(out);
    return path_join(out, folder, name);
}

static FILE *create(const char *name)
{
    BUF_AUTO path = BUF_INIT;
    FILE *f = fopen(in_folder(&path, name), "w");
    assert_non_null(f);
    return f;
}

static void extend(X509 *x, int nid, const char *value)
{
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
    assert_non_null(e);
    X509_add_ext(x, e, -1);
    X509_EXTENSION_free(e);
}

/* A certificate in `<name>.pem` and its key in `<name>.key`; `ca` NULL: signed by itself. */
struct pair {
    X509 *certificate;
    EVP_PKEY *key;
};

static struct pair make(const char *name, const struct pair *ca, const char *names, long days)
{
    BUF_AUTO path = BUF_INIT;
    struct pair p = {X509_new(), EVP_EC_gen("P-256")};
    X509_set_version(p.certificate, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(p.certificate), (long)strlen(name) + days);
    X509_gmtime_adj(X509_getm_notBefore(p.certificate), -400L * 86400);
    X509_gmtime_adj(X509_getm_notAfter(p.certificate), days * 86400);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(p.certificate), "CN", MBSTRING_ASC,
                               (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(p.certificate,
                         X509_get_subject_name(ca != NULL ? ca->certificate : p.certificate));
    X509_set_pubkey(p.certificate, p.key);
    extend(p.certificate, NID_basic_constraints, ca == NULL ? "critical,CA:TRUE" : "CA:FALSE");
    if (names != NULL)
        extend(p.certificate, NID_subject_alt_name, names);
    assert_true(X509_sign(p.certificate, ca != NULL ? ca->key : p.key, EVP_sha256()) > 0);
    buf_printf(&path, "%s.pem", name);
    FILE *f = create(buf_str(&path));
    PEM_write_X509(f, p.certificate);
    fclose(f);
    buf_clear(&path);
    buf_printf(&path, "%s.key", name);
    f = create(buf_str(&path));
    fchmod(fileno(f), 0600);
    PEM_write_PrivateKey(f, p.key, NULL, NULL, 0, NULL, NULL);
    fclose(f);
    return p;
}

static void pair_free(struct pair p)
{
    X509_free(p.certificate);
    EVP_PKEY_free(p.key);
}

static void on_hello(struct http_exchange *x, void *context)
{
    (void)context;
    http_reply(x, 200, "text/plain", bytes_of_str("hello"));
}

static const struct http_route routes[] = {{"/hello", HTTP_GET, "", on_hello}, {0}};

static void serve(int fd, SSL_CTX *tls)
{
    struct http_server *http;
    struct event_base *base = event_base_new();
    if (is_err(http_server_new(&http, base, tls, routes, NULL, HTTP_DEADLINES_DEFAULT)) ||
        is_err(http_server_accept(http, fd)))
        _exit(1);
    event_base_dispatch(base);
    _exit(0);
}

/* The server has the certificate `name`. */
static void start(const char *name)
{
    BUF_AUTO certificate = BUF_INIT;
    BUF_AUTO key = BUF_INIT;
    BUF_AUTO text = BUF_INIT;
    struct tls_identity identity;
    int fd = -1;
    buf_printf(&certificate, "%s/%s.pem", folder, name);
    buf_printf(&key, "%s/%s.key", folder, name);
    must(tls_identity_load(&identity, buf_str(&certificate), buf_str(&key)));
    memcpy(spki, identity.spki_sha256, SHA256_LEN);
    must(http_bind(&fd, ":0"));
    must(http_listen(fd));
    http_url(&text, fd);
    snprintf(url, sizeof url, "%s", buf_str(&text));
    server = fork();
    assert_true(server >= 0);
    if (server == 0)
        serve(fd, identity.context);
    close(fd);
    tls_identity_cleanup(&identity);
}

static void end(void)
{
    kill(server, SIGKILL);
    waitpid(server, NULL, 0);
}

/* One request under that trust. */
static struct err greet(const struct tls_trust *trust)
{
    CONNECTION_AUTO *c = NULL;
    ANSWER_AUTO answer = ANSWER_INIT;
    struct url u;
    const struct connection_limits limits = {10, 10, 10};
    must(url_parse(&u, url));
    must(connection_open(&c, &u, &limits));
    connection_trust(c, trust);
    const struct request r = {.path = "/hello", .max = 100};
    TRY(connection_request(c, &answer, &r));
    assert_int_equal(answer.status, 200);
    return err_ok();
}

static void greets(const char *ca, bool pinned)
{
    TRUST_AUTO trust = TLS_TRUST_INIT;
    BUF_AUTO path = BUF_INIT;
    BUF_AUTO hex = BUF_INIT;
    buf_append_hex(&hex, bytes_of(spki, SHA256_LEN));
    if (ca != NULL)
        must(tls_trust_load(&trust, in_folder(&path, ca)));
    if (pinned)
        must(tls_trust_pin(&trust, buf_str(&hex)));
    must(greet(&trust));
}

static void is_refused(const char *ca, const char *pin, const char *part)
{
    TRUST_AUTO trust = TLS_TRUST_INIT;
    BUF_AUTO path = BUF_INIT;
    if (ca != NULL)
        must(tls_trust_load(&trust, in_folder(&path, ca)));
    if (pin != NULL)
        must(tls_trust_pin(&trust, pin));
    struct err e = greet(&trust);
    assert_int_equal(e.code, ERR_IO);
    if (strstr(err_message(), part) == NULL || strstr(err_message(), "127.0.0.1:") == NULL)
        fail_msg("'%s', not '%s'", err_message(), part);
}

#define ZERO_PIN "0000000000000000000000000000000000000000000000000000000000000000"

static void a_certificate_of_the_ca_for_the_name_is_taken(void **state)
{
    (void)state;
    start("good");
    greets("ca.pem", false);
    greets("both.pem", false); /* one of several */
    greets("ca.pem", true);
    greets(NULL, true);
    must(greet(NULL));
    end();
}

static void another_ca_or_key_is_refused(void **state)
{
    (void)state;
    start("good");
    is_refused("other.pem", NULL, "its certificate is not believed (unable to get local issuer");
    is_refused("other.pem", NULL, "give the bundle of the CA that issued it");
    is_refused(NULL, ZERO_PIN, "is not the pinned one");
    is_refused("ca.pem", ZERO_PIN, "is not the pinned one");
    TRUST_AUTO trust = TLS_TRUST_INIT; /* a right pin makes no wrong CA right */
    BUF_AUTO path = BUF_INIT;
    BUF_AUTO hex = BUF_INIT;
    buf_append_hex(&hex, bytes_of(spki, SHA256_LEN));
    must(tls_trust_load(&trust, in_folder(&path, "other.pem")));
    must(tls_trust_pin(&trust, buf_str(&hex)));
    assert_int_equal(greet(&trust).code, ERR_IO);
    end();
}

static void another_name_or_a_past_date_is_refused(void **state)
{
    (void)state;
    start("stranger");
    is_refused("ca.pem", NULL, "IP address mismatch");
    end();
    start("past");
    is_refused("ca.pem", NULL, "certificate has expired");
    greets(NULL, true); /* who pins a key asks for no dates */
    end();
    start("self");
    is_refused("ca.pem", NULL, "self-signed certificate");
    end();
}

static bool localhost_resolves(void)
{
    struct addrinfo *found = NULL;
    bool ok = getaddrinfo("localhost", NULL, NULL, &found) == 0;
    if (ok)
        freeaddrinfo(found);
    return ok;
}

static void the_host_name_is_what_the_url_says(void **state)
{
    (void)state;
    if (!localhost_resolves())
        skip(); /* a system without /etc/hosts */
    TRUST_AUTO trust = TLS_TRUST_INIT;
    BUF_AUTO path = BUF_INIT;
    must(tls_trust_load(&trust, in_folder(&path, "ca.pem")));
    start("good");
    char *port = strrchr(url, ':'), named[64];
    snprintf(named, sizeof named, "https://localhost%s", port);
    snprintf(url, sizeof url, "%s", named);
    must(greet(&trust)); /* it is of both */
    end();
    start("stranger");
    snprintf(named, sizeof named, "https://localhost%s", strrchr(url, ':'));
    snprintf(url, sizeof url, "%s", named);
    struct err e = greet(&trust);
    assert_int_equal(e.code, ERR_IO);
    assert_non_null(strstr(err_message(), "hostname mismatch"));
    end();
}

static void a_bundle_that_is_none_is_refused(void **state)
{
    (void)state;
    TRUST_AUTO trust = TLS_TRUST_INIT;
    BUF_AUTO path = BUF_INIT;
    assert_int_equal(tls_trust_load(&trust, in_folder(&path, "absent.pem")).code, ERR_NOT_FOUND);
    assert_int_equal(tls_trust_load(&trust, in_folder(&path, "good.key")).code, ERR_MALFORMED);
    FILE *f = create("damaged.pem");
    BUF_AUTO good = BUF_INIT;
    must(file_read(&good, in_folder(&path, "ca.pem"), 65536));
    fwrite(good.data, 1, good.len, f);
    fprintf(f, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    fclose(f);
    assert_int_equal(tls_trust_load(&trust, in_folder(&path, "damaged.pem")).code, ERR_MALFORMED);
    assert_non_null(strstr(err_message(), "certificate 2 is damaged"));
    assert_null(trust.roots);
    assert_int_equal(tls_trust_pin(&trust, "00").code, ERR_MALFORMED);
    assert_int_equal(tls_trust_pin(&trust, "A" ZERO_PIN).code, ERR_MALFORMED);
    for (int i = 0; i < TLS_TRUST_PINS_MAX; i++)
        must(tls_trust_pin(&trust, ZERO_PIN));
    assert_int_equal(tls_trust_pin(&trust, ZERO_PIN).code, ERR_LIMIT);
}

static void a_key_that_others_may_read_is_not_used(void **state)
{
    (void)state;
    BUF_AUTO certificate = BUF_INIT;
    BUF_AUTO key = BUF_INIT;
    BUF_AUTO other = BUF_INIT;
    struct tls_identity t;
    in_folder(&certificate, "good.pem");
    in_folder(&key, "good.key");
    in_folder(&other, "past.key");
    assert_int_equal(tls_identity_load(&t, buf_str(&certificate), buf_str(&other)).code, ERR_IO);
    assert_int_equal(tls_identity_load(&t, buf_str(&key), buf_str(&key)).code, ERR_IO);
    assert_int_equal(chmod(buf_str(&key), 0640), 0);
    assert_int_equal(tls_identity_load(&t, buf_str(&certificate), buf_str(&key)).code, ERR_USAGE);
    assert_non_null(strstr(err_message(), "chmod 600"));
    assert_int_equal(chmod(buf_str(&key), 0600), 0);
}

static int make_all(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/tls-trust-XXXXXX");
    if (mkdtemp(folder) == NULL)
        return -1;
    struct pair ca = make("ca", NULL, NULL, 100), other = make("other", NULL, NULL, 100);
    pair_free(make("good", &ca, "IP:127.0.0.1,DNS:localhost", 100));
    pair_free(make("stranger", &ca, "IP:127.0.0.2,DNS:elsewhere.example", 100));
    pair_free(make("past", &ca, "IP:127.0.0.1", -1));
    pair_free(make("self", NULL, "IP:127.0.0.1", 100));
    FILE *f = create("both.pem");
    PEM_write_X509(f, other.certificate);
    fprintf(f, "\na remark\n");
    PEM_write_X509(f, ca.certificate);
    fclose(f);
    pair_free(ca);
    pair_free(other);
    return 0;
}

static int remove_all(void **state)
{
    (void)state;
    char command[100];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_certificate_of_the_ca_for_the_name_is_taken),
        cmocka_unit_test(another_ca_or_key_is_refused),
        cmocka_unit_test(another_name_or_a_past_date_is_refused),
        cmocka_unit_test(the_host_name_is_what_the_url_says),
        cmocka_unit_test(a_bundle_that_is_none_is_refused),
        cmocka_unit_test(a_key_that_others_may_read_is_not_used),
    };
    return cmocka_run_group_tests(tests, make_all, remove_all);
}
