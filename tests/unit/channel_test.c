/* Frames over the channel: what one side writes, the other reads; and everything else is refused.
 */
#include "server/channel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static void decodes_what_was_encoded(void **state)
{
    (void)state;
    BUF_AUTO data = BUF_INIT;
    struct channel_frame f;
    size_t used;
    channel_encode(&data, CHANNEL_QUOTE, 0x1122334455667788, bytes_of("nonce", 5));
    channel_encode(&data, CHANNEL_MEASURED, 2, (struct bytes){0});
    const uint8_t header[] = {0,    0,    0,    2,    0x11, 0x22, 0x33, 0x44,
                              0x55, 0x66, 0x77, 0x88, 0,    0,    0,    5};
    assert_memory_equal(data.data, header, sizeof header);
    assert_false(is_err(channel_decode(&f, &used, buf_bytes(&data))));
    assert_int_equal(used, CHANNEL_HEADER_LEN + 5);
    assert_int_equal(f.type, CHANNEL_QUOTE);
    assert_int_equal(f.id, 0x1122334455667788);
    assert_true(bytes_equal(f.payload, bytes_of("nonce", 5)));
    assert_false(is_err(channel_decode(&f, &used, bytes_of(data.data + used, data.len - used))));
    assert_int_equal(used, CHANNEL_HEADER_LEN);
    assert_int_equal(f.type, CHANNEL_MEASURED);
    assert_int_equal(f.payload.len, 0);
}

static void waits_for_the_rest_of_a_frame(void **state)
{
    (void)state;
    BUF_AUTO data = BUF_INIT;
    channel_encode(&data, CHANNEL_EVIDENCE, 1, bytes_of("{}", 2));
    for (size_t len = 0; len < data.len; len++) {
        struct channel_frame f = {.type = 99};
        size_t used = 7;
        uint8_t *exact = malloc(len + 1); /* so that a read beyond is seen */
        memcpy(exact, data.data, len);
        assert_false(is_err(channel_decode(&f, &used, bytes_of(exact, len))));
        assert_int_equal(used, 0);
        assert_int_equal(f.type, 99);
        free(exact);
    }
}

static void refuses_unknown_types_and_lengths_over_the_limit(void **state)
{
    (void)state;
    const uint32_t unknown[] = {0, 6, 16, 27, 30, 32, 37, 48, 54, UINT32_MAX};
    struct channel_frame f;
    size_t used;
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++) {
        BUF_AUTO data = BUF_INIT;
        buf_append_u32be(&data, unknown[i]);
        buf_append_u64be(&data, 1);
        buf_append_u32be(&data, 0);
        assert_int_equal(channel_decode(&f, &used, buf_bytes(&data)).code, ERR_MALFORMED);
    }
    const uint32_t lengths[] = {CHANNEL_PAYLOAD_MAX + 1, UINT32_MAX};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        BUF_AUTO data = BUF_INIT;
        buf_append_u32be(&data, CHANNEL_EVIDENCE);
        buf_append_u64be(&data, 1);
        buf_append_u32be(&data, lengths[i]);
        assert_int_equal(channel_decode(&f, &used, buf_bytes(&data)).code, ERR_MALFORMED);
    }
}

struct sender {
    int fd;
    struct bytes payload;
    struct err result;
};

static void *send_payload(void *context)
{
    struct sender *s = context;
    s->result = channel_send(s->fd, CHANNEL_EVIDENCE, 3, s->payload);
    return NULL;
}

static void carries_the_largest_payload(void **state)
{
    (void)state;
    int pair[2];
    pthread_t thread;
    BUF_AUTO memory = BUF_INIT;
    struct channel_frame f;
    uint8_t *large = malloc(CHANNEL_PAYLOAD_MAX + 1);
    memset(large, 'x', CHANNEL_PAYLOAD_MAX + 1);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    struct sender s = {.fd = pair[0], .payload = bytes_of(large, CHANNEL_PAYLOAD_MAX)};
    assert_int_equal(pthread_create(&thread, NULL, send_payload, &s), 0);
    assert_false(is_err(channel_receive(pair[1], &f, &memory)));
    pthread_join(thread, NULL);
    assert_false(is_err(s.result));
    assert_true(bytes_equal(f.payload, s.payload));
    struct bytes too_large = bytes_of(large, CHANNEL_PAYLOAD_MAX + 1);
    assert_int_equal(channel_send(pair[0], CHANNEL_EVIDENCE, 4, too_large).code, ERR_LIMIT);
    close(pair[0]);
    close(pair[1]);
    free(large);
}

static void tells_a_clean_end_from_a_torn_frame(void **state)
{
    (void)state;
    int pair[2];
    BUF_AUTO memory = BUF_INIT;
    BUF_AUTO data = BUF_INIT;
    struct channel_frame f;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    close(pair[0]);
    assert_int_equal(channel_receive(pair[1], &f, &memory).code, ERR_NOT_FOUND);
    /* and no signal kills who writes to a closed side */
    assert_int_equal(channel_send(pair[1], CHANNEL_MEASURED, 1, (struct bytes){0}).code, ERR_IO);
    close(pair[1]);

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    channel_encode(&data, CHANNEL_EVIDENCE, 1, bytes_of("abcdef", 6));
    assert_int_equal(write(pair[0], data.data, data.len - 1), data.len - 1);
    close(pair[0]);
    assert_int_equal(channel_receive(pair[1], &f, &memory).code, ERR_IO);
    close(pair[1]);
}

static void errors_cross_with_code_and_message(void **state)
{
    (void)state;
    BUF_AUTO payload = BUF_INIT;
    channel_error_payload(&payload, err_set(ERR_BUSY, "wait a second"));
    struct err other = err_set(ERR_IO, "something else");
    assert_true(is_err(other));
    assert_int_equal(channel_error_decode(buf_bytes(&payload)).code, ERR_BUSY);
    assert_string_equal(err_message(), "wait a second");
    assert_int_equal(channel_error_decode(bytes_of("\0\0\0\0ok", 6)).code, ERR_MALFORMED);
    assert_int_equal(channel_error_decode(bytes_of("\0\0\0\100", 4)).code, ERR_MALFORMED);
    assert_int_equal(channel_error_decode(bytes_of("\0\0", 2)).code, ERR_MALFORMED);
}

static void what_others_have_not_seen_crosses(void **state)
{
    (void)state;
    BUF_AUTO payload = BUF_INIT;
    struct publishing p = {
        .on = true, .n_waiting = 3, .since_ms = 4, .n_alarms = 5, .n_refused = 6};
    struct publishing q;
    const size_t least = 1 + 4 * 8 + 2; /* flags, numbers, a length */
    strcpy(p.refused, "a quote");
    strcpy(p.trouble, "the witness sleeps");
    publishing_encode(&payload, &p);
    assert_false(is_err(publishing_decode(&q, buf_bytes(&payload))));
    assert_true(q.on && q.n_waiting == 3 && q.since_ms == 4 && q.n_alarms == 5 && q.n_refused == 6);
    assert_string_equal(q.trouble, p.trouble);
    assert_string_equal(q.refused, p.refused);
    size_t whole = least + strlen(p.refused);
    assert_false(is_err(publishing_decode(&q, bytes_of(payload.data, whole))));
    assert_string_equal(q.trouble, "");
    for (size_t len = 0; len < whole; len++)
        assert_int_equal(publishing_decode(&q, bytes_of(payload.data, len)).code, ERR_MALFORMED);
    while (payload.len < whole + sizeof p.trouble)
        buf_append_u8(&payload, '.');
    assert_int_equal(publishing_decode(&q, buf_bytes(&payload)).code, ERR_MALFORMED);
    buf_clear(&payload);
    for (size_t i = 0; i < least - 2; i++)
        buf_append_u8(&payload, 0);
    buf_append_u16be(&payload, sizeof p.refused);
    for (size_t i = 0; i < sizeof p.refused; i++)
        buf_append_u8(&payload, '.');
    assert_int_equal(publishing_decode(&q, buf_bytes(&payload)).code, ERR_MALFORMED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decodes_what_was_encoded),
        cmocka_unit_test(waits_for_the_rest_of_a_frame),
        cmocka_unit_test(refuses_unknown_types_and_lengths_over_the_limit),
        cmocka_unit_test(carries_the_largest_payload),
        cmocka_unit_test(tells_a_clean_end_from_a_torn_frame),
        cmocka_unit_test(errors_cross_with_code_and_message),
        cmocka_unit_test(what_others_have_not_seen_crosses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
