/*
 * The rotary embedding's keys of config.json: rope_theta beside rope_scaling, as older files have
 * it, or all of them in rope_parameters, as newer ones do. A number that stands in both places must
 * be the same in both.
 */
#ifndef ENGINE_CONFIG_ROPE_H
#define ENGINE_CONFIG_ROPE_H

#include "engine/family.h"

/* Fills c->rope; the sizes are read already. Errors as config_parse's. */
struct err config_read_rope(struct model_config *c, const struct family *family,
                            const json_t *root) MUST_USE;

#endif
