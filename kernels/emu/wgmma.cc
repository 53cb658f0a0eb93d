/*
 * Products of a warpgroup on the tensor cores. Every thread issues the same list of products; a
 * warp's part, 16 of the 64 rows, is computed when its 32 lanes have issued it, in order, at a
 * drawn moment of its own up to the wait for it: nothing but barriers orders one warp's part with
 * what the other warps do. What a thread's registers hold meanwhile is kept here, and comes back
 * when it waits.
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

enum { GROUP = 128, WARPS = GROUP / WARP, ROWS_OF_WARP = 16, ROWS = 64, N_MAX = 256, CHUNK = 8 };

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
    unsigned n_issued[WARPS] = {};
    std::shared_ptr<race_op> parts[WARPS] = {};
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
    size_t n_done[WARPS] = {};
    std::vector<std::shared_ptr<emu_effect>> groups[WARPS]; /* that all lanes have committed */
    std::vector<progress> of_thread = std::vector<progress>(GROUP);
    block *home = nullptr;
};

struct warpgroups : emu_part {
    std::vector<std::unique_ptr<warpgroup>> all;

    const char *unfinished() const override
    {
        for (const auto &g : all)
            for (const product &p : g->products)
                for (unsigned n : p.n_issued)
                    if (n < WARP)
                        return "it ended, and a product was issued by a part of its warpgroup";
        return nullptr;
    }
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

unsigned own_warp()
{
    return emu_thread_number() % GROUP / WARP;
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

/* Sixteen bytes: chunks of them are XORed with the address bits above. */
void load(const warpgroup &g, const std::shared_ptr<race_op> &part, const operand &o, size_t at,
          uint16_t to[CHUNK])
{
    at ^= (at >> 7 & (o.swizzle / 16 - 1)) << 4;
    races_access_by(part, g.home->shared + at, CHUNK * sizeof *to, race_kind::read);
    if (!images_read(*g.home, at, to, CHUNK * sizeof *to))
        emu_fault("a product reads what a thread has stored, without fence.proxy.async between");
}

/* Row r, elements k to k + 15: eight rows `stride` bytes before the next eight. */
void read_row(const warpgroup &g, const std::shared_ptr<race_op> &part, const operand &o,
              unsigned r, uint16_t out[TENSOR_K])
{
    for (unsigned k = 0; k < TENSOR_K; k += CHUNK)
        load(g, part, o, o.start + r / 8 * o.stride + r % 8 * o.swizzle + 2 * k, &out[k]);
}

/* Columns n to n + 7 of 16 rows that lie across K, eight of them `stride` bytes before the next
 * eight. */
void read_columns(const warpgroup &g, const std::shared_ptr<race_op> &part, const operand &o,
                  unsigned n, uint16_t (*out)[TENSOR_K])
{
    size_t wide = o.swizzle / 2;
    for (unsigned k = 0; k < TENSOR_K; k++) {
        uint16_t chunk[CHUNK];
        load(g, part, o,
             o.start + n / wide * o.leading + k / 8 * o.stride + k % 8 * o.swizzle + n % wide * 2,
             chunk);
        for (unsigned i = 0; i < CHUNK; i++)
            out[i][k] = chunk[i];
    }
}

void read_b(const warpgroup &g, const product &p, unsigned warp, uint16_t (*out)[TENSOR_K])
{
    operand o = decode(p.b);
    if (p.registers.empty())
        for (unsigned n = 0; n < p.n; n++)
            read_row(g, p.parts[warp], o, n, out[n]);
    else
        for (unsigned n = 0; n < p.n; n += CHUNK)
            read_columns(g, p.parts[warp], o, n, out + n);
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

/* The warp's part. */
void compute(warpgroup &g, const product &p, unsigned warp)
{
    tile &t = g.tiles[p.tile];
    uint16_t b[N_MAX][TENSOR_K], a[TENSOR_K];
    read_b(g, p, warp, b);
    for (unsigned m = warp * ROWS_OF_WARP; m < (warp + 1) * ROWS_OF_WARP; m++) {
        if (p.registers.empty())
            read_row(g, p.parts[warp], decode(p.a), m, a);
        else
            read_registers(p, m, a);
        for (unsigned n = 0; n < p.n; n++) {
            element e = place(m, n);
            float &d = t.values[e.thread * (p.n / 2) + e.i];
            d = tensor_core_step(p.fresh ? 0.0f : d, a, b[n]);
        }
    }
}

/* The warp's part of all products up to the n-th that all its lanes have issued. */
void advance(warpgroup &g, unsigned warp, size_t n)
{
    size_t &done = g.n_done[warp];
    while (done < n && g.products[done].n_issued[warp] == WARP)
        compute(g, g.products[done++], warp);
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
    if (made.n_issued[own_warp()]++ == 0)
        made.parts[own_warp()] =
            races_start(&g.n_done[own_warp()], (uint32_t)number + 1, "a product", wanted.call);
    else
        races_join_start(made.parts[own_warp()].get(), self());
    p.n_products++;
    emu_yield();
}

/* All lanes of the warp have committed as many groups as this thread. */
bool warp_has_committed(const warpgroup &g, unsigned warp, size_t n_groups)
{
    for (unsigned i = warp * WARP; i < (warp + 1) * WARP; i++)
        if (g.of_thread[i].groups.size() < n_groups)
            return false;
    return true;
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

/* The warp's last lane to commit draws when its part of the group is computed. */
void emu_wgmma_commit()
{
    warpgroup &g = own_group();
    progress &p = g.of_thread[emu_thread_number() % GROUP];
    unsigned warp = own_warp();
    size_t n = p.n_products;
    p.groups.push_back(n);
    if (warp_has_committed(g, warp, p.groups.size())) {
        g.groups[warp].push_back(
            emu_later(emu_draw_half(), [&g, warp, n] { advance(g, warp, n); }));
        emu_wake(&g.groups[warp]);
    }
    emu_yield();
}

void emu_wgmma_wait(unsigned n_left)
{
    warpgroup &g = own_group();
    unsigned thread = emu_thread_number() % GROUP, warp = own_warp();
    progress &p = g.of_thread[thread];
    if (p.groups.size() <= n_left)
        return;
    size_t n_groups = p.groups.size() - n_left;
    while (g.groups[warp].size() < n_groups)
        emu_wait(&g.groups[warp], "a product of its warp");
    for (size_t i = 0; i < n_groups; i++)
        emu_force(*g.groups[warp][i]);
    races_reach(self(), &g.n_done[warp], (uint32_t)p.groups[n_groups - 1]);
    give_back(g, thread, p.groups[n_groups - 1]);
    p.fenced = p.fenced && n_left > 0;
    emu_yield();
}
