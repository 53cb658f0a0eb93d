/*
 * One evidence bundle on its way through the rules: what rule 1 has parsed, and what each later
 * rule has found. For verify.c, verify_log.c and verify_report.c only.
 */
#ifndef ATTEST_VERIFY_BUNDLE_H
#define ATTEST_VERIFY_BUNDLE_H

#include "attest/rules.h"
#include "attest/verify.h"

enum { FACT_MAX = 512 };

struct bundle {
    const struct policy *policy;
    const struct evidence *evidence;
    struct evidence own;           /* what `evidence` points to, where the bundle parsed it */
    struct statement *statements;  /* (evidence->n_statements) */
    struct statement live;         /* the demand quote */
    size_t boot, identity, logged; /* which statements those are */
    /* what the rules found */
    struct rule_host host;                      /* 2 */
    bool activated;                             /* 2: by the caller's live activation */
    struct attested live_attest, logged_attest; /* 4 */
    struct rule_counter counter;                /* 6 */
    struct rule_lanes lanes;                    /* 7 */
    struct rule_boot_pcrs pcrs;                 /* 8 */
    struct rule_gpus gpus;                      /* 8 */
    bool gpus_proven;                           /* 8: to be protected */
    struct checkpoint checkpoint;               /* 10 */
    struct tlog_witnessed witnessed;            /* 10 */
};

#define BUNDLE_INIT ((struct bundle){0})
void bundle_cleanup(struct bundle *b);

const struct statement_quote *bundle_live(const struct bundle *b);
const struct statement_quote *bundle_logged(const struct bundle *b);
const struct statement_boot *bundle_boot(const struct bundle *b);
const struct statement_identity *bundle_identity(const struct bundle *b);

/* Rule 1: everything parses; exactly one boot, identity and periodic quote and at least one host,
 * all of one AK; no statement, blob or head twice; no blob and no head that nothing names. */
struct err bundle_parse(struct bundle *b, struct bytes json) MUST_USE;
/* The same for evidence that is parsed already and that the caller keeps. */
struct err bundle_take(struct bundle *b, const struct evidence *e) MUST_USE;
/* For rules.h: `context` is the bundle. */
struct err bundle_blob_source(void *context, const struct blob_ref *ref, struct buf *out);
/* Rule 2 without the binding: every host statement. */
struct err bundle_hosts(struct bundle *b) MUST_USE;
/* Rule 10. */
struct err bundle_check_log(struct bundle *b) MUST_USE;

/* Fills proven, not_proven and the outcome from the rules' results. */
void bundle_report(struct verdict *v, const struct bundle *b);

#endif
