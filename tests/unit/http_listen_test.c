#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>
#include <unistd.h>

#include "http/http_listen.h"

static void binds_any_free_port(void **state)
{
    (void)state;
    int fd;
    BUF_AUTO url = BUF_INIT;
    assert_false(is_err(http_bind(&fd, ":0")));
    http_url(&url, fd);
    assert_int_equal(strncmp(buf_str(&url), "https://127.0.0.1:", 18), 0);
    assert_string_not_equal(buf_str(&url) + 18, "0");
    close(fd);
}

static void refuses_a_port_that_is_taken(void **state)
{
    (void)state;
    int first, second = -1;
    BUF_AUTO url = BUF_INIT;
    assert_false(is_err(http_bind(&first, "127.0.0.1:0")));
    assert_false(is_err(http_listen(first)));
    http_url(&url, first);
    const char *address = buf_str(&url) + strlen("https://");
    assert_int_equal(http_bind(&second, address).code, ERR_BUSY);
    assert_int_equal(second, -1);
    assert_non_null(strstr(err_message(), address));
    close(first);
}

static void refuses_what_is_no_address(void **state)
{
    (void)state;
    static const char *const wrong[] = {"",    "x",        "127.0.0.1", ":x",    ":70000", "h:1",
                                        ":-1", "1.2.3:1",  "::1:5",     "[::1]", ":+1",    ": 1",
                                        ":1 ", "1.2.3.4:", "[::1]5",    "[::1:5"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        int fd = -1;
        struct err e = http_bind(&fd, wrong[i]);
        if (!is_err(e))
            print_error("accepted: %s\n", wrong[i]);
        assert_true(is_err(e));
        assert_int_equal(fd, -1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(binds_any_free_port),
        cmocka_unit_test(refuses_a_port_that_is_taken),
        cmocka_unit_test(refuses_what_is_no_address),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
