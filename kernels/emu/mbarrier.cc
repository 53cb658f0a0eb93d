/* Barriers in shared memory, and the copy engine that counts bytes at them. */
#include <cstring>

#include "kernels/emu/async.h"
#include "kernels/emu/tensor_map.h"

namespace
{

/* What the eight bytes hold here; on the chip they are opaque. */
struct counters {
    uint16_t n_arrivals, n_missing;
    int32_t bytes_and_phase; /* bytes still to come, times two; the phase's parity */
};
static_assert(sizeof(counters) == sizeof(uint64_t), "an mbarrier is eight bytes");

/* Of shared memory that nobody has written. */
enum : uint16_t { NEVER_MADE = 0xffff };

counters load(const uint64_t *barrier)
{
    counters c;
    memcpy(&c, barrier, sizeof c);
    return c;
}

/* A phase with nothing missing is over: the next begins, and whoever waited goes on. */
void store(uint64_t *barrier, counters c)
{
    bool over = c.n_missing == 0 && c.bytes_and_phase / 2 == 0;
    if (over) {
        c.n_missing = c.n_arrivals;
        c.bytes_and_phase ^= 1;
    }
    memcpy(barrier, &c, sizeof c);
    if (over)
        emu_wake(barrier);
}

unsigned parity_of(const uint64_t *barrier)
{
    return (unsigned)load(barrier).bytes_and_phase & 1u;
}

/* Where a tile's byte lies: 16-byte chunks of a row, XORed with bits of the address above them. */
size_t swizzled(size_t offset, unsigned bytes)
{
    if (bytes == 0)
        return offset;
    return offset ^ ((offset >> 7) & (bytes / 16 - 1)) << 4;
}

struct copy {
    uint8_t *shared; /* the block's first byte */
    size_t to;
    emu_tensor_map map;
    int64_t x, y;
};

void copy_row(const copy &c, unsigned row)
{
    size_t size = c.map.element_len, row_len = c.map.box[0] * size;
    for (unsigned i = 0; i < c.map.box[0]; i++) {
        int64_t x = c.x + i, y = c.y + row;
        size_t at = swizzled(c.to + row * row_len + i * size, c.map.swizzle);
        bool inside =
            x >= 0 && y >= 0 && (uint64_t)x < c.map.dims[0] && (uint64_t)y < c.map.dims[1];
        if (inside)
            memcpy(c.shared + at,
                   (const uint8_t *)(uintptr_t)c.map.base + (uint64_t)y * c.map.stride +
                       (uint64_t)x * size,
                   size);
        else
            memset(c.shared + at, 0, size);
    }
}

} // namespace

void emu_mbarrier_init(uint64_t *barrier, unsigned n_arrivals)
{
    if (n_arrivals == 0 || n_arrivals >= NEVER_MADE || (uintptr_t)barrier % 8 != 0)
        emu_fail("an mbarrier is aligned to 8 bytes and counts at least one arrival");
    (void)emu_shared_offset(barrier);
    counters c = {(uint16_t)n_arrivals, (uint16_t)n_arrivals, 0};
    memcpy(barrier, &c, sizeof c);
}

void emu_mbarrier_arrive(uint64_t *barrier, uint32_t n_bytes)
{
    counters c = load(barrier);
    if (c.n_arrivals == NEVER_MADE || c.n_missing == 0)
        emu_fail("an arrival at an mbarrier that counts no more, or was never made");
    c.bytes_and_phase += 2 * (int32_t)n_bytes;
    c.n_missing--;
    store(barrier, c);
    emu_yield();
}

void emu_mbarrier_wait(uint64_t *barrier, unsigned parity)
{
    emu_yield();
    if (load(barrier).n_arrivals == NEVER_MADE)
        emu_fail("a wait at an mbarrier that was never made");
    while (parity_of(barrier) == parity)
        emu_wait(barrier, "an mbarrier");
}

void emu_tensor_load(void *to, const void *opaque, int x, int y, uint64_t *barrier)
{
    copy c = {};
    memcpy(&c.map, opaque, sizeof c.map);
    size_t len = (size_t)c.map.box[0] * c.map.box[1] * c.map.element_len;
    c.to = emu_shared_offset(to);
    c.shared = (uint8_t *)emu_shared(0, c.to + len);
    c.x = x;
    c.y = y;
    if (c.map.magic != EMU_TENSOR_MAP_MAGIC)
        emu_fail("a copy by a tensor map that the driver did not make");
    if (c.to % (c.map.swizzle == 128 ? 1024 : 128) != 0)
        emu_fail("a tile that is not aligned for its swizzle");
    emu_later(emu_draw_half(), [c, len, barrier] {
        for (unsigned row = 0; row < c.map.box[1]; row++)
            copy_row(c, row);
        counters n = load(barrier);
        n.bytes_and_phase -= 2 * (int32_t)len;
        store(barrier, n);
    });
    emu_yield();
}
