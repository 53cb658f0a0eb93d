/*
 * How often one address may ask for what is dear, and all together: token buckets. One address has
 * less than all have, so that no one uses up what others need. Pure; for one thread.
 */
#ifndef HTTP_HTTP_RATES_H
#define HTTP_HTTP_RATES_H

#include <stddef.h>

#include "common/err.h"
#include "http/http_address.h"

struct rate_bucket {
    double tokens; /* that may come now */
    uint64_t last_ms;
};
struct rate {
    double per_s, most; /* it fills with so many a second, up to so many */
};
/* Takes n tokens, if they are there. `now_ms` is a steady clock. */
bool rate_take(struct rate_bucket *b, struct rate rate, double n, uint64_t now_ms);

enum { HTTP_RATES_ADDRESSES_MAX = 1024 }; /* that are counted at a time: the newest */

struct http_rates;
/* A new address begins with a full bucket; all together as well. */
struct err http_rates_new(struct http_rates **out, struct rate each, struct rate all) MUST_USE;
void http_rates_free(struct http_rates *r);

enum http_rated { HTTP_RATED_WELL, HTTP_RATED_ADDRESS, HTTP_RATED_ALL };
/* Counts one, and tells whether, and whose, rate is over. */
enum http_rated http_rates_count(struct http_rates *r, const struct http_address *from,
                                 uint64_t now_ms);

#endif
