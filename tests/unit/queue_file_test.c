/* The queue's file has one form, and another is refused with its line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "server/queue_file.h"

#define H "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define HEAD                                                                                       \
    "blindllama-queue/v1\nlog "                                                                    \
    "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k\n"

static struct err parse(struct queue_file *q, const char *text)
{
    return queue_file_parse(q, bytes_of_str(text));
}

static void reads_what_it_has_written(void **state)
{
    (void)state;
    static const char *const texts[] = {
        HEAD,
        HEAD "logged 0 " H "\n",
        HEAD "waiting 1700000000 " H "\n",
        HEAD "refused 1700000000 " H " r\n",
        HEAD "logged 7 " H "\nrefused 0 " H " a reason, of words: 422\nwaiting 1 " H "\n",
        HEAD "logged 7 " H "\nlogged 9223372036854775807 " H "\nwaiting 0 " H "\nwaiting 1 " H "\n",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct queue_file q;
        BUF_AUTO again = BUF_INIT;
        assert_false(is_err(parse(&q, texts[i])));
        queue_file_format(&again, &q);
        assert_string_equal(buf_str(&again), texts[i]);
    }
}

static void refuses_every_other_form(void **state)
{
    (void)state;
    static const struct {
        const char *text, *reason;
    } flaws[] = {
        {"", "line 1"},
        {"blindllama-queue/v2\nlog x\n", "line 1"},
        {"blindllama-queue/v1", "line 1"},
        {"blindllama-queue/v1\n", "line 2"},
        {"blindllama-queue/v1\nlog \n", "line 2"},
        {"blindllama-queue/v1\nlog x", "line 2"},
        {HEAD "logged 0 " H, "line 3: it does not end"},
        {HEAD "logged 0  " H "\n", "line 3"},
        {HEAD "logged 00 " H "\n", "line 3"},
        {HEAD "logged -1 " H "\n", "line 3"},
        {HEAD "logged 9223372036854775808 " H "\n", "line 3"},
        {HEAD "logged " H "\n", "line 3"},
        {HEAD "logged 0 00\n", "line 3"},
        {HEAD "logged 0 " H " \n", "line 3"},
        {HEAD "Logged 0 " H "\n", "line 3: none of"},
        {HEAD "\n", "line 3: none of"},
        {HEAD "waiting 0 " H "x\n", "line 3: more than a hash"},
        {HEAD "refused 0 " H "\n", "line 3: no reason"},
        {HEAD "refused 0 " H " \n", "line 3: the reason has"},
        {HEAD "refused 0 " H " a\tb\n", "line 3: the reason is printable"},
        {HEAD "refused 0 " H " \xc3\xa4\n", "line 3: the reason is printable"},
        {HEAD "refused " H " a\n", "line 3"},
        {HEAD "waiting 0 " H "\nrefused 0 " H " a\n", "line 4: a line too many, or out of order"},
        {HEAD "refused 0 " H " a\nlogged 0 " H "\n", "line 4: a line too many, or out of order"},
        {HEAD "waiting 0 " H "\nlogged 0 " H "\n", "line 4: a line too many, or out of order"},
        {HEAD "logged 0 " H "\nlogged 1 " H "\nlogged 2 " H "\nlogged 3 " H "\nlogged 4 " H "\n",
         "line 7: a line too many"},
    };
    for (size_t i = 0; i < sizeof flaws / sizeof *flaws; i++) {
        struct queue_file q;
        struct err e = parse(&q, flaws[i].text);
        assert_true(e.code == ERR_MALFORMED || e.code == ERR_LIMIT);
        if (strstr(err_message(), flaws[i].reason) == NULL)
            fail_msg("flaw %zu: %s, not %s", i, err_message(), flaws[i].reason);
    }
}

static void holds_64_that_wait(void **state)
{
    (void)state;
    struct queue_file q;
    BUF_AUTO text = BUF_INIT;
    buf_append_str(&text, HEAD);
    for (int i = 0; i < QUEUE_WAITING_MAX; i++)
        buf_append_str(&text, "waiting 1 " H "\n");
    assert_false(is_err(queue_file_parse(&q, buf_bytes(&text))));
    assert_int_equal(q.n_waiting, 64);
    buf_append_str(&text, "waiting 1 " H "\n");
    assert_int_equal(queue_file_parse(&q, buf_bytes(&text)).code, ERR_LIMIT);
    while (text.len <= QUEUE_FILE_MAX)
        buf_append_str(&text, "waiting 1 " H "\n");
    assert_int_equal(queue_file_parse(&q, buf_bytes(&text)).code, ERR_LIMIT);
}

static void holds_16_that_were_refused(void **state)
{
    (void)state;
    struct queue_file q;
    BUF_AUTO text = BUF_INIT;
    BUF_AUTO longer = BUF_INIT;
    char reason[QUEUE_REASON_MAX + 2] = "";
    memset(reason, 'x', QUEUE_REASON_MAX);
    buf_append_str(&text, HEAD);
    for (int i = 0; i < QUEUE_REFUSED_MAX; i++)
        buf_printf(&text, "refused 1 " H " %s\n", reason);
    assert_false(is_err(queue_file_parse(&q, buf_bytes(&text))));
    assert_int_equal(q.n_refused, 16);
    buf_append_str(&text, "refused 1 " H " x\n");
    assert_int_equal(queue_file_parse(&q, buf_bytes(&text)).code, ERR_MALFORMED);
    reason[QUEUE_REASON_MAX] = 'x';
    buf_printf(&longer, HEAD "refused 1 " H " %s\n", reason);
    assert_int_equal(queue_file_parse(&q, buf_bytes(&longer)).code, ERR_MALFORMED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(holds_16_that_were_refused),
        cmocka_unit_test(reads_what_it_has_written),
        cmocka_unit_test(refuses_every_other_form),
        cmocka_unit_test(holds_64_that_wait),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
