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
#include "kernels/emu/block.h"
#include "kernels/emu/tensor_core.h"

using namespace emu;

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
    uint64_t a, b; /* a: 0 when it is in registers, and b then has its rows across K */
    bool fresh;
    const void *call;
    unsigned n_issued = 0;
    std::vector<const uint32_t *> registers = {}; /* (GROUP) */
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
    block *home = nullptr;
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

/* A matrix in shared memory, as its descriptor says it (PTX ISA, "Matrix descriptor"). */
struct operand {
    size_t start, leading, stride;
    size_t swizzle; /* bytes of a row; 0: none of those known here */
};

operand decode(uint64_t descriptor)
{
    static const size_t swizzles[] = {0, 128, 64, 32};
    auto bytes = [&](int at) { return (size_t)(descriptor >> at & 0x3fff) << 4; };
    return {bytes(0), bytes(16), bytes(32), swizzles[descriptor >> 62]};
}

/* 16-byte chunks are XORed with the address bits above. */
void load(const warpgroup &g, const operand &o, size_t at, uint16_t *to, size_t len)
{
    at ^= (at >> 7 & (o.swizzle / 16 - 1)) << 4;
    if (!images_read(*g.home, at, to, len))
        emu_fail("a product reads what a thread has stored, without fence.proxy.async between");
}

/* Row r, elements k to k + 15: eight rows `stride` bytes before the next eight. */
void read_row(const warpgroup &g, const operand &o, unsigned r, uint16_t out[TENSOR_K])
{
    for (unsigned k = 0; k < TENSOR_K; k += 8)
        load(g, o, o.start + r / 8 * o.stride + r % 8 * o.swizzle + 2 * k, &out[k], 16);
}

/* Column n of 16 rows that lie across K, eight of them `stride` bytes before the next eight. */
void read_column(const warpgroup &g, const operand &o, unsigned n, uint16_t out[TENSOR_K])
{
    size_t wide = o.swizzle / 2;
    for (unsigned k = 0; k < TENSOR_K; k++)
        load(g, o,
             o.start + n / wide * o.leading + k / 8 * o.stride + k % 8 * o.swizzle + n % wide * 2,
             &out[k], 2);
}

/* Row m of a matrix in registers. */
void read_registers(const product &p, unsigned m, uint16_t out[TENSOR_K])
{
    for (unsigned k = 0; k < TENSOR_K; k++) {
        const uint32_t *a = p.registers[m / 16 * 32 + m % 8 * 4 + k % 8 / 2];
        out[k] = (uint16_t)(a[k / 8 * 2 + m % 16 / 8] >> 16 * (k % 2));
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
    bool in_registers = !p.registers.empty();
    for (unsigned n = 0; n < p.n; n++)
        (in_registers ? read_column : read_row)(g, decode(p.b), n, b[n]);
    for (unsigned m = 0; m < ROWS; m++) {
        if (in_registers)
            read_registers(p, m, a);
        else
            read_row(g, decode(p.a), m, a);
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

/* `last`: of the operand's first byte in its last eight rows, from its start. */
void check_operand(const warpgroup &g, const operand &o, size_t last)
{
    if (o.swizzle == 0)
        emu_fail("an operand of wgmma that is not swizzled");
    if (o.start % (8 * o.swizzle) >= o.swizzle)
        emu_fail("an operand of wgmma that is not aligned for its swizzle");
    if (o.start / (8 * o.swizzle) * (8 * o.swizzle) + last + 8 * o.swizzle > g.home->shared_room)
        emu_fail("an operand of wgmma beyond the block's shared memory");
}

void check_rows(const warpgroup &g, uint64_t descriptor, unsigned n_rows)
{
    operand o = decode(descriptor);
    check_operand(g, o, (n_rows / 8 - 1) * o.stride);
}

void check_columns(const warpgroup &g, uint64_t descriptor, unsigned n)
{
    operand o = decode(descriptor);
    size_t wide = o.swizzle / 2;
    check_operand(g, o, wide == 0 ? 0 : (n - 1) / wide * o.leading + o.stride);
    if (o.start % (8 * o.swizzle) != 0)
        emu_fail("an operand of wgmma with rows across K begins within a row");
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

warpgroup &bind_group()
{
    emu_needs_hopper();
    warpgroup &g = own_group();
    g.home = self().home;
    return g;
}

/* The calling thread's part of a product; `a`: its registers, or null. */
void issue(warpgroup &g, float *d, const product &wanted, const uint32_t *a)
{
    unsigned thread = emu_thread_number() % GROUP;
    progress &p = g.of_thread[thread];
    if (!p.fenced)
        emu_fail("a wgmma without a fence before it");
    size_t number = p.n_products, tile_number = find_tile(g, d, wanted.n, thread, number);
    if (number == g.products.size()) {
        g.products.push_back(wanted);
        g.products.back().tile = tile_number;
        g.products.back().registers.resize(a != nullptr ? GROUP : 0);
    }
    product &made = g.products[number];
    if (made.n != wanted.n || made.a != wanted.a || made.b != wanted.b ||
        made.fresh != wanted.fresh || made.call != wanted.call)
        emu_fail("threads of a warpgroup issue different products");
    if (a != nullptr)
        made.registers[thread] = a;
    take_registers(g.tiles[tile_number], d, thread);
    g.tiles[tile_number].n_products[thread] = number + 1;
    made.n_issued++;
    p.n_products++;
    emu_yield();
}

} // namespace

void emu_wgmma(float *d, unsigned n, uint64_t a, uint64_t b, bool fresh, const void *call)
{
    warpgroup &g = bind_group();
    check_rows(g, a, ROWS);
    check_rows(g, b, n);
    issue(g, d, product{0, n, a, b, fresh, call}, nullptr);
}

void emu_wgmma_rows(float *d, unsigned n, const uint32_t *a, uint64_t b, bool fresh,
                    const void *call)
{
    warpgroup &g = bind_group();
    check_columns(g, b, n);
    issue(g, d, product{0, n, 0, b, fresh, call}, a);
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
