/*
 * The binary list, and what both forms have in common: hashes, violations, the replay.
 */
#include "attest/ima.h"

#include <string.h>

#include "attest/ima_ascii.h"

enum { LEGACY_NAME_LEN = 256 }; /* `ima` hashes its path padded with zeros to this */

struct err ima_list_init(struct ima_list *out, struct bytes data)
{
    if (data.len > IMA_MAX)
        return err_set(ERR_LIMIT, "IMA list: %zu bytes, over %d", data.len, IMA_MAX);
    struct reader binary = reader_of(data), ascii = reader_of(data);
    bool is_binary = read_u32le(&binary) == IMA_PCR && !binary.failed;
    uint8_t first = read_u8(&ascii);
    if (!is_binary && (first < '0' || first > '9'))
        return err_set(ERR_MALFORMED, "IMA list: it begins neither with PCR 10 as four bytes nor "
                                      "with a PCR as text");
    *out = (struct ima_list){.r = reader_of(data), .ascii = !is_binary};
    return err_ok();
}

void ima_list_cleanup(struct ima_list *list)
{
    buf_cleanup(&list->data);
    *list = (struct ima_list){0};
}

bool ima_list_at_end(const struct ima_list *list)
{
    return reader_left(&list->r) == 0;
}

/* A path and its NUL. */
static bool read_path(struct bytes *out, struct bytes field)
{
    if (field.len == 0 || memchr(field.data, '\0', field.len) != field.data + field.len - 1)
        return false;
    *out = bytes_of(field.data, field.len - 1);
    return true;
}

/* "<algorithm>:", a NUL, the digest. */
static bool read_digest(struct ima_entry *e, struct bytes field)
{
    const uint8_t *nul = field.len > 0 ? memchr(field.data, '\0', field.len) : NULL;
    if (nul == NULL || nul == field.data || nul[-1] != ':')
        return false;
    size_t alg_len = (size_t)(nul - field.data);
    e->digest_alg = bytes_of(field.data, alg_len - 1);
    e->digest = bytes_of(nul + 1, field.len - alg_len - 1);
    return e->digest.len > 0 && e->digest.len <= PCR_DIGEST_MAX;
}

static struct bytes read_field(struct reader *r)
{
    uint32_t len = read_u32le(r);
    return read_bytes(r, len);
}

struct err ima_fields_read(struct ima_entry *e)
{
    bool extra = ima_template_has_extra(e->template_name);
    if (!extra && !ima_template_has_two(e->template_name))
        return err_ok();
    struct reader r = reader_of(e->measured);
    struct bytes digest = read_field(&r), path = read_field(&r);
    struct bytes last = extra ? read_field(&r) : (struct bytes){0};
    if (!reader_done(&r) || !read_digest(e, digest) || !read_path(&e->path, path))
        return err_set(ERR_MALFORMED, "its data does not hold the fields of template '%s'",
                       e->template_name);
    e->extra = last;
    e->has_fields = true;
    return err_ok();
}

bool ima_template_has_two(const char *name)
{
    return strcmp(name, "ima-ng") == 0 || strcmp(name, "ima-ngv2") == 0;
}

bool ima_template_has_extra(const char *name)
{
    return strcmp(name, "ima-sig") == 0 || strcmp(name, "ima-sigv2") == 0 ||
           strcmp(name, "ima-buf") == 0;
}

void ima_legacy_data(struct ima_list *list, struct ima_entry *e, struct bytes digest,
                     struct bytes path)
{
    static const uint8_t zero[LEGACY_NAME_LEN];
    buf_clear(&list->data);
    buf_append_bytes(&list->data, digest);
    buf_append_bytes(&list->data, path);
    buf_append(&list->data, zero, LEGACY_NAME_LEN - path.len);
    e->measured = buf_bytes(&list->data);
    e->digest = bytes_of(list->data.data, digest.len);
    e->path = bytes_of(list->data.data + digest.len, path.len);
    e->has_fields = true;
}

/* The template `ima`: a SHA-1 digest and a path, without a length of the whole. */
static struct err read_legacy(struct ima_list *list, struct ima_entry *e)
{
    struct bytes digest = read_bytes(&list->r, IMA_SHA1_LEN);
    struct bytes path = read_field(&list->r);
    if (list->r.failed)
        return err_set(ERR_MALFORMED, "truncated");
    if (path.len >= LEGACY_NAME_LEN)
        return err_set(ERR_MALFORMED, "a path of %zu bytes in template 'ima', over 255", path.len);
    ima_legacy_data(list, e, digest, path);
    return err_ok();
}

static struct err read_binary(struct ima_list *list, struct ima_entry *e, uint64_t *pcr)
{
    struct reader *r = &list->r;
    *pcr = read_u32le(r);
    struct bytes hash = read_bytes(r, IMA_SHA1_LEN);
    struct bytes name = read_field(r);
    if (r->failed)
        return err_set(ERR_MALFORMED, "truncated");
    memcpy(e->template_hash, hash.data, IMA_SHA1_LEN);
    TRY(ima_name_set(e, name));
    if (strcmp(e->template_name, "ima") == 0)
        return read_legacy(list, e);
    uint32_t len = read_u32le(r);
    if (!r->failed && len > IMA_ENTRY_MAX)
        return err_set(ERR_LIMIT, "template data of %u bytes, over %d", (unsigned)len,
                       IMA_ENTRY_MAX);
    e->measured = read_bytes(r, len);
    return r->failed ? err_set(ERR_MALFORMED, "truncated") : ima_fields_read(e);
}

struct err ima_name_set(struct ima_entry *e, struct bytes name)
{
    bool good = name.len > 0 && name.len <= IMA_NAME_MAX;
    for (size_t i = 0; good && i < name.len; i++)
        good = name.data[i] > 0x20 && name.data[i] < 0x7f;
    if (!good)
        return err_set(ERR_MALFORMED, "a template's name has 1 to %d printable characters",
                       IMA_NAME_MAX);
    memcpy(e->template_name, name.data, name.len);
    return err_ok();
}

/* A file that was open for writing while it was measured has no hash that means anything: the list
 * shows zeros, and the kernel extends ones. */
static struct err check_hash(struct ima_entry *e)
{
    static const uint8_t zero[IMA_SHA1_LEN];
    uint8_t hash[IMA_SHA1_LEN];
    e->violation = memcmp(e->template_hash, zero, sizeof zero) == 0;
    if (e->violation)
        return err_ok();
    pcr_bank_hash(pcr_bank_of(TPM_ALG_SHA1_ID), hash, e->measured);
    if (memcmp(hash, e->template_hash, sizeof hash) != 0)
        return err_set(ERR_UNTRUE, "its template hash is not that of its data");
    return err_ok();
}

static struct err read_entry(struct ima_list *list, struct ima_entry *e)
{
    uint64_t pcr = 0;
    TRY(list->ascii ? ima_ascii_read(list, e, &pcr) : read_binary(list, e, &pcr));
    if (pcr != IMA_PCR)
        return err_set(ERR_UNTRUE, "it names PCR %llu, not 10", (unsigned long long)pcr);
    return check_hash(e);
}

struct err ima_next(struct ima_list *list, struct ima_entry *out)
{
    struct ima_entry e = {0};
    TRY(err_context(read_entry(list, &e), "IMA list: entry %llu", (unsigned long long)list->n + 1));
    list->n++;
    *out = e;
    return err_ok();
}

static void extend(const struct pcr_bank *bank, uint8_t *pcr, const struct ima_entry *e)
{
    uint8_t digest[PCR_DIGEST_MAX];
    if (e->violation)
        memset(digest, 0xff, sizeof digest);
    else
        pcr_bank_hash(bank, digest, e->measured);
    pcr_bank_extend(bank, pcr, digest);
}

static struct err replay(struct ima_result *out, struct ima_list *list, const struct pcr_bank *bank,
                         const uint8_t *quoted)
{
    bool met = quoted == NULL;
    while (!ima_list_at_end(list)) {
        struct ima_entry e;
        TRY(ima_next(list, &e));
        extend(bank, out->pcr, &e);
        out->n_violations += e.violation;
        if (!met && memcmp(out->pcr, quoted, bank->len) == 0) {
            met = true;
            out->n_attested = list->n;
        }
    }
    out->n_entries = list->n;
    if (!met)
        return err_set(ERR_UNTRUE, "IMA list: none of its %llu entries leads to the given PCR 10",
                       (unsigned long long)list->n);
    return err_ok();
}

struct err ima_replay(struct ima_result *out, struct bytes data, const struct pcr_bank *bank,
                      const uint8_t *quoted)
{
    if (quoted != NULL && bank->alg == TPM_ALG_SHA1_ID)
        return err_set(ERR_UNSUPPORTED, "IMA list: a SHA-1 PCR proves nothing; give one of the "
                                        "SHA-256, SHA-384 or SHA-512 bank");
    __attribute__((cleanup(ima_list_cleanup))) struct ima_list list = {0};
    struct ima_result result = {0};
    TRY(ima_list_init(&list, data));
    TRY(replay(&result, &list, bank, quoted));
    *out = result;
    return err_ok();
}
