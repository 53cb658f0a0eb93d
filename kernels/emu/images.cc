#include "kernels/emu/images.h"

#include <cstring>

#include "kernels/emu/async.h"
#include "kernels/emu/block.h"

namespace emu
{

namespace
{

enum { PIECE = 512 };

/* New stores among `len` bytes: each byte's writer, and ranges for the writer's fence. */
void note_piece(block &b, size_t at, size_t len, uint16_t writer)
{
    images &i = *b.both;
    auto &pending = i.pending[writer == ANYBODY ? i.pending.size() - 1 : writer - 1u];
    for (size_t k = at; k < at + len; k++) {
        if (i.seen[k] == b.shared[k])
            continue;
        i.seen[k] = b.shared[k];
        i.writer[k] = writer;
        if (!pending.empty() && pending.back().at + pending.back().len == k)
            pending.back().len++;
        else
            pending.push_back({k, 1});
    }
}

void publish(block &b, uint16_t writer, std::vector<images::range> &pending)
{
    images &i = *b.both;
    for (const images::range &r : pending)
        for (size_t k = r.at; k < r.at + r.len; k++)
            if (i.writer[k] == writer) {
                i.async[k] = i.seen[k];
                i.writer[k] = PUBLISHED;
            }
    pending.clear();
}

} // namespace

images &images_of(block &b)
{
    if (b.both == nullptr) {
        b.both.reset(new images);
        b.both->async.assign(b.shared_room, 0xff);
        b.both->seen.assign(b.shared_room, 0xff);
        b.both->writer.assign(b.shared_room, PUBLISHED);
        b.both->pending.resize(b.threads.size() + 1);
        images_note(b);
    }
    return *b.both;
}

void images_runs(block &b, const thread &t)
{
    if (b.both == nullptr)
        return;
    b.both->several_ran |= b.both->ran != nullptr && b.both->ran != &t;
    b.both->ran = &t;
}

void images_note(block &b)
{
    if (b.both == nullptr)
        return;
    images &i = *b.both;
    uint16_t writer =
        i.several_ran || i.ran == nullptr ? (uint16_t)ANYBODY : (uint16_t)(i.ran->number + 1);
    for (size_t at = 0; at < b.shared_room; at += PIECE)
        if (memcmp(&i.seen[at], b.shared + at, PIECE) != 0)
            note_piece(b, at, PIECE, writer);
    i.several_ran = false;
    i.ran = nullptr;
}

void images_fence(block &b, const thread &t)
{
    images &i = images_of(b);
    images_note(b);
    i.ran = &t; /* it goes on */
    publish(b, (uint16_t)(t.number + 1), i.pending[t.number]);
    publish(b, ANYBODY, i.pending.back());
}

bool images_land(block &b, size_t at, const void *from, size_t len)
{
    images &i = images_of(b);
    bool fenced = memcmp(&i.async[at], b.shared + at, len) == 0;
    images_set(b, at, from, len);
    return fenced;
}

bool images_read(block &b, size_t at, void *to, size_t len)
{
    images &i = images_of(b);
    memcpy(to, &i.async[at], len);
    return memcmp(to, b.shared + at, len) == 0;
}

void images_set(block &b, size_t at, const void *from, size_t len)
{
    images &i = images_of(b);
    memcpy(b.shared + at, from, len);
    memcpy(&i.async[at], from, len);
    memcpy(&i.seen[at], from, len);
    for (size_t k = at; k < at + len; k++)
        i.writer[k] = PUBLISHED;
}

} // namespace emu

void emu_fence_proxy_async()
{
    emu::images_fence(*emu::self().home, emu::self());
}
