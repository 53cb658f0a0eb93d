#include "bench/results.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>

#include "common/file.h"
#include "common/text.h"

struct results {
    json_t *list, *outputs, *about;
    char group[160];
    bool without_values;
};

void must(struct err e)
{
    if (!is_err(e))
        return;
    fprintf(stderr, "bench: %s\n", err_message());
    exit(2);
}

static double seconds_of(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double seconds_now(void)
{
    return seconds_of(CLOCK_MONOTONIC);
}

double seconds_cpu(void)
{
    return seconds_of(CLOCK_PROCESS_CPUTIME_ID);
}

void date_today(char out[11])
{
    time_t now = time(NULL);
    struct tm day;
    gmtime_r(&now, &day);
    strftime(out, 11, "%Y-%m-%d", &day);
}

void hash_text(char out[17], struct sha256_stream *s)
{
    uint8_t hash[SHA256_LEN];
    BUF_AUTO hex = BUF_INIT;
    sha256_final(s, hash);
    sha256_free(s);
    buf_append_hex(&hex, bytes_of(hash, 8));
    memcpy(out, buf_str(&hex), 17);
}

void series_add(struct series *s, double value)
{
    if (s->n < ROUNDS_MAX)
        s->at[s->n++] = value;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double series_median(const struct series *s)
{
    struct series sorted = *s;
    qsort(sorted.at, sorted.n, sizeof sorted.at[0], compare);
    return (sorted.at[(sorted.n - 1) / 2] + sorted.at[sorted.n / 2]) / 2;
}

double series_ratio(const struct series *a, const struct series *b)
{
    struct series ratios = {.n = a->n < b->n ? a->n : b->n};
    for (unsigned i = 0; i < ratios.n; i++)
        ratios.at[i] = a->at[i] / b->at[i];
    return series_median(&ratios);
}

struct results *results_new(void)
{
    struct results *r = calloc(1, sizeof *r);
    if (r == NULL)
        must(err_set(ERR_MEMORY, "no memory for a list of results"));
    r->list = json_array();
    r->outputs = json_object();
    r->about = json_object();
    return r;
}

void results_free(struct results *r)
{
    if (r == NULL)
        return;
    json_decref(r->list);
    json_decref(r->outputs);
    json_decref(r->about);
    free(r);
}

void results_without_values(struct results *r)
{
    r->without_values = true;
}

void results_about(struct results *r, const char *key, const char *format, ...)
{
    char text[320];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (json_object_get(r->about, key) != NULL)
        return;
    json_object_set_new(r->about, key, json_string(text));
    printf("%s: %s\n", key, text);
}

void results_group(struct results *r, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(r->group, sizeof r->group, format, args);
    va_end(args);
    printf("\n%s\n", r->group);
    fflush(stdout);
}

bool results_device(const struct results *r, char out[64])
{
    const char *device = json_string_value(json_object_get(r->about, "device"));
    size_t n = 0;
    for (; device != NULL && n < 63 && device[n] != ',' && device[n] != 0; n++) {
        char c = device[n];
        bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z');
        out[n] = c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : plain ? c : '-';
    }
    out[n] = 0;
    return device != NULL;
}

static json_t *number_or_null(double value, bool is_number)
{
    return is_number ? json_real(value) : json_null();
}

static json_t *line_json(const struct results *r, const char *name, const struct result *line)
{
    bool measured = !r->without_values;
    json_t *o = json_pack("{s:s, s:o, s:s, s:s?, s:o}", "name", name, "value",
                          number_or_null(line->value, measured), "unit", line->unit, "of", line->of,
                          "ratio", number_or_null(line->ratio, measured && line->of != NULL));
    if (line->first > 0) {
        json_object_set_new(o, "first", json_real(line->first));
        json_object_set_new(o, "aim", json_real(line->aim));
    }
    return o;
}

static void print_line(const struct results *r, const struct result *line)
{
    if (r->without_values)
        printf("  %-28s %12s %-10s", line->name, "-", line->unit);
    else
        printf("  %-28s %12.3f %-10s", line->name, line->value, line->unit);
    if (line->of != NULL && r->without_values)
        printf("      - of %s", line->of);
    else if (line->of != NULL)
        printf(" %6.3f of %s", line->ratio, line->of);
    if (line->first > 0)
        printf(" (first %.2f, aim %.2f)", line->first, line->aim);
    if (line->output != NULL)
        printf("  [%s]", line->output);
    putchar('\n');
    fflush(stdout);
}

void results_add(struct results *r, const struct result *line)
{
    char name[320];
    snprintf(name, sizeof name, "%s: %s", r->group, line->name);
    json_array_append_new(r->list, line_json(r, name, line));
    if (line->output != NULL)
        json_object_set_new(r->outputs, name, json_string(line->output));
    print_line(r, line);
}

void results_add_series(struct results *r, const char *name, const struct series *values,
                        double scale, const char *unit, const char *of_name,
                        const struct series *of, const char *output)
{
    results_add(r, &(struct result){.name = name,
                                    .unit = unit,
                                    .value = series_median(values) * scale,
                                    .of = of_name,
                                    .ratio = of_name != NULL ? series_ratio(values, of) : 0,
                                    .output = output});
}

void results_add_goal(struct results *r, const char *name, const struct series *values,
                      double scale, const char *unit, const char *of_name, const struct series *of,
                      double first, double aim)
{
    results_add(r, &(struct result){.name = name,
                                    .unit = unit,
                                    .value = series_median(values) * scale,
                                    .of = of_name,
                                    .ratio = series_ratio(values, of),
                                    .first = first,
                                    .aim = aim});
}

/* The value behind `key` in the first lines of /proc/cpuinfo. */
static void cpu_field(char out[80], const char *text, const char *key)
{
    const char *at = strstr(text, key);
    const char *colon = at != NULL ? strchr(at, ':') : NULL;
    size_t len = colon != NULL ? strcspn(colon + 2, "\n") : 0;
    snprintf(out, 80, "%.*s", (int)(len < 79 ? len : 79), len > 0 ? colon + 2 : "");
}

static void machine_text(char out[320])
{
    BUF_AUTO text = BUF_INIT;
    char name[80], family[80], model[80];
    if (is_err(file_read(&text, "/proc/cpuinfo", 1 << 20)))
        buf_clear(&text);
    cpu_field(name, buf_str(&text), "model name");
    cpu_field(family, buf_str(&text), "cpu family");
    cpu_field(model, buf_str(&text), "model\t");
    double memory = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    snprintf(out, 320, "%ld cores, %s (family %s, model %s), %.0f GiB",
             sysconf(_SC_NPROCESSORS_ONLN), name, family, model, memory / (double)(1 << 30));
}

static void write_value(FILE *file, const char *before, const json_t *value)
{
    fputs(before, file);
    json_dumpf(value, file, JSON_ENCODE_ANY | JSON_REAL_PRECISION(6));
}

/* One entry a line, so that two files can be compared. */
static void write_all(FILE *file, const struct results *r, const char *const *texts)
{
    static const char *const keys[] = {"machine", "compiler", "commit", "date"};
    for (size_t i = 0; i < 4; i++) {
        json_t *text = json_string(texts[i]);
        fprintf(file, "%s\n  \"%s\"", i == 0 ? "{" : ",", keys[i]);
        write_value(file, ": ", text);
        json_decref(text);
    }
    size_t i;
    json_t *entry;
    const char *name;
    json_object_foreach(r->about, name, entry)
    {
        fprintf(file, ",\n  \"%s\"", name);
        write_value(file, ": ", entry);
    }
    fputs(",\n  \"results\": [", file);
    json_array_foreach(r->list, i, entry) write_value(file, i == 0 ? "\n    " : ",\n    ", entry);
    bool first = true;
    fputs("\n  ],\n  \"outputs\": {", file);
    json_object_foreach(r->outputs, name, entry)
    {
        json_t *key = json_string(name);
        write_value(file, first ? "\n    " : ",\n    ", key);
        write_value(file, ": ", entry);
        json_decref(key);
        first = false;
    }
    fputs("\n  }\n}\n", file);
}

struct err results_write(const struct results *r, const char *path, const char *commit)
{
    char machine[320], date[11];
    machine_text(machine);
    date_today(date);
    const char *texts[] = {machine, "gcc " __VERSION__, commit, date};
    FILE *file = fopen(path, "we");
    if (file == NULL)
        return err_errno("cannot write %s", path);
    write_all(file, r, texts);
    bool failed = ferror(file) != 0;
    if (fclose(file) != 0 || failed)
        return err_set(ERR_IO, "cannot write %s", path);
    return err_ok();
}
