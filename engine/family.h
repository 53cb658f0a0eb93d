/*
 * What tells one model family from another, in config.json: which keys it may have and which flags
 * of the forward pass follow from its name and from them. Everything else is common (config.c).
 */
#ifndef ENGINE_FAMILY_H
#define ENGINE_FAMILY_H

#include "engine/config.h"
#include "engine/json_fields.h"

struct family {
    const char *architecture; /* "MistralForCausalLM" */
    const struct field_rule *rules;
    size_t n_rules; /* at most FAMILY_RULES_MAX */
    /* Sets the family's flags; the sizes are read already. */
    struct err (*read)(struct model_config *c, const json_t *root);
    bool longrope; /* may have that rope type, and heads of which a part turns */
};

enum { FAMILY_RULES_MAX = 16 };

/* ERR_UNSUPPORTED lists the names. `value` is what "architectures" holds. */
struct err family_find(const struct family **out, const json_t *value) MUST_USE;

#endif
