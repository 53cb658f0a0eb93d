/*
 * Policies, strictly: one keyword a line, each handled by one function of the table below. What may
 * stand once stands once, what must stand is asked for at the end, and an error names its line.
 */
#include "attest/policy.h"

#include <stdlib.h>
#include <string.h>

#include "attest/policy_boot.h"
#include "attest/policy_gpu.h"
#include "common/file.h"
#include "common/text.h"

enum { MAX_INTERVAL_S = 86400, MAX_AGE_S = 366 * 86400 };

static const char first_line[] = "blindllama-policy/v1";

/* What is seen only once is remembered by its line number; 0 is not yet. */
struct parse {
    struct policy p;
    size_t log_line, release_line, activators_line, interval_line, age_line;
};

void policy_cleanup(struct policy *p)
{
    free(p->roots);
    free(p->ak_roots);
    free(p->models);
    free(p->codes);
    free(p->activators);
    policy_gpus_cleanup(&p->gpus);
    tlog_policy_cleanup(&p->witnesses);
    for (size_t i = 0; i < N_BOOT_PCRS; i++) {
        free(p->boot[i].values);
        free(p->boot[i].events);
    }
    *p = (struct policy){0};
}

static void parse_cleanup(struct parse *parse)
{
    policy_cleanup(&parse->p);
}

static struct err once(size_t *seen, size_t line, const char *keyword)
{
    if (*seen != 0)
        return err_set(ERR_MALFORMED, "a second '%s' (the first is in line %zu)", keyword, *seen);
    *seen = line;
    return err_ok();
}

/* "<name> <hex sha256>" */
static struct err named_hash_parse(struct policy_hash *out, struct bytes value)
{
    struct bytes hex;
    struct bytes name = policy_split_word(&hex, value);
    if (name.len == 0 || name.len >= sizeof out->name)
        return err_set(ERR_MALFORMED, "a name of %zu bytes, not 1 to %zu", name.len,
                       sizeof out->name - 1);
    struct policy_hash h = {0};
    memcpy(h.name, name.data, name.len);
    TRY(err_context(hex_decode(h.sha256, SHA256_LEN, hex), "the SHA-256"));
    *out = h;
    return err_ok();
}

static struct err on_log(struct parse *s, struct bytes value, size_t line)
{
    TRY(once(&s->log_line, line, "log"));
    TRY(note_vkey_parse(&s->p.log, value));
    if (s->p.log.type != NOTE_ED25519)
        return err_set(ERR_MALFORMED, "a cosigner's key where a log's is needed");
    BUF_AUTO vkey = BUF_INIT;
    note_vkey_format(&vkey, &s->p.log);
    if (!bytes_equal(buf_bytes(&vkey), value) || vkey.len >= sizeof s->p.log_vkey)
        return err_set(ERR_MALFORMED, "a verifier key that is not in its one form: %s",
                       buf_str(&vkey));
    memcpy(s->p.log_vkey, vkey.data, vkey.len);
    return err_ok();
}

static struct err only_none(struct bytes value, const char *what)
{
    if (bytes_equal(value, bytes_of_str("none")))
        return err_ok();
    return err_set(ERR_UNSUPPORTED, "'%s' other than 'none' is not built yet; write '%s none'",
                   what, what);
}

static struct err on_release(struct parse *s, struct bytes value, size_t line)
{
    TRY(once(&s->release_line, line, "release"));
    return only_none(value, "release");
}

static struct err add_root(struct parse *s, struct bytes value, bool test)
{
    struct policy_hash root = {.test = test};
    TRY(err_context(hex_decode(root.sha256, SHA256_LEN, value), "the root's SHA-256"));
    return err_context(policy_hash_add(&s->p.roots, &s->p.n_roots, &root), "a root");
}

static struct err on_root(struct parse *s, struct bytes value, size_t line)
{
    (void)line;
    return add_root(s, value, false);
}

static struct err on_test_root(struct parse *s, struct bytes value, size_t line)
{
    (void)line;
    return add_root(s, value, true);
}

/* "<profile> <hex sha256>"; a root has one profile. */
static struct err add_ak_root(struct parse *s, struct bytes value, bool test)
{
    struct policy_hash root;
    TRY(named_hash_parse(&root, value));
    TRY(ak_profile_parse(&root.profile, bytes_of_str(root.name)));
    root.test = test;
    return err_context(policy_hash_add(&s->p.ak_roots, &s->p.n_ak_roots, &root), "a root");
}

static struct err on_ak_root(struct parse *s, struct bytes value, size_t line)
{
    (void)line;
    return add_ak_root(s, value, false);
}

static struct err on_test_ak_root(struct parse *s, struct bytes value, size_t line)
{
    (void)line;
    return add_ak_root(s, value, true);
}

/* Two lines that wrap one key would let one activator count twice. */
static struct err on_activator(struct parse *s, struct bytes value, size_t line)
{
    (void)line;
    struct note_key key;
    TRY(note_vkey_parse(&key, value));
    if (key.type != NOTE_ED25519)
        return err_set(ERR_MALFORMED, "a cosigner's key where an activator's is needed");
    for (size_t i = 0; i < s->p.n_activators; i++)
        if (memcmp(s->p.activators[i].public_key, key.public_key, ED25519_PUBLIC_LEN) == 0)
            return err_set(ERR_MALFORMED, "the same activator key a second time");
    struct note_key *grown = realloc(s->p.activators, (s->p.n_activators + 1) * sizeof *grown);
    if (grown == NULL)
        return err_set(ERR_MEMORY, "out of memory for a policy");
    s->p.activators = grown;
    grown[s->p.n_activators++] = key;
    return err_ok();
}

static struct err on_activators(struct parse *s, struct bytes value, size_t line)
{
    TRY(once(&s->activators_line, line, "activators"));
    uint64_t k;
    TRY(decimal_decode(&k, value, POLICY_LINES_MAX));
    if (k == 0)
        return err_set(ERR_MALFORMED, "0 activators would bind no key; leave the line out");
    s->p.k_activators = (unsigned)k;
    return err_ok();
}

static struct err on_model(struct parse *s, struct bytes value, size_t line)
{
    (void)line;
    struct policy_hash h;
    TRY(named_hash_parse(&h, value));
    return err_context(policy_hash_add(&s->p.models, &s->p.n_models, &h), "a model");
}

static struct err on_code(struct parse *s, struct bytes value, size_t line)
{
    (void)line;
    struct policy_hash h;
    TRY(named_hash_parse(&h, value));
    return err_context(policy_hash_add(&s->p.codes, &s->p.n_codes, &h), "a code");
}

static struct err on_boot_pcr(struct parse *s, struct bytes value, size_t line)
{
    (void)line;
    return policy_boot_pcr(s->p.boot, value);
}

static struct err on_boot_event(struct parse *s, struct bytes value, size_t line)
{
    (void)line;
    return policy_boot_event(s->p.boot, value);
}

static struct err on_gpu_driver(struct parse *s, struct bytes value, size_t line)
{
    (void)line;
    return policy_gpu_driver(&s->p.gpus, value);
}

static struct err on_gpu_vbios(struct parse *s, struct bytes value, size_t line)
{
    (void)line;
    return policy_gpu_vbios(&s->p.gpus, value);
}

static struct err on_gpu_root(struct parse *s, struct bytes value, size_t line)
{
    (void)line;
    return policy_gpu_root(&s->p.gpus, value);
}

static struct err seconds_parse(uint64_t *out, struct bytes value, uint64_t max)
{
    uint64_t seconds;
    TRY(decimal_decode(&seconds, value, max));
    if (seconds == 0)
        return err_set(ERR_MALFORMED, "0 seconds");
    *out = seconds;
    return err_ok();
}

static struct err on_max_interval(struct parse *s, struct bytes value, size_t line)
{
    TRY(once(&s->interval_line, line, "max-interval"));
    return seconds_parse(&s->p.max_interval_s, value, MAX_INTERVAL_S);
}

static struct err on_max_age(struct parse *s, struct bytes value, size_t line)
{
    TRY(once(&s->age_line, line, "max-age"));
    return seconds_parse(&s->p.max_age_s, value, MAX_AGE_S);
}

static const struct {
    const char *keyword;
    struct err (*handle)(struct parse *s, struct bytes value, size_t line);
} keywords[] = {
    {"log", on_log},
    {"release", on_release},
    {"tpm-root", on_root},
    {"test-tpm-root", on_test_root},
    {"ak-root", on_ak_root},
    {"test-ak-root", on_test_ak_root},
    {"activator", on_activator},
    {"activators", on_activators},
    {"model", on_model},
    {"code", on_code},
    {"boot-pcr", on_boot_pcr},
    {"boot-event", on_boot_event},
    {"gpu-driver", on_gpu_driver},
    {"gpu-vbios", on_gpu_vbios},
    {"gpu-root", on_gpu_root},
    {"max-interval", on_max_interval},
    {"max-age", on_max_age},
};

/* C2SP tlog-policy's lines, which one parser reads for all of us. */
static bool is_witness_line(struct bytes word)
{
    return bytes_equal(word, bytes_of_str("witness")) || bytes_equal(word, bytes_of_str("group")) ||
           bytes_equal(word, bytes_of_str("quorum"));
}

static struct err parse_line(struct parse *s, struct bytes line, size_t number)
{
    if (line.len == 0 || line.data[0] == '#')
        return err_ok();
    struct bytes value;
    struct bytes word = policy_split_word(&value, line);
    if (is_witness_line(word))
        return tlog_policy_line(&s->p.witnesses, line);
    for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++)
        if (bytes_equal(word, bytes_of_str(keywords[i].keyword)))
            return err_context(keywords[i].handle(s, value, number), "%s", keywords[i].keyword);
    char shown[84];
    return err_set(ERR_MALFORMED, "'%s' is not a keyword of policies", printable(shown, word));
}

/* A key that also signs the log or activations is no third party's. */
static struct err check_witnesses(const struct policy *p)
{
    for (size_t i = 0; i < p->witnesses.n_witnesses; i++) {
        const struct tlog_policy_witness *w = &p->witnesses.witnesses[i];
        bool shared = memcmp(w->key.public_key, p->log.public_key, ED25519_PUBLIC_LEN) == 0;
        for (size_t j = 0; j < p->n_activators; j++)
            shared |=
                memcmp(w->key.public_key, p->activators[j].public_key, ED25519_PUBLIC_LEN) == 0;
        if (shared)
            return err_set(ERR_MALFORMED,
                           "the key of witness '%s' is also the log's or an activator's: each "
                           "needs one of its own",
                           w->name);
    }
    return err_ok();
}

static struct err check_activators(struct parse *s)
{
    struct policy *p = &s->p;
    if (s->activators_line == 0)
        p->k_activators = p->n_activators > 0 ? 1 : 0;
    if (p->k_activators > p->n_activators)
        return err_set(ERR_MALFORMED, "line %zu: %u activators are asked for, %zu are named",
                       s->activators_line, p->k_activators, p->n_activators);
    for (size_t i = 0; i < p->n_activators; i++)
        if (memcmp(p->activators[i].public_key, p->log.public_key, ED25519_PUBLIC_LEN) == 0)
            return err_set(ERR_MALFORMED,
                           "line %zu: the log's key is also activator '%s'; an operator's own word "
                           "counts for nothing",
                           s->log_line, p->activators[i].name);
    return check_witnesses(p);
}

/* What must be there; called once every line is read. */
static struct err check_complete(struct parse *s)
{
    const struct {
        bool there;
        const char *keyword;
    } needed[] = {
        {s->log_line != 0, "log"},
        {s->p.witnesses.quorum_stated, "quorum"},
        {s->release_line != 0, "release"},
        {s->p.n_roots + s->p.n_ak_roots > 0, "tpm-root, ak-root or a test root"},
        {s->p.n_models > 0, "model"},
        {s->p.n_codes > 0, "code"},
        {s->interval_line != 0, "max-interval"},
        {s->age_line != 0, "max-age"},
    };
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++)
        if (!needed[i].there)
            return err_set(ERR_MALFORMED, "the policy has no line '%s'", needed[i].keyword);
    TRY(policy_boot_complete(s->p.boot));
    return check_activators(s);
}

static struct err check_characters(struct bytes text)
{
    if (text.len > POLICY_MAX)
        return err_set(ERR_LIMIT, "the policy has %zu bytes; at most %d are allowed", text.len,
                       POLICY_MAX);
    if (!utf8_valid(text))
        return err_set(ERR_MALFORMED, "the policy is not UTF-8");
    size_t line = 1;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];
        bool c1 = c == 0xc2 && i + 1 < text.len && text.data[i + 1] < 0xa0;
        if (c == '\n')
            line++;
        else if (c < 0x20 || c == 0x7f || c1)
            return err_set(ERR_MALFORMED,
                           "line %zu: a control character (tabs and CR are not allowed)", line);
    }
    return err_ok();
}

static struct err parse_lines(struct parse *s, struct bytes text)
{
    struct reader r = reader_of(text);
    for (size_t number = 1; reader_left(&r) > 0; number++) {
        struct bytes line = read_line(&r);
        if (r.failed)
            return err_set(ERR_MALFORMED, "line %zu: it does not end in a newline", number);
        if (number > POLICY_LINES_MAX)
            return err_set(ERR_LIMIT, "line %zu: a policy has at most %d lines", number,
                           POLICY_LINES_MAX);
        if (number > 1)
            TRY(err_context(parse_line(s, line, number), "line %zu", number));
        else if (!bytes_equal(line, bytes_of_str(first_line)))
            return err_set(ERR_MALFORMED, "line 1: not '%s'", first_line);
    }
    return err_ok();
}

struct err policy_parse(struct policy *out, struct bytes text)
{
    TRY(check_characters(text));
    __attribute__((cleanup(parse_cleanup))) struct parse s = {0};
    s.p.witnesses = TLOG_POLICY_INIT;
    if (text.len == 0)
        return err_set(ERR_MALFORMED, "line 1: the policy is empty, not '%s'", first_line);
    TRY(parse_lines(&s, text));
    TRY(check_complete(&s));
    *out = s.p;
    s.p = (struct policy){0};
    return err_ok();
}

struct err policy_load(struct policy *out, const char *path)
{
    BUF_AUTO text = BUF_INIT;
    TRY(file_read(&text, path, POLICY_MAX));
    return err_context(policy_parse(out, buf_bytes(&text)), "%s", path);
}
