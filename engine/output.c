#include "engine/output.h"

#include <stdlib.h>
#include <string.h>

#include "common/text.h"
#include "engine/engine.h"

static struct err check_stop(const char *stop)
{
    size_t len = stop != NULL ? strlen(stop) : 0;
    if (len == 0 || len > ENGINE_STOP_LEN_MAX)
        return err_set(ERR_USAGE, "a stop string has %zu bytes; it must have 1 to %d", len,
                       ENGINE_STOP_LEN_MAX);
    if (!utf8_valid(bytes_of(stop, len)))
        return err_set(ERR_USAGE, "a stop string is not UTF-8");
    return err_ok();
}

struct err output_init(struct output *o, const char *const *stops, size_t n_stops)
{
    if (n_stops > ENGINE_STOP_MAX)
        return err_set(ERR_USAGE, "%zu stop strings; at most %d are allowed", n_stops,
                       ENGINE_STOP_MAX);
    for (size_t i = 0; i < n_stops; i++)
        TRY(check_stop(stops[i]));
    struct output made = {.stops = calloc(n_stops + 1, sizeof *made.stops)};
    if (made.stops == NULL)
        return err_set(ERR_MEMORY, "no memory for stop strings");
    for (; made.n_stops < n_stops; made.n_stops++) {
        made.stops[made.n_stops] = strdup(stops[made.n_stops]);
        if (made.stops[made.n_stops] == NULL) {
            output_cleanup(&made);
            return err_set(ERR_MEMORY, "no memory for stop strings");
        }
    }
    *o = made;
    return err_ok();
}

void output_cleanup(struct output *o)
{
    for (size_t i = 0; i < o->n_stops; i++) {
        explicit_bzero(o->stops[i], strlen(o->stops[i]));
        free(o->stops[i]);
    }
    free(o->stops);
    buf_cleanup_secret(&o->held);
    *o = (struct output){0};
}

/* The longest stop string that ends at `end` of the held text; 0 if none does. */
static size_t stop_ending_at(const struct output *o, size_t end)
{
    size_t longest = 0;
    for (size_t i = 0; i < o->n_stops; i++) {
        size_t len = strlen(o->stops[i]);
        if (len <= end && len > longest && memcmp(o->held.data + end - len, o->stops[i], len) == 0)
            longest = len;
    }
    return longest;
}

/* How many of the last held bytes begin some stop string. */
static size_t held_back(const struct output *o)
{
    size_t longest = 0;
    for (size_t i = 0; i < o->n_stops; i++) {
        size_t len = strlen(o->stops[i]);
        size_t most = len - 1 < o->held.len ? len - 1 : o->held.len;
        for (size_t n = most; n > longest; n--)
            if (memcmp(o->held.data + o->held.len - n, o->stops[i], n) == 0)
                longest = n;
    }
    return longest;
}

bool output_push(struct output *o, struct bytes text, struct buf *out)
{
    if (o->n_stops == 0) {
        buf_append_bytes(out, text);
        return false;
    }
    size_t before = o->held.len;
    buf_append_bytes(&o->held, text);
    for (size_t end = before + 1; end <= o->held.len; end++) {
        size_t len = stop_ending_at(o, end);
        if (len > 0) {
            buf_append(out, o->held.data, end - len);
            explicit_bzero(o->held.data, o->held.len);
            buf_clear(&o->held);
            return true;
        }
    }
    size_t keep = held_back(o), show = o->held.len - keep;
    buf_append(out, o->held.data, show);
    if (keep > 0)
        memmove(o->held.data, o->held.data + show, keep);
    o->held.len = keep;
    return false;
}

void output_finish(struct output *o, struct buf *out)
{
    buf_append_bytes(out, buf_bytes(&o->held));
    buf_clear(&o->held);
}
