#include "server/publisher.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "common/file.h"
#include "http/url.h"
#include "publish/witness_link.h"
#include "server/publisher_log.h"
#include "server/sandbox.h"

struct publisher {
    const struct publisher_options *options;
    int channel;
    pthread_mutex_t sending; /* the links' threads share the channel */
    struct witness_link *links[TLOG_POLICY_WITNESSES_MAX];
    bool closed; /* the attester has ended, or asked for our end */
};

/* Whose checkpoints are believed; the service asks their witnesses itself. */
static struct err check_service(const struct publisher_options *o)
{
    struct url url;
    char prefix[URL_PREFIX_MAX + 1];
    TRY(url_parse_prefix(&url, prefix, o->log_url));
    if (o->witnesses->n_logs == 1)
        return err_ok();
    return err_set(ERR_USAGE, "it names %zu logs: name the service's own with one line 'log KEY'",
                   o->witnesses->n_logs);
}

struct err publisher_check_options(const struct publisher_options *o)
{
    const struct tlog_policy *p = o->witnesses;
    if (o->log_url != NULL)
        return check_service(o);
    if (p->quorum == TLOG_POLICY_NONE)
        return err_set(ERR_USAGE, "its quorum is none: name witnesses that must cosign");
    for (size_t i = 0; i < p->n_witnesses; i++) {
        struct url url;
        char prefix[URL_PREFIX_MAX + 1];
        const struct tlog_policy_witness *w = &p->witnesses[i];
        if (w->url == NULL)
            return err_set(ERR_USAGE, "witness '%s' has no URL, so it cannot be asked", w->name);
        TRY(err_context(url_parse_prefix(&url, prefix, w->url), "witness '%s'", w->name));
    }
    return err_ok();
}

/* An attester that does not listen any more is found by the main thread. */
static void tell(struct publisher *p, uint32_t type, const struct buf *payload)
{
    pthread_mutex_lock(&p->sending);
    struct err e = channel_send(p->channel, type, 0, buf_bytes(payload));
    (void)e;
    pthread_mutex_unlock(&p->sending);
}

/* On the link's thread. */
static void take_result(void *context, struct witness_result *result)
{
    struct publisher *p = context;
    BUF_AUTO payload = BUF_INIT;
    if (is_err(result->e)) {
        bool alarm = result->e.code == ERR_UNTRUE;
        fprintf(stderr, "blindllama-server: %s%s\n", alarm ? "ALARM: " : "", result->message);
        buf_append_u8(&payload, alarm);
        buf_append_str(&payload, result->message);
        tell(p, CHANNEL_TROUBLE, &payload);
    } else {
        buf_append_u64be(&payload, result->line.size);
        buf_append(&payload, result->witness->key.public_key, ED25519_PUBLIC_LEN);
        buf_append_bytes(&payload, buf_bytes(&result->line.line));
        tell(p, CHANNEL_COSIGNED, &payload);
    }
    buf_cleanup(&result->line.line);
}

/* All files are opened before the sandbox, and nothing is asked before it. */
static struct err open_links(struct publisher *p)
{
    const struct tlog_policy *policy = p->options->witnesses;
    BUF_AUTO db = BUF_INIT;
    path_join(&db, p->options->state_dir, "log.db");
    for (size_t i = 0; i < policy->n_witnesses; i++)
        TRY(witness_link_open(&p->links[i], buf_str(&db), &policy->witnesses[i], take_result, p));
    TRY(sandbox_enter(SANDBOX_PUBLISHER));
    for (size_t i = 0; i < policy->n_witnesses; i++)
        TRY(witness_link_start(p->links[i]));
    return err_ok();
}

static struct err on_grown(struct publisher *p, struct bytes payload)
{
    struct reader r = reader_of(payload);
    uint64_t size = read_u64be(&r);
    if (!reader_done(&r))
        return err_set(ERR_MALFORMED, "channel: a size is 8 bytes");
    if (p->links[0] == NULL)
        TRY(open_links(p));
    for (size_t i = 0; i < p->options->witnesses->n_witnesses; i++)
        witness_link_wake(p->links[i], size);
    return err_ok();
}

static struct err take_frame(struct publisher *p)
{
    BUF_AUTO memory = BUF_INIT;
    struct channel_frame f;
    struct err e = channel_receive(p->channel, &f, &memory);
    if (is_err(e) || f.type == CHANNEL_END) { /* the attester says itself why it ended */
        p->closed = true;
        return err_ok();
    }
    if (f.type != CHANNEL_GROWN)
        return err_set(ERR_MALFORMED, "channel: the attester sent a frame of type %u", f.type);
    return on_grown(p, f.payload);
}

static struct err run_for_service(const struct publisher_options *options, int channel_fd)
{
    struct log_client *client;
    TRY(log_client_open(&client, options->log_url, options->log_trust));
    struct err e = sandbox_enter(SANDBOX_PUBLISHER);
    if (!is_err(e))
        e = publisher_log_run(client, channel_fd);
    log_client_close(client);
    return e;
}

/* The links' threads are left to the end of the process: one may wait for a witness, and none holds
 * what must be let go of in order. */
struct err publisher_run(const struct publisher_options *options, int channel_fd)
{
    if (options->log_url != NULL)
        return run_for_service(options, channel_fd);
    static struct publisher p; /* the threads outlive this call */
    p = (struct publisher){.options = options, .channel = channel_fd};
    pthread_mutex_init(&p.sending, NULL);
    while (!p.closed)
        TRY(take_frame(&p));
    return err_ok();
}
