#include "logservice/service_state.h"

#include <stdlib.h>
#include <string.h>

static const struct http_route routes[] = {
    {"/checkpoint", HTTP_GET, "/checkpoint", service_checkpoint},
    {"/tile/", HTTP_GET, "/tile", service_tile},
    {"/blob/", HTTP_GET, "/blob", service_blob},
    {"/proof/", HTTP_GET, "/proof", service_proof},
    {"/submit/challenge", HTTP_POST, "/submit/challenge", service_challenge},
    {"/submit/answer", HTTP_POST, "/submit/answer", service_answer},
    {"/submit", HTTP_POST, "/submit", service_submit},
    {0},
};

void service_fail(struct service *s)
{
    serving_fail(&s->serving);
}

static void on_failed(void *context)
{
    service_fail(context);
}

static void on_grown(void *context)
{
    struct service *s = context;
    struct checkpoint newest;
    struct err e = store_checkpoint(s->log, NULL, &newest);
    if (!is_err(e))
        e = published_advance(&s->published, s->log, s->config.witnesses, newest.size);
    if (is_err(e))
        service_fail(s);
    service_wake_witnesses(s);
}

static struct err open_log(struct service *s)
{
    TRY(store_open(&s->log, s->config.db, s->config.signer));
    const struct policy *p = s->config.admission;
    if (p != NULL && strcmp(p->log_vkey, store_vkey(s->log)) != 0)
        return err_set(ERR_USAGE, "the policy is of the log %s, not of this: %s", p->log_vkey,
                       store_vkey(s->log));
    TRY(service_ask_witnesses(s));
    return published_find(&s->published, s->log, s->config.witnesses);
}

static struct err start_serving(struct service *s)
{
    s->serving.drain_s = s->config.drain_s;
    s->serving.tls_certificate = s->config.tls_certificate;
    s->serving.tls_key = s->config.tls_key;
    TRY(serving_open(&s->serving, routes, s,
                     " Try /checkpoint, /tile/0/000, /proof/0 or /blob/<hash>."));
    const struct appender_config appender = {.base = s->serving.base,
                                             .log = s->log,
                                             .published = &s->published,
                                             .quorum_wait_s = s->config.quorum_wait_s != 0
                                                                  ? s->config.quorum_wait_s
                                                                  : SERVICE_QUORUM_WAIT_S,
                                             .grown = on_grown,
                                             .failed = on_failed,
                                             .context = s};
    TRY(appender_new(&s->appender, &appender));
    TRY(sessions_new(&s->sessions, store_origin(s->log)));
    TRY(shelf_new(&s->shelf));
    return service_start_witnesses(s);
}

struct err service_open(struct service **out, const struct service_config *config)
{
    struct service *s = calloc(1, sizeof *s);
    if (s == NULL)
        return err_set(ERR_MEMORY, "out of memory for a service");
    s->config = *config;
    struct err e = open_log(s);
    if (!is_err(e))
        e = start_serving(s);
    if (is_err(e)) {
        service_free(s);
        return e;
    }
    *out = s;
    return err_ok();
}

struct err service_run(struct service *s)
{
    return serving_run(&s->serving, s->config.listen);
}

void service_free(struct service *s)
{
    if (s == NULL)
        return;
    service_stop_witnesses(s);
    serving_drop_clients(&s->serving); /* tells the appender whose clients are gone */
    appender_free(s->appender);
    sessions_free(s->sessions);
    serving_cleanup(&s->serving);
    shelf_free(s->shelf);
    published_cleanup(&s->published);
    store_close(s->log);
    free(s);
}
