/* What a request holds in memory: for its prompt while it waits, for prompt and answer from when it
 * is admitted. */
#include <stdlib.h>
#include <string.h>

#include "engine/request.h"

/* At most what the allocator adds to a block. */
enum { BLOCK_EXTRA = 32 };

static uint64_t block(uint64_t n, size_t each)
{
    return n * each + BLOCK_EXTRA;
}

static uint64_t room_size(uint64_t n_tokens)
{
    return block(n_tokens, sizeof(uint32_t)) + block(n_tokens / KV_PAGE_TOKENS + 1, SHA256_LEN);
}

static uint64_t counts_size(uint64_t capacity)
{
    return capacity > 0
               ? block(capacity, sizeof(struct token_count)) + block(2 * capacity, sizeof(uint32_t))
               : 0;
}

uint64_t request_size(const struct request *r)
{
    uint64_t size = block(1, sizeof *r) + block(1, sizeof *r->group) + room_size(r->room) +
                    block(r->params.n_logit_bias + 1, sizeof *r->logit_bias) +
                    block(r->n_end_ids + 1, sizeof *r->end_ids) +
                    block(r->output.n_stops + 1, sizeof *r->output.stops);
    for (size_t i = 0; i < r->output.n_stops; i++)
        size += block(strlen(r->output.stops[i]) + 1, 1);
    return size + r->output.held.capacity + counts_size(r->counts.capacity) +
           r->pages.capacity * sizeof *r->pages.pages;
}

/* Of a request with as much of everything as it may have. */
static uint64_t waiting_size(uint64_t max_context)
{
    return block(1, sizeof(struct request)) + block(1, sizeof(struct request_group)) +
           room_size(max_context) + block(ENGINE_BIAS_MAX + 1, sizeof(struct engine_bias)) +
           block(REQUEST_END_IDS_MAX + 1, sizeof(uint32_t)) +
           block(ENGINE_STOP_MAX + 1, sizeof(char *)) +
           ENGINE_STOP_MAX * block(ENGINE_STOP_LEN_MAX + 1, 1);
}

uint64_t request_running_size(uint64_t max_context, uint64_t vocab_size)
{
    uint64_t n_counted = max_context < vocab_size ? max_context : vocab_size;
    uint64_t capacity = 64, held = 64 * (uint64_t)ENGINE_STOP_LEN_MAX;
    while (capacity <= n_counted)
        capacity *= 2;
    /* A full table of counts grows before it looks, and is still there while they move to one of
     * twice its size; the list of pages doubles, too. */
    return waiting_size(max_context) + held + counts_size(capacity) + counts_size(capacity / 2) +
           block(2 * kv_pages_for(max_context), sizeof(uint32_t));
}

uint64_t request_waiting_max(uint64_t max_context)
{
    uint64_t one = waiting_size(max_context), all = ENGINE_WAITING_MAX * one;
    uint64_t largest = ENGINE_CHOICES_MAX * one;
    uint64_t most = largest > REQUEST_WAITING_LEN ? largest : REQUEST_WAITING_LEN;
    return most < all ? most : all;
}

static struct err widen(struct request *r)
{
    size_t n_keys = r->n_max / KV_PAGE_TOKENS + 1;
    uint32_t *tokens = calloc(r->n_max, sizeof *tokens);
    uint8_t(*keys)[SHA256_LEN] = calloc(n_keys, sizeof *keys);
    if (tokens == NULL || keys == NULL) {
        free(tokens);
        free(keys);
        return err_set(ERR_MEMORY,
                       "no memory for a prompt of %zu tokens and an answer of up to %zu; ask for "
                       "fewer tokens, or try again later",
                       r->n_prompt, r->n_max - r->n_prompt);
    }
    memcpy(tokens, r->tokens, r->n_tokens * sizeof *tokens);
    if (r->n_keys > 0)
        memcpy(keys, r->keys, r->n_keys * sizeof *keys);
    request_free_room(r);
    r->tokens = tokens;
    r->keys = keys;
    r->room = r->n_max;
    return err_ok();
}

struct err request_make_room(struct request *r)
{
    if (r->room < r->n_max)
        TRY(widen(r));
    if (!request_has_penalties(r) || r->counts.n > 0)
        return err_ok();
    for (size_t i = 0; i < r->n_prompt; i++)
        TRY(token_counts_add(&r->counts, r->tokens[i], false));
    return err_ok();
}

void request_free_room(struct request *r)
{
    if (r->tokens != NULL)
        explicit_bzero(r->tokens, r->n_tokens * sizeof *r->tokens);
    if (r->keys != NULL)
        explicit_bzero(r->keys, r->n_keys * sizeof *r->keys);
    free(r->tokens);
    free(r->keys);
    r->tokens = NULL;
    r->keys = NULL;
    r->room = 0;
}
