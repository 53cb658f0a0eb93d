/*
 * What all benchmarks share: the values of rounds, their medians, the table that is printed and the
 * same figures as JSON.
 *
 * Things that are compared are measured in turn in every round, so that what else the machine does
 * meets both; a ratio is taken within each round, and the median of the rounds' ratios is what is
 * said. Beside a number stands a hash of what was computed, where there is such a thing: a change
 * that is faster and computes something else is seen.
 */
#ifndef BENCH_RESULTS_H
#define BENCH_RESULTS_H

#include <stdint.h>

#include "common/hash.h"

enum { ROUNDS_MAX = 64 };

/* One value a round. */
struct series {
    double at[ROUNDS_MAX];
    unsigned n;
};

void series_add(struct series *s, double value);
double series_median(const struct series *s); /* of at least one value */
/* The median of a / b, round by round; both have the same number of values. */
double series_ratio(const struct series *a, const struct series *b);

/* One line of the table. */
struct result {
    const char *name, *unit;
    double value;
    const char *of; /* what `ratio` compares the value with; NULL: nothing, it bounds others */
    double ratio;
    const char *output; /* hash of what was computed, hexadecimal; NULL: nothing was */
    double first, aim;  /* what the ratio is to reach, first and in the end; 0: nothing is said */
};

struct results; /* opaque */

struct results *results_new(void);
void results_free(struct results *r);

/* From now on there are no values and ratios, only names and hashes: where something stands in for
 * what is to be measured, times say nothing. */
void results_without_values(struct results *r);
/* An entry of its own beside "machine"; told once more, it stands as first told. */
void results_about(struct results *r, const char *key, const char *format, ...) PRINTF_LIKE(3, 4);
/* The first words of "device", such as "nvidia-h200", for a file's name; false where there is none.
 */
bool results_device(const struct results *r, char out[64]);

/* Begins a group: printed as a heading, and before the names that follow, in the JSON. */
void results_group(struct results *r, const char *format, ...) PRINTF_LIKE(2, 3);
void results_add(struct results *r, const struct result *line);
/* Median of `values`, times `scale` as the unit wants it, over that of `of`, which is named. */
void results_add_series(struct results *r, const char *name, const struct series *values,
                        double scale, const char *unit, const char *of_name,
                        const struct series *of, const char *output);
/* The same, with what the ratio is to reach. */
void results_add_goal(struct results *r, const char *name, const struct series *values,
                      double scale, const char *unit, const char *of_name, const struct series *of,
                      double first, double aim);

/* {"machine", "compiler", "commit", "date", what results_about was told, "results": [{"name",
 * "value", "unit", "of", "ratio", and "first" and "aim" where there are such}], "outputs": {name:
 * hash}}. */
struct err results_write(const struct results *r, const char *path, const char *commit) MUST_USE;

double seconds_now(void); /* of a monotonic clock */
/* CPU time of this process: what one thread computes, whatever else the machine does. */
double seconds_cpu(void);
/* Today, UTC, as 2026-01-31. */
void date_today(char out[11]);
/* The first 8 bytes of the stream's hash in hexadecimal; ends the stream. */
void hash_text(char out[17], struct sha256_stream *s);
/* An error ends the program: a number that could not be measured is not invented. */
void must(struct err e);

#endif
