#include "http/http_rates.h"

#include <stdlib.h>

struct address_rate {
    struct http_address address;
    bool used;
    struct rate_bucket bucket;
};

struct http_rates {
    struct rate each, all;
    struct rate_bucket together;
    struct address_rate addresses[HTTP_RATES_ADDRESSES_MAX];
};

bool rate_take(struct rate_bucket *b, struct rate rate, double n, uint64_t now_ms)
{
    b->tokens += (double)(now_ms - b->last_ms) / 1000 * rate.per_s;
    b->last_ms = now_ms;
    if (b->tokens > rate.most)
        b->tokens = rate.most;
    if (b->tokens < n)
        return false;
    b->tokens -= n;
    return true;
}

struct err http_rates_new(struct http_rates **out, struct rate each, struct rate all)
{
    struct http_rates *r = calloc(1, sizeof *r);
    if (r == NULL)
        return err_set(ERR_MEMORY, "out of memory for rates");
    r->each = each;
    r->all = all;
    r->together.tokens = all.most;
    *out = r;
    return err_ok();
}

void http_rates_free(struct http_rates *r)
{
    free(r);
}

/* That of the address, or for a new one that which nobody has used for longest. */
static struct rate_bucket *bucket_of(struct http_rates *r, const struct http_address *from,
                                     uint64_t now_ms)
{
    struct address_rate *oldest = &r->addresses[0];
    for (size_t i = 0; i < HTTP_RATES_ADDRESSES_MAX; i++) {
        struct address_rate *a = &r->addresses[i];
        if (a->used && http_address_equal(&a->address, from))
            return &a->bucket;
        if (oldest->used && (!a->used || a->bucket.last_ms < oldest->bucket.last_ms))
            oldest = a;
    }
    *oldest =
        (struct address_rate){.address = *from, .used = true, .bucket = {r->each.most, now_ms}};
    return &oldest->bucket;
}

enum http_rated http_rates_count(struct http_rates *r, const struct http_address *from,
                                 uint64_t now_ms)
{
    if (!rate_take(bucket_of(r, from, now_ms), r->each, 1, now_ms))
        return HTTP_RATED_ADDRESS;
    return rate_take(&r->together, r->all, 1, now_ms) ? HTTP_RATED_WELL : HTTP_RATED_ALL;
}
