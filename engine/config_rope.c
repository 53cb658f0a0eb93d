#include "engine/config_rope.h"

#include <math.h>
#include <string.h>

#include "kernels/det.h"

static const struct field_rule scaling_rules[] = {
    {"rope_type", FIELD_READ, NULL},
    {"type", FIELD_READ, NULL},
    {"rope_theta", FIELD_READ, NULL},
    {"factor", FIELD_READ, NULL},
    {"low_freq_factor", FIELD_READ, NULL},
    {"high_freq_factor", FIELD_READ, NULL},
    {"original_max_position_embeddings", FIELD_READ, NULL},
    {"partial_rotary_factor", FIELD_READ, NULL},
    {"short_factor", FIELD_READ, NULL},
    {"long_factor", FIELD_READ, NULL},
    {"attention_factor", FIELD_READ, NULL},
};

/* Where the keys are: the whole file, and rope_scaling or rope_parameters in it. */
struct source {
    const json_t *root;
    const char *name;      /* of `scaling` */
    const json_t *scaling; /* NULL: there is none */
};

static struct err in_scaling(const struct source *s, struct err e)
{
    return is_err(e) ? err_context(e, "%s", s->name) : e;
}

/* An object, or absent. */
static struct err find_scaling(struct source *out, const json_t *root)
{
    static const char *const names[] = {"rope_scaling", "rope_parameters"};
    struct source s = {.root = root};
    for (size_t i = 0; i < 2; i++) {
        const json_t *value = json_object_get(root, names[i]);
        if (value == NULL || json_is_null(value))
            continue;
        if (!json_is_object(value))
            return field_refused(names[i], value, "it must be an object or null");
        if (s.scaling != NULL)
            return err_set(ERR_UNSUPPORTED,
                           "both \"rope_scaling\" and \"rope_parameters\" are there; remove one");
        s.name = names[i];
        s.scaling = value;
    }
    if (s.scaling != NULL)
        TRY(in_scaling(&s, fields_check(s.scaling, scaling_rules,
                                        sizeof scaling_rules / sizeof scaling_rules[0])));
    *out = s;
    return err_ok();
}

/* A number that may stand in either place, or in both if it is the same. */
static struct err read_number(const struct source *s, const char *key, double min, double max,
                              double *out)
{
    const json_t *outer = json_object_get(s->root, key);
    const json_t *inner = json_object_get(s->scaling, key);
    TRY(field_double(s->root, key, min, max, out));
    TRY(in_scaling(s, field_double(s->scaling, key, min, max, out)));
    if (json_is_number(outer) && json_is_number(inner) &&
        json_number_value(outer) != json_number_value(inner))
        return in_scaling(s, field_refused(key, inner, "outside of it the key says otherwise"));
    return err_ok();
}

static struct err read_original(const struct source *s, unsigned *out)
{
    double number = 0;
    TRY(read_number(s, "original_max_position_embeddings", 2, CONFIG_POSITIONS_MAX, &number));
    if (number == 0)
        return in_scaling(s, field_required(s->scaling, "original_max_position_embeddings"));
    *out = (unsigned)number;
    if ((double)*out != number)
        return err_set(ERR_UNSUPPORTED,
                       "\"original_max_position_embeddings\" is %g; it must be an integer", number);
    return err_ok();
}

static struct err read_llama3(struct model_config *c, const struct source *s)
{
    static const char *const required[] = {"factor", "low_freq_factor", "high_freq_factor"};
    struct rope_config *r = &c->rope;
    for (size_t i = 0; i < sizeof required / sizeof required[0]; i++)
        TRY(in_scaling(s, field_required(s->scaling, required[i])));
    TRY(in_scaling(s, field_double(s->scaling, "factor", 1, 1e6, &r->factor)));
    TRY(in_scaling(s, field_double(s->scaling, "low_freq_factor", 1e-3, 1e6, &r->low_freq_factor)));
    TRY(in_scaling(s,
                   field_double(s->scaling, "high_freq_factor", 1e-3, 1e6, &r->high_freq_factor)));
    TRY(read_original(s, &r->original_max_positions));
    if (r->high_freq_factor <= r->low_freq_factor)
        return err_set(ERR_UNSUPPORTED,
                       "\"high_freq_factor\" is %g; it must be more than low_freq_factor, %g",
                       r->high_freq_factor, r->low_freq_factor);
    return err_ok();
}

/* One factor for each pair of elements that turns. The least one keeps every angle within what
 * kernels/det.h reduces exactly. */
static struct err read_factors(double *out, const struct model_config *c, const json_t *scaling,
                               const char *key)
{
    const json_t *list = json_object_get(scaling, key);
    double min = (double)c->max_positions / CONFIG_POSITIONS_MAX;
    TRY(field_required(scaling, key));
    if (!json_is_array(list) || json_array_size(list) != c->rope.dim / 2)
        return err_set(ERR_UNSUPPORTED, "\"%s\" must be a list of %u numbers, one for each pair",
                       key, c->rope.dim / 2);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *number = json_array_get(list, i);
        out[i] = json_number_value(number);
        if (!json_is_number(number) || !(out[i] >= min && out[i] <= 1e6))
            return err_set(ERR_UNSUPPORTED, "\"%s\"[%zu] must be a number from %g to 1e6", key, i,
                           min);
    }
    return err_ok();
}

/* sqrt(1 + ln s / ln original), s being how many times longer the context was made; or what the
 * file says itself. transformers' versions disagree on which of `factor` and the sizes says s, so a
 * file in which they differ is refused. */
static struct err read_attention_factor(struct model_config *c, const json_t *scaling)
{
    struct rope_config *r = &c->rope;
    double original = (double)r->original_max_positions;
    double longer = (double)c->max_positions / original, factor = longer;
    TRY(field_double(scaling, "factor", 1e-3, 1e6, &factor));
    if (fabs(factor - longer) > 1e-6 * longer)
        return field_refused("factor", json_object_get(scaling, "factor"),
                             "it must be max_position_embeddings divided by "
                             "original_max_position_embeddings");
    r->attention_factor = longer <= 1 ? 1 : sqrt(1 + det_log64(longer) / det_log64(original));
    return field_double(scaling, "attention_factor", 1e-3, 1e3, &r->attention_factor);
}

static struct err read_longrope(struct model_config *c, const struct source *s)
{
    TRY(read_original(s, &c->rope.original_max_positions));
    TRY(in_scaling(s, read_factors(c->rope.short_factor, c, s->scaling, "short_factor")));
    TRY(in_scaling(s, read_factors(c->rope.long_factor, c, s->scaling, "long_factor")));
    return in_scaling(s, read_attention_factor(c, s->scaling));
}

/* longrope was called "su" at first. */
static const char *type_name(const json_t *value)
{
    const char *name = json_string_value(value);
    return name != NULL && strcmp(name, "su") == 0 ? "longrope" : name;
}

/* Older files say "type", newer ones "rope_type", those in between say it twice. */
static struct err read_type(const char **out, const struct source *s)
{
    const json_t *old = json_object_get(s->scaling, "type");
    const json_t *new = json_object_get(s->scaling, "rope_type");
    const char *old_name = type_name(old), *new_name = type_name(new);
    bool twice = old != NULL && new != NULL;
    if (twice && (old_name == NULL || new_name == NULL || strcmp(old_name, new_name) != 0))
        return in_scaling(
            s, field_refused("type", old, "\"rope_type\" beside it says something else"));
    *out = new != NULL ? new_name : old_name;
    return err_ok();
}

/* How much of a head turns: all of it, or the part that transformers takes. */
static struct err read_dim(struct model_config *c, const struct family *family,
                           const struct source *s)
{
    double part = 1.0;
    TRY(read_number(s, "partial_rotary_factor", 1e-3, 1.0, &part));
    c->rope.dim = (unsigned)((double)c->head_dim * part);
    if (part != 1.0 && !family->longrope)
        return err_set(ERR_UNSUPPORTED, "\"partial_rotary_factor\" is %g; a %s must have 1.0", part,
                       family->architecture);
    if (c->rope.dim < 2 || c->rope.dim % 2 != 0)
        return err_set(ERR_UNSUPPORTED,
                       "\"partial_rotary_factor\" is %g, which turns %u of a head's %u elements; "
                       "it must be an even number of them",
                       part, c->rope.dim, c->head_dim);
    return err_ok();
}

struct err config_read_rope(struct model_config *c, const struct family *family, const json_t *root)
{
    struct source s;
    const char *type = NULL;
    TRY(find_scaling(&s, root));
    c->rope.theta = 10000.0; /* what transformers takes when the key is absent */
    TRY(read_number(&s, "rope_theta", 1, 1e12, &c->rope.theta));
    TRY(read_dim(c, family, &s));
    if (s.scaling == NULL)
        return err_ok();
    TRY(read_type(&type, &s));
    if (type != NULL && strcmp(type, "llama3") == 0) {
        c->rope.kind = ROPE_LLAMA3;
        return read_llama3(c, &s);
    }
    if (type != NULL && strcmp(type, "longrope") == 0 && family->longrope) {
        c->rope.kind = ROPE_LONGROPE;
        return read_longrope(c, &s);
    }
    if (type != NULL && strcmp(type, "default") == 0)
        return err_ok();
    return field_refused(
        s.name, s.scaling,
        family->longrope ? "only rope_type \"llama3\", \"longrope\" and \"default\" are supported"
                         : "only rope_type \"llama3\" and \"default\" are supported");
}
