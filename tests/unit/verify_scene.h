/*
 * Scenes for tests of the live verifier: a fake world, its evidence, a policy and the caller's
 * side, in which one flaw is made.
 */
#ifndef TESTS_UNIT_VERIFY_SCENE_H
#define TESTS_UNIT_VERIFY_SCENE_H

#include "attest/verify.h"
#include "fake_host.h"

/* One flaw: where a hook makes it, or a byte that is changed there; `setup` replaces the usual
 * history, `input` spoils what the caller brings. */
struct flaw {
    const char *name;
    int rule; /* that must be false */
    const char *says;
    enum fake_stage stage;
    enum fake_what what;
    size_t at; /* of a buffer: the byte to XOR */
    uint8_t flip;
    void (*spoil)(struct fake_world *w, void *thing);
    void (*setup)(struct fake_world *w);
    void (*input)(struct fake_world *w, struct verify_input *in);
};

#define BYTE(n, r, s, st, wh, offset, bits)                                                        \
    {                                                                                              \
        .name = n, .rule = r, .says = s, .stage = st, .what = wh, .at = offset, .flip = bits       \
    }
#define SPOIL(n, r, s, st, wh, function)                                                           \
    {                                                                                              \
        .name = n, .rule = r, .says = s, .stage = st, .what = wh, .spoil = function                \
    }
#define SETUP(n, r, s, function)                                                                   \
    {                                                                                              \
        .name = n, .rule = r, .says = s, .setup = function, .stage = FAKE_POLICY,                  \
        .what = FAKE_STOP                                                                          \
    }
#define INPUT(n, r, s, function)                                                                   \
    {                                                                                              \
        .name = n, .rule = r, .says = s, .input = function, .stage = FAKE_POLICY,                  \
        .what = FAKE_STOP                                                                          \
    }

struct scene {
    struct fake_world w;
    struct evidence evidence;
    struct policy policy;
    struct buf json;
    struct verify_input input;
};

extern const uint8_t scene_nonce[NONCE_LEN];
extern const char scene_zeros[]; /* hex of 32 bytes */

/* Builds everything; `f` may be NULL: no flaw. */
void scene_init(struct scene *s, const struct flaw *f);
void scene_cleanup(struct scene *s);

void usual_history(struct fake_world *w);
void print_verdict(const struct verdict *v);
int first_false(const struct verdict *v);
bool says(const struct verdict *v, const char *part);
void not_activated(struct fake_world *w);
void replace_text(struct buf *text, const char *from, const char *to);
void allow_zero_pcr_9(struct fake_world *w, void *thing);
void zero_pcr_9(struct fake_world *w);
void set_head(struct fake_world *w, struct quote_context *c, uint64_t size);
void change_hex(struct buf *text, const char *key);
void without_blob(struct evidence *e, size_t i);
bool refused_by_its_rule(const struct flaw *f);

/* Each flaw is refused by its rule, which says what it must; the rest is not checked. */
void refuse_each(const struct flaw *flaws, size_t n);

#endif
