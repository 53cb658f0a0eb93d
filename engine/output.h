/*
 * Stop strings over streamed text: text goes in as it is decoded, what can no longer become part of
 * a stop string comes out. The first stop string to be complete ends the answer, the longest if
 * several end at the same byte; so where the tokens were split changes nothing.
 */
#ifndef ENGINE_OUTPUT_H
#define ENGINE_OUTPUT_H

#include "common/buf.h"

struct output {
    char **stops;
    size_t n_stops;
    struct buf held; /* text that may turn out to be the beginning of a stop string */
};

/* Copies the strings; at most ENGINE_STOP_MAX, each UTF-8 of 1 to ENGINE_STOP_LEN_MAX bytes
 * (ERR_USAGE). */
struct err output_init(struct output *o, const char *const *stops, size_t n_stops) MUST_USE;
void output_cleanup(struct output *o); /* zeroes the text */

/* Appends to `out` what may be shown; true when a stop string is complete (it is not shown, nor is
 * anything after it). */
bool output_push(struct output *o, struct bytes text, struct buf *out);
/* The end without a stop string: what was held is shown. */
void output_finish(struct output *o, struct buf *out);

#endif
