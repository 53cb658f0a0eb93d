/*
 * The two images of a block's shared memory: that of ordinary loads and stores, and that of the
 * copy engine and the tensor cores (PTX ISA, "async proxy"). What a thread stores reaches the
 * second only by its fence.proxy.async; what a copy brings reaches both.
 *
 * Ordinary stores cannot be seen as they happen: what has changed is found at barriers, arrivals
 * and fences, and belongs to the thread that ran since the last of them. Where several did, the
 * next fence of any of them carries it over. A fence looks at everything, the others only where
 * something was found before.
 */
#ifndef KERNELS_EMU_IMAGES_H
#define KERNELS_EMU_IMAGES_H

#include <cstddef>
#include <cstdint>
#include <vector>

namespace emu
{

struct block;
struct thread;

struct images {
    std::vector<uint8_t> async; /* the second image */
    std::vector<uint8_t> seen;  /* the first, as it was found last */
    /* Of a byte that is not in the second yet: 1 + the thread that stored it, or ANYBODY. */
    std::vector<uint16_t> writer;
    struct range {
        size_t at, len;
    };
    std::vector<std::vector<range>> pending; /* of each thread; the last: of anybody */
    std::vector<size_t> hot; /* pieces that threads have stored to, by their first byte */
    std::vector<bool> is_hot;
    const thread *ran = nullptr; /* since something was last looked for */
    bool several_ran = true;
};

enum : size_t { IMAGE_PIECE = 512 };
enum : uint16_t { PUBLISHED = 0, ANYBODY = 0xffff };

/* From now on the block has both. */
images &images_of(block &b);
/* `t` runs. */
void images_runs(block &b, const thread &t);
/* Finds what threads have stored; the one that runs stops here. Nothing in a block that has one
 * image. */
void images_note(block &b);
/* The fence: what `t` stored is in both. */
void images_fence(block &b, const thread &t);
/* A copy's bytes: both images. False: a thread has stored there and not fenced. */
bool images_land(block &b, size_t at, const void *from, size_t len);
/* From the second image. False: it is not what a thread has stored there. */
bool images_read(block &b, size_t at, void *to, size_t len);
/* A barrier's own bytes, which need no fence. */
void images_set(block &b, size_t at, const void *from, size_t len);

} // namespace emu

#endif
