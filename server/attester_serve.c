/*
 * The loop: frames from the front, and a periodic quote whenever one is due. Quotes that are due
 * come before requests; nonces that have arrived meanwhile are answered together.
 */
#include "server/attester_internal.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    GATHER_MS = 1,      /* a nonce waits so long for the next one ... */
    GATHER_MAX_MS = 10, /* ... and for all of them; a TPM takes longer */
    WAIT_MAX_MS = 5000, /* poll's clock stands still while the host is suspended */
};

struct input {
    struct buf bytes; /* not yet decoded */
    bool closed, stopped;
    struct nonce_request nonces[NONCES_MAX];
    size_t n_nonces;
};

uint64_t boottime_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

struct err attester_send_error(struct attester *a, uint64_t id, struct err e)
{
    BUF_AUTO payload = BUF_INIT;
    channel_error_payload(&payload, e);
    return channel_send(a->channel, CHANNEL_ERROR, id, buf_bytes(&payload));
}

static struct err handle_measure(struct attester *a, const struct channel_frame *f)
{
    __attribute__((cleanup(measurement_cleanup))) struct measurement m = {0};
    if (a->measured)
        return err_set(ERR_USAGE, "the front asked to be measured twice: one key, one process");
    struct err e = measurement_decode(&m, f->payload);
    if (!is_err(e))
        e = attester_measure(a, &m);
    if (!is_err(e))
        return channel_send(a->channel, CHANNEL_MEASURED, f->id, (struct bytes){0});
    /* The front may be told, but without a measurement there is nothing to go on with. */
    BUF_AUTO message = BUF_INIT;
    buf_append_str(&message, err_message());
    struct err told = attester_send_error(a, f->id, e);
    (void)told; /* the first error is the one that counts */
    return err_set(e.code, "%s", buf_str(&message));
}

static struct err handle_quote(struct attester *a, struct input *in, const struct channel_frame *f)
{
    if (f->payload.len != NONCE_LEN)
        return attester_send_error(a, f->id,
                                   err_set(ERR_MALFORMED, "a nonce is %d bytes", NONCE_LEN));
    if (!a->measured)
        return attester_send_error(a, f->id, err_set(ERR_BUSY, "this host is not measured yet"));
    struct nonce_request *request = &in->nonces[in->n_nonces++];
    request->id = f->id;
    memcpy(request->nonce, f->payload.data, NONCE_LEN);
    return err_ok();
}

static struct err handle_stop(struct attester *a, struct input *in, const struct channel_frame *f)
{
    struct reader r = reader_of(f->payload);
    uint32_t max_duration_s = read_u32be(&r);
    if (!reader_done(&r))
        return err_set(ERR_MALFORMED, "channel: a stop frame is 4 bytes");
    BUF_AUTO lacking = BUF_INIT;
    TRY(attester_stop(a, max_duration_s, &lacking));
    in->stopped = true;
    return channel_send(a->channel, CHANNEL_STOPPED, f->id, buf_bytes(&lacking));
}

static struct err handle(struct attester *a, struct input *in, const struct channel_frame *f)
{
    switch (f->type) {
    case CHANNEL_MEASURE:
        return handle_measure(a, f);
    case CHANNEL_QUOTE:
        return handle_quote(a, in, f);
    case CHANNEL_ACTIVATE:
        return attester_activate(a, a->channel, f->id, f->payload);
    case CHANNEL_ACTIVATION:
        return attester_take_activation(a, f->id, f->payload);
    case CHANNEL_STOP:
        return handle_stop(a, in, f);
    default:
        return err_set(ERR_MALFORMED, "channel: the front sent a frame of type %u", f->type);
    }
}

static struct err answer_batch(struct attester *a, struct input *in)
{
    if (in->n_nonces == 0)
        return err_ok();
    size_t n = in->n_nonces;
    in->n_nonces = 0;
    return attester_answer_nonces(a, in->nonces, n);
}

/* All whole frames; nonces are gathered up to the tree's limit, or to a frame that must come after.
 */
static struct err handle_frames(struct attester *a, struct input *in)
{
    size_t at = 0;
    while (!in->stopped) {
        struct channel_frame f;
        size_t used;
        TRY(channel_decode(&f, &used, bytes_of(in->bytes.data + at, in->bytes.len - at)));
        if (used == 0)
            break;
        if (f.type == CHANNEL_STOP || in->n_nonces == NONCES_MAX)
            TRY(answer_batch(a, in));
        TRY(handle(a, in, &f));
        at += used;
    }
    if (at > 0) {
        in->bytes.len -= at;
        memmove(in->bytes.data, in->bytes.data + at, in->bytes.len);
    }
    return err_ok();
}

static bool is_readable(const struct attester *a, int timeout_ms)
{
    struct pollfd channel = {.fd = a->channel, .events = POLLIN};
    return poll(&channel, 1, timeout_ms) > 0;
}

/* Frames that are there. Whoever waits with a nonce waits for the TPM most of the time: those who
 * come at the same moment get the same quote, also when they are more than the socket holds. */
static struct err take_frames(struct attester *a, struct input *in)
{
    uint64_t until_ms = boottime_ms() + GATHER_MAX_MS;
    do {
        TRY(channel_read_available(a->channel, &in->bytes, READ_AHEAD_MAX, &in->closed));
        TRY(handle_frames(a, in));
    } while (in->n_nonces > 0 && !in->stopped && !in->closed && boottime_ms() < until_ms &&
             is_readable(a, GATHER_MS));
    return in->stopped ? err_ok() : answer_batch(a, in);
}

static int wait_ms(const struct attester *a)
{
    if (!a->measured)
        return -1;
    uint64_t now = boottime_ms(), next = attester_next_ms(a);
    uint64_t left = next > now ? next - now : 0;
    return left < WAIT_MAX_MS ? (int)left : WAIT_MAX_MS;
}

static struct err serve(struct attester *a, struct input *in)
{
    while (!in->stopped && !in->closed) {
        struct pollfd channels[] = {{.fd = a->channel, .events = POLLIN},
                                    {.fd = a->publisher, .events = POLLIN}};
        if (poll(channels, 2, wait_ms(a)) < 0 && errno != EINTR)
            return err_errno("channel: cannot wait");
        if (a->measured && boottime_ms() >= a->next_quote_ms && attester_may_quote(a))
            TRY(attester_log_quote(a));
        TRY(attester_drive(a));
        TRY(attester_hear_publisher(a));
        TRY(take_frames(a, in));
    }
    if (!in->stopped)
        return err_set(ERR_IO, "the front ended without saying that it stops");
    return err_ok();
}

static void input_free(struct input **in)
{
    if (*in)
        buf_cleanup(&(*in)->bytes);
    free(*in);
}

struct err attester_serve(struct attester *a)
{
    __attribute__((cleanup(input_free))) struct input *in = calloc(1, sizeof *in);
    if (!in)
        return err_set(ERR_MEMORY, "out of memory for the channel");
    return serve(a, in);
}
