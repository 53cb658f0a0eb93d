/* The address of a host is https, a host and a port, and nothing more. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "http/url.h"

static void takes_hosts_and_ports(void **state)
{
    (void)state;
    static const struct {
        const char *text, *host, *authority;
        int port;
    } cases[] = {
        {"https://example.org", "example.org", "example.org:443", 443},
        {"https://example.org/", "example.org", "example.org:443", 443},
        {"https://127.0.0.1:8443", "127.0.0.1", "127.0.0.1:8443", 8443},
        {"https://[::1]:8443", "::1", "[::1]:8443", 8443},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct url url;
        assert_int_equal(url_parse(&url, cases[i].text).code, ERR_NONE);
        assert_string_equal(url.host, cases[i].host);
        assert_string_equal(url.authority, cases[i].authority);
        assert_int_equal(url.port, cases[i].port);
    }
}

static void refuses_everything_else(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "example.org",
        "http://example.org",
        "HTTPS//example.org",
        "https://",
        "https:///path",
        "https://example.org/path",
        "https://example.org?query",
        "https://example.org/#fragment",
        "https://user@example.org",
        "https://example.org:0",
        "https://example.org:65536",
        "https://example.org:port",
        "https://exa mple.org",
        "https://example.org\r\nX: y",
        "https://[::1",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct url url;
        if (url_parse(&url, texts[i]).code != ERR_USAGE)
            fail_msg("'%s' was taken", texts[i]);
    }
}

static void a_prefix_is_a_path_without_its_last_slash(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"https://example.org", ""},
        {"https://example.org/", ""},
        {"https://example.org/witness/one", "/witness/one"},
        {"https://example.org:8445/w//", "/w"},
    };
    char prefix[URL_PREFIX_MAX + 1], longer[400];
    struct url url;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_false(is_err(url_parse_prefix(&url, prefix, cases[i][0])));
        assert_string_equal(prefix, cases[i][1]);
        assert_string_equal(url.host, "example.org");
    }
    static const char *const bad[] = {"http://example.org/w", "https://example.org/w?q", "/w", ""};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(url_parse_prefix(&url, prefix, bad[i]).code, ERR_USAGE);
    memset(longer, 'a', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    memcpy(longer, "https://e.org/", 14);
    assert_int_equal(url_parse_prefix(&url, prefix, longer).code, ERR_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_hosts_and_ports),
        cmocka_unit_test(refuses_everything_else),
        cmocka_unit_test(a_prefix_is_a_path_without_its_last_slash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
