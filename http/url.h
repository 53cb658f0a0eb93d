/*
 * The address of a host: "https://name[:port]", and no more than that.
 */
#ifndef HTTP_URL_H
#define HTTP_URL_H

#include <stdint.h>

#include "common/err.h"

enum { URL_PREFIX_MAX = 255 };

struct url {
    char host[256]; /* a name or an address; IPv6 without its brackets */
    uint16_t port;
    char authority[272]; /* as the Host header has it */
};

/* ERR_USAGE with the remedy: only https, no user, path, query or fragment. */
struct err url_parse(struct url *out, const char *text) MUST_USE;

/* The same with a path, which goes to `prefix` without its final slash; "" for none. */
struct err url_parse_prefix(struct url *out, char prefix[URL_PREFIX_MAX + 1],
                            const char *text) MUST_USE;

#endif
