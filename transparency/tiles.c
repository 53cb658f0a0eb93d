#include "transparency/tiles.h"

#include <string.h>

#include "common/text.h"

enum { GROUPS_MAX = 6 }; /* of three digits: indices below 10^18 */

/* Reads up to and without the next `stop`, or all that is left. */
static struct bytes read_until(struct reader *r, char stop)
{
    const uint8_t *at = reader_left(r) > 0 ? memchr(r->at, stop, reader_left(r)) : NULL;
    return read_bytes(r, at != NULL ? (size_t)(at - r->at) : reader_left(r));
}

static struct err malformed(const char *why)
{
    return err_set(ERR_MALFORMED, "not a tile's path: %s", why);
}

static struct err parse_level(int *out, struct bytes text)
{
    if (bytes_equal(text, bytes_of_str("entries"))) {
        *out = TILE_LEVEL_ENTRIES;
        return err_ok();
    }
    uint64_t level;
    if (is_err(decimal_decode(&level, text, 63)))
        return malformed("the level is not 0 to 63 or \"entries\"");
    *out = (int)level;
    return err_ok();
}

/* Exactly three digits. */
static bool parse_group(unsigned *out, struct bytes text)
{
    if (text.len != 3)
        return false;
    *out = 0;
    for (size_t i = 0; i < 3; i++) {
        if (text.data[i] < '0' || text.data[i] > '9')
            return false;
        *out = *out * 10 + (unsigned)(text.data[i] - '0');
    }
    return true;
}

/* "x001/x234/067": groups of three digits, all but the last with an x, the first not x000. */
static struct err parse_index(uint64_t *out, struct reader *r)
{
    uint64_t index = 0;
    for (unsigned n = 0; n < GROUPS_MAX; n++) {
        bool more = reader_left(r) > 0 && *r->at == 'x';
        if (more)
            read_u8(r);
        unsigned group;
        if (!parse_group(&group, read_bytes(r, 3)))
            return malformed("the index is not groups of three digits");
        if (more && n == 0 && group == 0)
            return malformed("the index has a group too many");
        index = index * 1000 + group;
        if (!more) {
            *out = index;
            return err_ok();
        }
        if (!read_literal(r, "/"))
            return malformed("the index ends in a group with an x");
    }
    return malformed("the index is too large");
}

static struct err parse_width(unsigned *out, struct reader *r)
{
    *out = TILE_WIDTH;
    if (reader_left(r) == 0)
        return err_ok();
    uint64_t width;
    if (!read_literal(r, ".p/") ||
        is_err(decimal_decode(&width, read_bytes(r, reader_left(r)), TILE_WIDTH - 1)) || width == 0)
        return malformed("a partial width is \".p/\" and 1 to 255");
    *out = (unsigned)width;
    return err_ok();
}

struct err tile_parse(struct tile *out, struct bytes path)
{
    struct reader r = reader_of(path);
    struct tile t;
    if (!read_literal(&r, "tile/"))
        return malformed("it does not begin with \"tile/\"");
    TRY(parse_level(&t.level, read_until(&r, '/')));
    if (!read_literal(&r, "/"))
        return malformed("there is no index");
    TRY(parse_index(&t.index, &r));
    TRY(parse_width(&t.width, &r));
    *out = t;
    return err_ok();
}

void tile_format(struct buf *out, const struct tile *t)
{
    if (t->level == TILE_LEVEL_ENTRIES)
        buf_append_str(out, "tile/entries/");
    else
        buf_printf(out, "tile/%d/", t->level);
    uint64_t unit = 1;
    while (t->index / unit >= 1000)
        unit *= 1000;
    for (; unit > 1; unit /= 1000)
        buf_printf(out, "x%03u/", (unsigned)(t->index / unit % 1000));
    buf_printf(out, "%03u", (unsigned)(t->index % 1000));
    if (t->width < TILE_WIDTH)
        buf_printf(out, ".p/%u", t->width);
}

unsigned tile_width_at(int level, uint64_t index, uint64_t size)
{
    unsigned shift = level <= 0 ? 0 : 8 * (unsigned)level;
    uint64_t n_hashes = shift < 64 ? size >> shift : 0; /* of this level in the whole tree */
    if (index < n_hashes / TILE_WIDTH)
        return TILE_WIDTH;
    return index == n_hashes / TILE_WIDTH ? (unsigned)(n_hashes % TILE_WIDTH) : 0;
}
