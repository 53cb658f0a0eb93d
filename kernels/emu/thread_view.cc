/* What a thread sees of itself: its place, its block's shared memory, the chip. */
#include "kernels/emu/block.h"

using namespace emu;

const emu_index &emu_thread_index()
{
    return self().index;
}

const emu_index &emu_block_index()
{
    return self().home->index;
}

const emu_index &emu_block_size()
{
    return running->grid->block;
}

const emu_index &emu_grid_size()
{
    return running->grid->grid;
}

unsigned emu_cluster_rank()
{
    return self().home->rank;
}

unsigned emu_cluster_size()
{
    return running->grid->cluster;
}

void *emu_shared(size_t offset, size_t len)
{
    size_t have = running->grid->shared_len;
    if (offset > have || len > have - offset)
        emu_fail("shared memory beyond what the launch gave");
    return self().home->shared + offset;
}

static unsigned chip = 90;

unsigned emu_chip()
{
    return chip;
}

void emu_set_chip(unsigned its_chip)
{
    chip = its_chip;
}

void emu_needs_hopper()
{
    if (chip < 90)
        emu_fail("an instruction that the chip does not have");
}

unsigned emu_thread_number()
{
    return self().number;
}

size_t emu_shared_offset(const void *p)
{
    size_t offset = (size_t)((const uint8_t *)p - self().home->shared);
    if (offset >= running->grid->shared_len)
        emu_fail("an address that is not in the block's shared memory");
    return offset;
}

emu_part &emu_block_part(emu_part *(*make)())
{
    auto &part = self().home->part;
    if (part == nullptr)
        part.reset(make());
    return *part;
}
