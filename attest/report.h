/*
 * Text for terminals: what hostile evidence says never reaches one as anything but printable ASCII.
 */
#ifndef ATTEST_REPORT_H
#define ATTEST_REPORT_H

#include "common/buf.h"
#include "transparency/tlog_policy.h"

enum { REPORT_COLUMNS = 110 };

/* Copies at most size - 1 characters; bytes that are not printable ASCII become '?'. */
void report_clean(char *out, size_t size, const char *text);

/* Appends `text`, whose first line begins at column `first` of a line already begun, broken at
 * spaces to REPORT_COLUMNS and indented by `indent` from the second line on; ends in a newline. A
 * word that is longer than a line is cut hard. */
void report_wrap(struct buf *out, size_t first, size_t indent, const char *text);

/* The first `n` bytes as hex, then ".." if they are fewer than a hash has. `out` holds 2 * n + 3.
 * Returns it. */
const char *report_short(char *out, const uint8_t *data, size_t n);

/* A duration for people: "850 ms", "12.5 s", "3 h 07 min", "2 d 4 h". Returns `out`. */
const char *report_duration(char out[32], uint64_t ms);

/* The PCRs 0 to 15 whose bits are set: "4, 8, 9". */
void report_pcrs(char out[64], uint16_t pcrs);

/* A list of sentences, as verdicts hold them; appending past `max` is our bug. */
struct report_list {
    char (*texts)[256];
    size_t *n, max;
};
void report_add(const struct report_list *list, const char *format, ...) PRINTF_LIKE(2, 3);
/* What events that are all allowed do not say; `pcrs` as by report_pcrs. */
void report_add_events(const struct report_list *list, const char *pcrs);
/* What is not known of GPUs; nothing where the CPU computes (`gpu` is false) and none is named.
 * `n`: that boot statements name; `proven`: to be protected. */
void report_add_gpus(const struct report_list *list, bool gpu, size_t n, bool proven);
/* What no verdict proves, whatever the evidence. */
void report_add_limits(const struct report_list *list);
/* Who has cosigned, for the list of what is proven; nothing under `quorum none`. */
void report_add_witnessed(const struct report_list *list, const struct tlog_policy *p,
                          const struct tlog_witnessed *w);
/* What cosignatures do not prove, or what their lack does not. */
void report_add_split_view(const struct report_list *list, const struct tlog_policy *p);

#endif
