/* The copy engine: tiles into shared memory, of one block or of several; tiles and bytes out of it.
 */
#include <cstring>

#include "kernels/emu/async.h"
#include "kernels/emu/block.h"
#include "kernels/emu/tensor_map.h"

using namespace emu;

namespace
{

enum { PIECE = 16 }; /* what a swizzle leaves together */

/* Where a tile's byte lies: 16-byte chunks of a row, XORed with bits of the address above them. */
size_t swizzled(size_t offset, unsigned bytes)
{
    if (bytes == 0)
        return offset;
    return offset ^ ((offset >> 7) & (bytes / 16 - 1)) << 4;
}

struct box {
    size_t at; /* in shared memory */
    emu_tensor_map map;
    int64_t x, y;

    size_t len() const
    {
        return (size_t)map.box[0] * map.box[1] * map.element_len;
    }

    size_t offset(unsigned row, unsigned i) const
    {
        return swizzled(at + (row * map.box[0] + i) * map.element_len, map.swizzle);
    }

    /* In the device's memory; null beyond the tensor's edge. */
    uint8_t *element(unsigned row, unsigned i) const
    {
        int64_t its_x = x + i, its_y = y + row;
        if (its_x < 0 || its_y < 0 || (uint64_t)its_x >= map.dims[0] ||
            (uint64_t)its_y >= map.dims[1])
            return nullptr;
        return (uint8_t *)(uintptr_t)map.base + (uint64_t)its_y * map.stride +
               (uint64_t)its_x * map.element_len;
    }

    /* Sixteen bytes from element i on. */
    void gather(uint8_t *to, unsigned row, unsigned i, const std::shared_ptr<race_op> &op) const
    {
        for (unsigned k = 0; k < PIECE; k += map.element_len, i++) {
            const uint8_t *from = element(row, i);
            if (from != nullptr)
                memcpy(to + k, from, map.element_len);
            else
                memset(to + k, 0, map.element_len);
            if (from != nullptr)
                races_access_by(op, from, map.element_len, race_kind::read);
        }
    }
};

box find_box(const void *shared, const void *opaque, int x, int y)
{
    emu_needs_hopper();
    box b = {};
    memcpy(&b.map, opaque, sizeof b.map);
    b.at = emu_shared_offset(shared);
    b.x = x;
    b.y = y;
    if (b.map.magic != EMU_TENSOR_MAP_MAGIC)
        emu_fail("a copy by a tensor map that the driver did not make");
    (void)emu_shared(b.at, b.len());
    if (b.at % (b.map.swizzle == 128 ? 1024 : 128) != 0)
        emu_fail("a tile that is not aligned for its swizzle");
    return b;
}

void land(block &to, const box &b, uint64_t *barrier, const std::shared_ptr<race_op> &op)
{
    bool fenced = true;
    if (to.n_ended == to.threads.size()) {
        emu_fault("a copy comes to a block that has ended");
        return;
    }
    races_mbarrier_lands(op, barrier);
    for (unsigned row = 0; row < b.map.box[1]; row++)
        for (unsigned i = 0; i < b.map.box[0]; i += PIECE / b.map.element_len) {
            uint8_t piece[PIECE];
            b.gather(piece, row, i, op);
            races_access_by(op, to.shared + b.offset(row, i), PIECE, race_kind::write);
            fenced &= images_land(to, b.offset(row, i), piece, PIECE);
        }
    if (!fenced)
        emu_fault("a copy lands on what a thread has stored, without fence.proxy.async between");
    emu_mbarrier_land(barrier, (uint32_t)b.len());
}

void read_box(block &from, const box &b, std::vector<uint8_t> &to,
              const std::shared_ptr<race_op> &op)
{
    bool fenced = true;
    to.resize(b.len());
    for (unsigned row = 0, k = 0; row < b.map.box[1]; row++)
        for (unsigned i = 0; i < b.map.box[0]; i += PIECE / b.map.element_len, k += PIECE) {
            fenced &= images_read(from, b.offset(row, i), &to[k], PIECE);
            races_access_by(op, from.shared + b.offset(row, i), PIECE, race_kind::read);
        }
    if (!fenced)
        emu_fault("a store reads what a thread has stored, without fence.proxy.async between");
}

void put_box(const box &b, const uint8_t *bytes, const std::shared_ptr<race_op> &op)
{
    for (unsigned row = 0; row < b.map.box[1]; row++)
        for (unsigned i = 0; i < b.map.box[0]; i++, bytes += b.map.element_len) {
            uint8_t *to = b.element(row, i);
            if (to == nullptr)
                continue;
            memcpy(to, bytes, b.map.element_len);
            races_access_by(op, to, b.map.element_len, race_kind::write);
        }
}

/* What stands for a thread's stores when they read and when they write, and for its copies. */
const void *reading_of(const thread &t)
{
    return &t.stores;
}

const void *writing_of(const thread &t)
{
    return &t.n_stores;
}

const void *copying_of(const thread &t)
{
    return &t.copies;
}

using race_op_ptr = std::shared_ptr<race_op>;

/* Into the thread's open group: `read` fills the bytes, later `put` writes them. */
void add_store(std::function<void(std::vector<uint8_t> &, const race_op_ptr &)> read,
               std::function<void(const uint8_t *, const race_op_ptr &)> put, const void *call)
{
    uint32_t tick = self().n_stores + 1;
    race_op_ptr reads = races_start(reading_of(self()), tick, "a store", call);
    race_op_ptr writes = races_start_from(reads, writing_of(self()), tick);
    auto own = std::make_shared<stored>();
    auto bytes = std::make_shared<std::vector<uint8_t>>();
    stored *s = own.get();
    auto write = [bytes, put, writes] { put(bytes->data(), writes); };
    own->read = emu_later(emu_draw_half(), [s, bytes, read, write, reads] {
        read(*bytes, reads);
        s->write = emu_later(emu_draw_half(), write);
        s->write->may_outlast = true;
    });
    if (self().stores.empty())
        self().stores.emplace_back();
    self().stores.back().push_back(own);
}

} // namespace

void emu_tensor_load(void *to, const void *map, int x, int y, uint64_t *barrier, unsigned blocks)
{
    box b = find_box(to, map, x, y);
    size_t at = emu_shared_offset(barrier);
    if (blocks == 0 || blocks >> running->blocks.size() != 0)
        emu_fail("a copy to blocks that the cluster does not have");
    race_op_ptr first = races_start(barrier, 0, "a copy", __builtin_return_address(0));
    for (auto &other : running->blocks) {
        block *its = other.get();
        uint64_t *there = (uint64_t *)(void *)(its->shared + at);
        race_op_ptr op = races_start_from(first, there, 0);
        if ((blocks >> its->rank & 1) != 0)
            emu_later(emu_draw_half(), [its, b, there, op] { land(*its, b, there, op); });
    }
    emu_yield();
}

void emu_tensor_store(const void *map, int x, int y, const void *from)
{
    box b = find_box(from, map, x, y);
    block *home = self().home;
    add_store(
        [home, b](std::vector<uint8_t> &to, const race_op_ptr &op) { read_box(*home, b, to, op); },
        [b](const uint8_t *bytes, const race_op_ptr &op) { put_box(b, bytes, op); },
        __builtin_return_address(0));
    emu_yield();
}

void emu_bulk_store(void *to, const void *from, uint32_t len)
{
    emu_needs_hopper();
    block *home = self().home;
    size_t at = emu_shared_offset(from);
    (void)emu_shared(at, len);
    if (len == 0 || len % 16 != 0 || at % 16 != 0 || (uintptr_t)to % 16 != 0)
        emu_fail("a store of bytes that is not aligned to 16 at both ends");
    add_store(
        [home, at, len](std::vector<uint8_t> &out, const race_op_ptr &op) {
            out.resize(len);
            races_access_by(op, home->shared + at, len, race_kind::read);
            if (!images_read(*home, at, out.data(), len))
                emu_fault("a store reads what a thread has stored, without fence.proxy.async "
                          "between");
        },
        [to, len](const uint8_t *bytes, const race_op_ptr &op) {
            memcpy(to, bytes, len);
            races_access_by(op, to, len, race_kind::write);
        },
        __builtin_return_address(0));
    emu_yield();
}

void emu_bulk_commit()
{
    self().stores.emplace_back();
    self().n_stores++;
}

void emu_bulk_wait(unsigned n_left, bool read_alone)
{
    emu_yield();
    auto &all = self().stores;
    size_t n = all.size() > n_left + 1 ? all.size() - 1 - n_left : 0; /* the last is open */
    for (size_t i = 0; i < n; i++)
        for (auto &s : all[i]) {
            emu_force(*s->read);
            if (!read_alone)
                emu_force(*s->write);
        }
    uint32_t n_past = self().n_stores > n_left ? self().n_stores - n_left : 0;
    races_reach(self(), reading_of(self()), n_past);
    if (!read_alone)
        races_reach(self(), writing_of(self()), n_past);
    if (!read_alone)
        all.erase(all.begin(), all.begin() + (long)n);
}

void emu_copy_async(void *to, const void *from, bool is_there)
{
    size_t at = emu_shared_offset(to);
    (void)emu_shared(at, PIECE);
    if (at % PIECE != 0 || (is_there && (uintptr_t)from % PIECE != 0))
        emu_fail("a copy of 16 bytes that is not aligned to them");
    auto &all = self().copies;
    if (all.empty())
        all.emplace_back();
    race_op_ptr op =
        races_start(copying_of(self()), self().n_copies + 1, "a copy", __builtin_return_address(0));
    all.back().push_back(emu_later(emu_draw_half(), [to, from, is_there, op] {
        if (is_there)
            races_access_by(op, from, PIECE, race_kind::read);
        races_access_by(op, to, PIECE, race_kind::write);
        if (is_there)
            memcpy(to, from, PIECE);
        else
            memset(to, 0, PIECE);
    }));
}

void emu_copy_async_commit()
{
    self().copies.emplace_back();
    self().n_copies++;
    emu_yield();
}

void emu_copy_async_wait(unsigned n_left)
{
    emu_yield();
    auto &all = self().copies;
    size_t n = all.size() > n_left + 1 ? all.size() - 1 - n_left : 0; /* the last is open */
    for (size_t i = 0; i < n; i++)
        for (auto &copy : all[i])
            emu_force(*copy);
    races_reach(self(), copying_of(self()),
                self().n_copies > n_left ? self().n_copies - n_left : 0);
    all.erase(all.begin(), all.begin() + (long)n);
}

void emu_stores_end()
{
    for (auto &group : self().stores)
        for (auto &s : group)
            if (!s->read->done)
                emu_fail("it ended while a store was reading its block's shared memory");
}
