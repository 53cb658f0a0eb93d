#include "transparency/tlog_proof.h"

#include "common/text.h"

static const char first_line[] = "c2sp.org/tlog-proof@v1";

static bool begins_with(struct bytes line, const char *prefix, struct bytes *rest)
{
    struct reader r = reader_of(line);
    if (!read_literal(&r, prefix))
        return false;
    *rest = read_bytes(&r, reader_left(&r));
    return true;
}

static struct err parse_index(uint64_t *out, struct reader *r)
{
    struct bytes line = read_line(r);
    struct bytes rest = {0};
    if (begins_with(line, "extra ", &rest)) {
        BUF_AUTO extra = BUF_INIT; /* not authenticated, so of no use here: only its form counts */
        TRY(err_context(base64_decode(&extra, rest, TLOG_PROOF_MAX), "the proof's extra line"));
        line = read_line(r);
    }
    if (!begins_with(line, "index ", &rest))
        return err_set(ERR_MALFORMED, "the proof has no index line");
    return err_context(decimal_decode(out, rest, MERKLE_SIZE_MAX - 1), "the proof's index");
}

struct err tlog_proof_hashes_parse(struct merkle_proof *out, struct reader *r)
{
    out->n_hashes = 0;
    for (;;) {
        struct bytes line = read_line(r);
        if (r->failed)
            return err_set(ERR_MALFORMED,
                           "there is no empty line between the proof and its checkpoint");
        if (line.len == 0)
            return err_ok();
        if (out->n_hashes == MERKLE_PROOF_MAX)
            return err_set(ERR_MALFORMED, "the proof has more than %d hashes", MERKLE_PROOF_MAX);
        TRY(err_context(base64_decode_exact(out->hashes[out->n_hashes].bytes, SHA256_LEN, line),
                        "hash %zu of the proof", out->n_hashes + 1));
        out->n_hashes++;
    }
}

struct err tlog_proof_parse(struct tlog_proof *out, struct bytes text)
{
    if (text.len > TLOG_PROOF_MAX)
        return err_set(ERR_LIMIT, "the proof is larger than %d bytes", TLOG_PROOF_MAX);
    struct reader r = reader_of(text);
    struct tlog_proof p;
    if (!bytes_equal(read_line(&r), bytes_of_str(first_line)))
        return err_set(ERR_MALFORMED, "not a proof: its first line must be %s", first_line);
    TRY(parse_index(&p.index, &r));
    TRY(tlog_proof_hashes_parse(&p.proof, &r));
    p.checkpoint = read_bytes(&r, reader_left(&r));
    if (p.checkpoint.len == 0)
        return err_set(ERR_MALFORMED, "the proof has no checkpoint");
    *out = p;
    return err_ok();
}

void tlog_proof_format(struct buf *out, const struct tlog_proof *p)
{
    buf_printf(out, "%s\nindex %llu\n", first_line, (unsigned long long)p->index);
    for (size_t i = 0; i < p->proof.n_hashes; i++) {
        buf_append_base64(out, bytes_of(p->proof.hashes[i].bytes, SHA256_LEN));
        buf_append_str(out, "\n");
    }
    buf_append_str(out, "\n");
    buf_append_bytes(out, p->checkpoint);
}

struct err tlog_proof_verify(struct checkpoint *out, const struct tlog_proof *p, struct bytes entry,
                             const char *origin, const struct note_key *key)
{
    struct checkpoint c;
    TRY(err_context(checkpoint_verify(&c, p->checkpoint, origin, key), "the proof's checkpoint"));
    struct merkle_hash leaf = merkle_leaf(entry);
    TRY(merkle_verify_inclusion(&leaf, p->index, c.size, &p->proof, &c.root));
    *out = c;
    return err_ok();
}
