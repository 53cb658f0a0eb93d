#include "kernels/emu/images.h"

#include <cstring>

#include "kernels/emu/async.h"
#include "kernels/emu/block.h"

namespace emu
{

namespace
{

/* New stores in a piece: each byte's writer, and ranges for the writer's fence. */
void note_piece(block &b, size_t at, uint16_t writer)
{
    images &i = *b.both;
    if (memcmp(&i.seen[at], b.shared + at, IMAGE_PIECE) == 0)
        return;
    if (!i.is_hot[at / IMAGE_PIECE]) {
        i.is_hot[at / IMAGE_PIECE] = true;
        i.hot.push_back(at);
    }
    auto &pending = i.pending[writer == ANYBODY ? i.pending.size() - 1 : writer - 1u];
    for (size_t k = at; k < at + IMAGE_PIECE; k++) {
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

uint16_t writer_now(const images &i)
{
    return i.several_ran || i.ran == nullptr ? (uint16_t)ANYBODY : (uint16_t)(i.ran->number + 1);
}

void note_all(block &b)
{
    uint16_t writer = writer_now(*b.both);
    for (size_t at = 0; at < b.shared_room; at += IMAGE_PIECE)
        note_piece(b, at, writer);
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
        b.both->is_hot.resize(b.shared_room / IMAGE_PIECE);
        note_all(b);
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
    uint16_t writer = writer_now(i);
    for (size_t k = 0; k < i.hot.size(); k++)
        note_piece(b, i.hot[k], writer);
    i.several_ran = false;
    i.ran = nullptr;
}

void images_fence(block &b, const thread &t)
{
    images &i = images_of(b);
    note_all(b);
    i.several_ran = false;
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
