#include "logservice/published.h"

void published_cleanup(struct published *p)
{
    buf_cleanup(&p->note);
}

struct err published_find(struct published *p, struct store *log,
                          const struct tlog_policy *witnesses)
{
    struct published now = PUBLISHED_INIT;
    struct err e = store_witnessed(log, witnesses, &now.note, &now.checkpoint);
    now.there = !is_err(e);
    if (is_err(e) && e.code != ERR_NOT_FOUND) {
        published_cleanup(&now);
        return e;
    }
    published_cleanup(p);
    *p = now;
    return err_ok();
}

struct err published_advance(struct published *p, struct store *log,
                             const struct tlog_policy *witnesses, uint64_t size)
{
    if (p->there && size <= p->checkpoint.size)
        return err_ok();
    struct published now = PUBLISHED_INIT;
    struct err e = store_witnessed_at(log, witnesses, size, &now.note, &now.checkpoint, &now.there);
    if (is_err(e) || !now.there) {
        published_cleanup(&now);
        return e;
    }
    published_cleanup(p);
    *p = now;
    return err_ok();
}

struct err published_prove(struct buf *out, const struct published *p, struct store *log,
                           uint64_t index)
{
    if (!p->there || index >= p->checkpoint.size)
        return err_set(ERR_NOT_FOUND, "no checkpoint that is shown covers entry %llu",
                       (unsigned long long)index);
    struct tlog_proof proof = {.index = index, .checkpoint = buf_bytes(&p->note)};
    TRY(store_prove_inclusion(log, &proof.proof, index, p->checkpoint.size));
    tlog_proof_format(out, &proof);
    return err_ok();
}
