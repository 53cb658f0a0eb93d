/*
 * Products of a warpgroup on the tensor cores. Every thread issues the same list of products; one
 * is computed when all 128 have issued it, in order, at the latest when somebody waits for it. What
 * a thread's registers hold meanwhile is kept here, and comes back when it waits.
 */
#include <cmath>
#include <cstring>
#include <memory>
#include <vector>

#include "kernels/emu/async.h"
#include "kernels/emu/tensor_core.h"

namespace
{

enum { GROUP = 128, ROWS = 64, N_MAX = 256 };

/* The accumulators of one set of registers, thread by thread. */
struct tile {
    unsigned n = 0;
    std::vector<float> values;      /* (GROUP, n / 2) */
    std::vector<float *> registers; /* (GROUP); null: the thread has its values back */
    std::vector<size_t> n_products; /* (GROUP); of the thread's, up to the newest that adds to it */
};

struct product {
    size_t tile;
    unsigned n;
    uint64_t a, b;
    bool fresh;
    const void *call;
    unsigned n_issued = 0;
};

/* What one thread has issued and committed so far. */
struct progress {
    size_t n_products = 0;
    std::vector<size_t> groups; /* products issued when each was committed */
    bool fenced = false;
};

struct warpgroup {
    std::vector<product> products;
    std::vector<tile> tiles;
    size_t n_done = 0;
    std::vector<progress> of_thread = std::vector<progress>(GROUP);
    const uint8_t *shared = nullptr;
    size_t shared_len = 0;
};

struct warpgroups : emu_part {
    std::vector<std::unique_ptr<warpgroup>> all;
};

warpgroup &own_group()
{
    auto &w =
        static_cast<warpgroups &>(emu_block_part([]() -> emu_part * { return new warpgroups; }));
    size_t i = emu_thread_number() / GROUP;
    while (w.all.size() <= i)
        w.all.emplace_back(new warpgroup);
    return *w.all[i];
}

/* Row r, elements k to k + 15 of an operand: rows of 128 bytes, eight of them `stride` bytes before
 * the next eight, 16-byte chunks XORed with the address bits above. (PTX ISA, "Matrix descriptor".)
 */
void read_row(const warpgroup &g, uint64_t descriptor, unsigned r, uint16_t out[TENSOR_K])
{
    size_t start = (descriptor & 0x3fff) << 4, stride = (descriptor >> 32 & 0x3fff) << 4;
    size_t row = start + r / 8 * stride + r % 8 * 128;
    for (unsigned k = 0; k < TENSOR_K; k++) {
        size_t at = row + 2 * k;
        at ^= (at >> 7 & 7) << 4;
        memcpy(&out[k], g.shared + at, sizeof out[k]);
    }
}

/* Which element of a thread's registers is row m, column n. */
struct element {
    unsigned thread, i;
};

element place(unsigned m, unsigned n)
{
    unsigned warp = m / 16, lane = m % 8 * 4 + n % 8 / 2;
    return {warp * 32 + lane, n / 8 * 4 + m % 16 / 8 * 2 + n % 2};
}

void compute(warpgroup &g, const product &p)
{
    tile &t = g.tiles[p.tile];
    uint16_t b[N_MAX][TENSOR_K], a[TENSOR_K];
    for (unsigned n = 0; n < p.n; n++)
        read_row(g, p.b, n, b[n]);
    for (unsigned m = 0; m < ROWS; m++) {
        read_row(g, p.a, m, a);
        for (unsigned n = 0; n < p.n; n++) {
            element e = place(m, n);
            float &d = t.values[e.thread * (p.n / 2) + e.i];
            d = tensor_core_step(p.fresh ? 0.0f : d, a, b[n]);
        }
    }
}

/* All products up to the n-th that every thread has issued. */
void advance(warpgroup &g, size_t n)
{
    while (g.n_done < n && g.products[g.n_done].n_issued == GROUP)
        compute(g, g.products[g.n_done++]);
}

void check_operand(const warpgroup &g, uint64_t descriptor, unsigned n_rows)
{
    size_t start = (descriptor & 0x3fff) << 4, stride = (descriptor >> 32 & 0x3fff) << 4;
    if (descriptor >> 62 != 1)
        emu_fail("an operand of wgmma that is not swizzled by 128 bytes");
    if (start + (n_rows / 8 - 1) * stride + 1024 > (g.shared_len + 1023) / 1024 * 1024)
        emu_fail("an operand of wgmma beyond the block's shared memory");
}

bool is_idle(const tile &t)
{
    for (const float *d : t.registers)
        if (d != nullptr)
            return false;
    return true;
}

/* The tile that a thread's registers belong to: one under way, or a new one. */
size_t find_tile(warpgroup &g, float *d, unsigned n, unsigned thread, size_t number)
{
    if (number < g.products.size()) { /* another thread has issued it */
        tile &t = g.tiles[g.products[number].tile];
        if (t.registers[thread] != nullptr && t.registers[thread] != d)
            emu_fail("threads of a warpgroup add a product to different accumulators");
        return g.products[number].tile;
    }
    for (size_t i = 0; i < g.tiles.size(); i++)
        if (g.tiles[i].registers[thread] == d && g.tiles[i].n == n)
            return i;
    for (size_t i = 0; i < g.tiles.size(); i++)
        if (g.tiles[i].n == n && is_idle(g.tiles[i]))
            return i;
    g.tiles.emplace_back();
    tile &t = g.tiles.back();
    t.n = n;
    t.values.resize((size_t)GROUP * (n / 2));
    t.registers.resize(GROUP);
    t.n_products.resize(GROUP);
    return g.tiles.size() - 1;
}

/* The thread's registers go into the tile, and are not to be looked at until it waits. */
void take_registers(tile &t, float *d, unsigned thread)
{
    if (t.registers[thread] != nullptr)
        return;
    t.registers[thread] = d;
    memcpy(&t.values[thread * (t.n / 2)], d, t.n / 2 * sizeof *d);
    for (unsigned i = 0; i < t.n / 2; i++)
        d[i] = NAN;
}

void give_back(warpgroup &g, unsigned thread, size_t n_products)
{
    for (tile &t : g.tiles) {
        float *d = t.registers[thread];
        if (d == nullptr || t.n_products[thread] > n_products)
            continue;
        memcpy(d, &t.values[thread * (t.n / 2)], t.n / 2 * sizeof *d);
        t.registers[thread] = nullptr;
    }
}

} // namespace

void emu_wgmma(float *d, unsigned n, uint64_t a, uint64_t b, bool fresh, const void *call)
{
    warpgroup &g = own_group();
    unsigned thread = emu_thread_number() % GROUP;
    progress &p = g.of_thread[thread];
    g.shared_len = emu_shared_len();
    g.shared = (const uint8_t *)emu_shared(0, 0);
    check_operand(g, a, ROWS);
    check_operand(g, b, n);
    if (!p.fenced)
        emu_fail("a wgmma without a fence before it");
    size_t number = p.n_products, tile_number = find_tile(g, d, n, thread, number);
    if (number == g.products.size())
        g.products.push_back(product{tile_number, n, a, b, fresh, call});
    product &made = g.products[number];
    if (made.n != n || made.a != a || made.b != b || made.fresh != fresh || made.call != call)
        emu_fail("threads of a warpgroup issue different products");
    take_registers(g.tiles[tile_number], d, thread);
    g.tiles[tile_number].n_products[thread] = number + 1;
    made.n_issued++;
    p.n_products++;
    emu_yield();
}

void emu_wgmma_fence()
{
    warpgroup &g = own_group();
    g.of_thread[emu_thread_number() % GROUP].fenced = true;
}

/* The last thread to commit draws when the group is computed: now, or when somebody waits for it.
 */
void emu_wgmma_commit()
{
    warpgroup &g = own_group();
    progress &p = g.of_thread[emu_thread_number() % GROUP];
    size_t n = p.n_products;
    p.groups.push_back(n);
    bool all = true;
    for (const progress &other : g.of_thread)
        all &= other.groups.size() >= p.groups.size();
    if (all) {
        if (emu_draw_half())
            advance(g, n);
        emu_wake(&g);
    }
    emu_yield();
}

void emu_wgmma_wait(unsigned n_left)
{
    warpgroup &g = own_group();
    unsigned thread = emu_thread_number() % GROUP;
    progress &p = g.of_thread[thread];
    if (p.groups.size() <= n_left)
        return;
    size_t n = p.groups[p.groups.size() - 1 - n_left];
    advance(g, n);
    while (g.n_done < n) {
        emu_wait(&g, "a product of its warpgroup");
        advance(g, n);
    }
    give_back(g, thread, n);
    p.fenced = p.fenced && n_left > 0;
    emu_yield();
}
