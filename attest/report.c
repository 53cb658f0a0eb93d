/*
 * Lines and sentences for people.
 */
#include "attest/report.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/hash.h"

void report_clean(char *out, size_t size, const char *text)
{
    size_t n = 0;
    for (; n + 1 < size && text[n] != '\0'; n++)
        out[n] = text[n] >= 0x20 && text[n] < 0x7f ? text[n] : '?';
    out[n] = '\0';
}

/* How many characters of `text` fit on the line: up to the last space, or all that there is room
 * for. */
static size_t fitting(const char *text, size_t room)
{
    size_t len = strlen(text);
    if (len <= room)
        return len;
    for (size_t n = room; n > 0; n--)
        if (text[n] == ' ')
            return n;
    return room;
}

void report_wrap(struct buf *out, size_t first, size_t indent, const char *text)
{
    size_t column = first;
    do {
        size_t room = column < REPORT_COLUMNS ? REPORT_COLUMNS - column : 1;
        size_t n = fitting(text, room);
        for (size_t i = 0; i < n; i++)
            buf_append_u8(out, text[i] >= 0x20 && text[i] < 0x7f ? (uint8_t)text[i] : '?');
        buf_append_str(out, "\n");
        text += n;
        while (*text == ' ')
            text++;
        if (*text != '\0')
            buf_printf(out, "%*s", (int)indent, "");
        column = indent;
    } while (*text != '\0');
}

const char *report_short(char *out, const uint8_t *data, size_t n)
{
    for (size_t i = 0; i < n; i++)
        snprintf(out + 2 * i, 3, "%02x", data[i]);
    strcpy(out + 2 * n, n < SHA256_LEN ? ".." : "");
    return out;
}

const char *report_duration(char out[32], uint64_t ms)
{
    unsigned long long s = ms / 1000;
    if (ms < 1000)
        snprintf(out, 32, "%llu ms", (unsigned long long)ms);
    else if (s < 600)
        snprintf(out, 32, "%llu.%llu s", s, (unsigned long long)(ms % 1000 / 100));
    else if (s < 86400)
        snprintf(out, 32, "%llu h %02llu min", s / 3600, s % 3600 / 60);
    else
        snprintf(out, 32, "%llu d %llu h", s / 86400, s % 86400 / 3600);
    return out;
}

void report_pcrs(char out[64], uint16_t pcrs)
{
    size_t len = 0;
    out[0] = '\0';
    for (unsigned i = 0; i < 16; i++)
        if (pcrs >> i & 1)
            len += (size_t)snprintf(out + len, 64 - len, "%s%u", len > 0 ? ", " : "", i);
}

void report_add(const struct report_list *list, const char *format, ...)
{
    if (*list->n == list->max)
        abort(); /* the lists have room for every sentence that is written */
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    report_clean(list->texts[(*list->n)++], sizeof *list->texts, text);
}

void report_add_events(const struct report_list *list, const char *pcrs)
{
    report_add(list,
               "The order and number of events in PCRs %s, or that none is missing: each is one "
               "that the policy allows.",
               pcrs);
}

void report_add_gpus(const struct report_list *list, bool gpu, size_t n, bool proven)
{
    if (proven)
        report_add(
            list, "%s",
            "That GPU firmware is what its maker published: measurements in the reports are "
            "compared with nothing. That no debugger is let in is the measured host's word.");
    else if (n > 0)
        report_add(list, "%s",
                   "GPU memory not protected, as far as the policy asks (it names no gpu-root): "
                   "versions and state of GPUs are the measured host's word.");
    else if (gpu)
        report_add(list, "%s",
                   "GPU memory not protected: nothing attests the GPUs' firmware and memory; the "
                   "device code was measured before it was loaded.");
}

void report_add_limits(const struct report_list *list)
{
    static const char *const limits[] = {
        "What a discrete TPM cannot see: an interposer on its bus, its reset line pulled.",
        "What memory holds after it was measured: a TPM records what was started, no more.",
        "That the code was built from published source: releases are not checked; code is pinned "
        "by "
        "the policy's code lines.",
        "What the values and events of PCRs 0 to 12 mean: they are compared with the policy's.",
    };
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
        report_add(list, "%s", limits[i]);
}

void report_add_witnessed(const struct report_list *list, const struct tlog_policy *p,
                          const struct tlog_witnessed *w)
{
    if (p->quorum == TLOG_POLICY_NONE)
        return;
    BUF_AUTO who = BUF_INIT;
    tlog_policy_describe(&who, p, w);
    report_add(list,
               "The log's checkpoint is cosigned by %.150s, each of which has seen it only grow.",
               buf_str(&who));
}

void report_add_split_view(const struct report_list *list, const struct tlog_policy *p)
{
    report_add(
        list, "%s",
        p->quorum == TLOG_POLICY_NONE
            ? "That others see the same log: without witnesses (quorum none) it is its "
              "operator's word."
            : "That the witnesses are no friends of the operator: a quorum that colludes can "
              "cosign two logs.");
}
