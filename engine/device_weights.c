/*
 * Weights on their way to the device: each part of a file is hashed and checked where it was read,
 * in pinned memory, and copied from there to its place; no byte of a matrix is kept by this
 * process. The rows of q, k and v become one matrix; those of gate and up one, 8 of each in turn.
 */
#include <stdlib.h>
#include <string.h>

#include "engine/device_internal.h"
#include "engine/finite.h"

enum { PART_LEN = 4 << 20, N_SLOTS = 16, INTERLEAVED_ROWS = 8 };

/* Where the bytes of a tensor, or of some of its rows, belong. */
struct place {
    const uint8_t *from; /* in the addresses of the files */
    size_t len;
    struct gpu_address to;
    size_t block_len; /* of what is interleaved: each block but the first skips as many bytes as it
                         has; 0: nothing is */
    uint8_t *host;    /* a vector's bytes as they are stored; NULL: a matrix */
    struct sha256_stream *hash; /* of a matrix and its twin, which goes nowhere; else NULL */
};

struct loading {
    struct device *d;
    struct weights *w;
    const struct shards *shards;
    const uint8_t *bases[SHARDS_MAX]; /* of each file's addresses */
    struct place *places;             /* by address */
    size_t n, capacity;
    uint8_t *vectors;               /* all their bytes */
    struct sha256_stream *twins[2]; /* of the embedding and of a stored output matrix tied to it */
    struct gpu_event *events[N_SLOTS];
};

static void add_place(struct loading *l, struct place p)
{
    l->places[l->n++] = p;
}

static void add_rows(struct loading *l, const struct weight *w, struct gpu_address to,
                     size_t block_len)
{
    add_place(l, (struct place){.from = w->data,
                                .len = w->n_rows * w->n_cols * sizeof(uint16_t),
                                .to = to,
                                .block_len = block_len});
}

static struct err make_matrix(struct device *d, struct device_matrix *m, size_t n_out,
                              size_t n_cols)
{
    m->n_out = n_out;
    m->n_cols = n_cols;
    TRY(device_alloc(d, &m->at, (uint64_t)n_out * n_cols * sizeof(uint16_t)));
    struct gpu_tensor t = {.base = m->at,
                           .type = GPU_TENSOR_BF16,
                           .swizzle = GPU_SWIZZLE_128,
                           .rank = 2,
                           .dims = {n_cols, n_out},
                           .strides = {n_cols * sizeof(uint16_t)},
                           .box = {MATMUL_K, MATMUL_OUT}};
    TRY(device_tensor_map(d, &m->map, &t));
    t.box[1] = FEW_OUT;
    t.read_once = true;
    return device_tensor_map(d, &m->few_map, &t);
}

/* A matrix of those of the file, one below the other. */
static struct err place_stacked(struct loading *l, struct device_matrix *out,
                                const struct weight *const *parts, size_t n)
{
    size_t n_out = 0, at = 0;
    for (size_t i = 0; i < n; i++)
        n_out += parts[i]->n_rows;
    TRY(make_matrix(l->d, out, n_out, parts[0]->n_cols));
    for (size_t i = 0; i < n; i++) {
        add_rows(l, parts[i], device_at(out->at, at), 0);
        at += parts[i]->n_rows * parts[i]->n_cols * sizeof(uint16_t);
    }
    return err_ok();
}

static struct err place_one(struct loading *l, struct device_matrix *out, const struct weight *w)
{
    return place_stacked(l, out, &w, 1);
}

static struct err place_interleaved(struct loading *l, struct device_matrix *out,
                                    const struct weight *gate, const struct weight *up)
{
    size_t block_len = INTERLEAVED_ROWS * gate->n_cols * sizeof(uint16_t);
    TRY(make_matrix(l->d, out, 2 * gate->n_rows, gate->n_cols));
    add_rows(l, gate, out->at, block_len);
    add_rows(l, up, device_at(out->at, block_len), block_len);
    return err_ok();
}

static struct err place_layer(struct loading *l, struct device_layer *out,
                              const struct layer_weights *w)
{
    const struct weight *qkv[] = {&w->q.matrix, &w->k.matrix, &w->v.matrix};
    TRY(place_stacked(l, &out->qkv, qkv, 3));
    TRY(place_one(l, &out->o, &w->o.matrix));
    TRY(place_interleaved(l, &out->gate_up, &w->gate.matrix, &w->up.matrix));
    return place_one(l, &out->down, &w->down.matrix);
}

static size_t vector_len(const struct vector *v)
{
    return v->n * weight_type_size(v->type);
}

static struct err place_vectors(struct loading *l)
{
    size_t len = 0;
    for (size_t i = 0; i < l->w->n_vectors; i++)
        len += vector_len(&l->w->vectors[i]);
    l->vectors = malloc(len);
    if (l->vectors == NULL)
        return err_set(ERR_MEMORY, "no memory for %zu bytes of norms", len);
    uint8_t *at = l->vectors;
    for (size_t i = 0; i < l->w->n_vectors; i++) {
        const struct vector *v = &l->w->vectors[i];
        add_place(l, (struct place){.from = v->from->data.data, .len = vector_len(v), .host = at});
        at += vector_len(v);
    }
    return err_ok();
}

/* Each lies in one file, so its bytes come in their order, on one thread. */
static void place_twin(struct loading *l)
{
    const struct tensor *twin = l->w->twin;
    if (twin == NULL)
        return;
    for (size_t i = 0; i < 2; i++)
        l->twins[i] = sha256_new();
    l->places[l->n - 1].hash = l->twins[0]; /* the embedding's, just placed */
    add_place(l,
              (struct place){.from = twin->data.data, .len = twin->data.len, .hash = l->twins[1]});
}

static struct err check_twin(struct loading *l)
{
    uint8_t hashes[2][SHA256_LEN];
    if (l->w->twin == NULL)
        return err_ok();
    for (size_t i = 0; i < 2; i++)
        sha256_final(l->twins[i], hashes[i]);
    return memcmp(hashes[0], hashes[1], SHA256_LEN) == 0 ? err_ok() : weights_twin_differs();
}

static int compare_places(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    return (x->from > y->from) - (x->from < y->from);
}

static struct err place_all(struct loading *l)
{
    struct device *d = l->d;
    size_t n_layers = d->config->n_layers;
    l->places = calloc(3 + 7 * n_layers + l->w->n_vectors, sizeof *l->places);
    d->layers = calloc(n_layers, sizeof *d->layers);
    if (l->places == NULL || d->layers == NULL)
        return err_set(ERR_MEMORY, "no memory for %zu layers", n_layers);
    TRY(place_one(l, &d->embed, &l->w->embed));
    place_twin(l);
    d->output = d->embed;
    if (!d->config->tied)
        TRY(place_one(l, &d->output, &l->w->output));
    for (size_t i = 0; i < n_layers; i++)
        TRY(place_layer(l, &d->layers[i], &l->w->layers[i]));
    TRY(place_vectors(l));
    qsort(l->places, l->n, sizeof *l->places, compare_places);
    return err_ok();
}

/* The first place that ends behind an address. */
static size_t first_place(const struct loading *l, const uint8_t *address)
{
    size_t low = 0, high = l->n;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (l->places[middle].from + l->places[middle].len <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* What of a part belongs to a place. */
struct piece {
    const struct place *place;
    size_t at; /* in the place */
    struct bytes data;
};

/* The next piece of a part, `*next` being a place's number; false when there are no more. */
static bool next_piece(const struct loading *l, const struct part *part, size_t *next,
                       struct piece *out)
{
    const uint8_t *first = l->bases[part->file] + part->at, *end = first + part->data.len;
    if (*next == l->n || l->places[*next].from >= end)
        return false;
    const struct place *p = &l->places[(*next)++];
    const uint8_t *from = p->from > first ? p->from : first;
    const uint8_t *to = p->from + p->len < end ? p->from + p->len : end;
    *out = (struct piece){.place = p,
                          .at = (size_t)(from - p->from),
                          .data = bytes_of(part->data.data + (from - first), (size_t)(to - from))};
    return true;
}

static size_t first_of(const struct loading *l, const struct part *part)
{
    return first_place(l, l->bases[part->file] + part->at);
}

/* Matrices are of elements of two bytes, and begin at an even byte of the data, as parts do:
 * vectors, which may be of four, are checked when they are whole. */
static struct err check(void *context, const struct part *part)
{
    const struct loading *l = context;
    struct piece p;
    for (size_t next = first_of(l, part), bad = 0; next_piece(l, part, &next, &p);) {
        if (p.place->hash != NULL)
            sha256_update(p.place->hash, p.data);
        if (p.place->host != NULL ||
            weights_finite(p.data.data, WEIGHT_BF16, p.data.len / sizeof(uint16_t), &bad))
            continue;
        const uint8_t *address = p.place->from + p.at + bad * sizeof(uint16_t);
        const struct tensor *t = shards_tensor_at(l->shards, address);
        return err_set(ERR_MALFORMED,
                       "tensor \"%s\" is damaged: its element %zu is infinite or not a number; "
                       "copy the file again",
                       t->name, (size_t)(address - t->data.data) / sizeof(uint16_t));
    }
    return err_ok();
}

/* Block by block where they are interleaved. */
static struct err send(struct loading *l, struct piece p)
{
    size_t block = p.place->block_len;
    const struct gpu_driver *gpu = l->d->gpu;
    if (block == 0)
        return gpu->copy_to(l->d->stream, device_at(p.place->to, p.at), p.data.data, p.data.len);
    while (p.data.len > 0) {
        size_t in_block = p.at % block, left = block - in_block;
        size_t n = p.data.len < left ? p.data.len : left;
        TRY(gpu->copy_to(l->d->stream, device_at(p.place->to, p.at / block * 2 * block + in_block),
                         p.data.data, n));
        p.at += n;
        p.data = bytes_of(p.data.data + n, p.data.len - n);
    }
    return err_ok();
}

static struct err take(void *context, const struct part *part, size_t slot)
{
    struct loading *l = context;
    struct piece p;
    for (size_t next = first_of(l, part); next_piece(l, part, &next, &p);) {
        if (p.place->host != NULL)
            memcpy(p.place->host + p.at, p.data.data, p.data.len);
        else if (p.place->to.at != 0)
            TRY(send(l, p));
    }
    return l->d->gpu->event_record(l->events[slot], l->d->stream);
}

static struct err settle(void *context, size_t slot)
{
    struct loading *l = context;
    return l->d->gpu->event_wait(l->events[slot]);
}

static struct err stream(struct loading *l, struct shards *shards, struct model_files *files)
{
    const struct gpu_driver *gpu = l->d->gpu;
    const struct part_taker taker = {l, check, take, settle};
    struct part_memory memory = {.part_len = PART_LEN, .n_slots = N_SLOTS};
    void *pinned = NULL;
    for (size_t i = 0; i < shards->n; i++)
        l->bases[i] = model_files_find(files, shards->names[i])->data.data;
    for (size_t i = 0; i < N_SLOTS; i++)
        TRY(gpu->event_new(l->d->handle, &l->events[i]));
    TRY(gpu->host_alloc(l->d->handle, &pinned, (size_t)PART_LEN * N_SLOTS));
    memory.data = pinned;
    struct err e = shards_stream(shards, files, &memory, &taker);
    struct err last = gpu->stream_wait(l->d->stream); /* nothing is copied from there any more */
    gpu->host_free(l->d->handle, pinned);
    return is_err(e) ? e : last;
}

/* Sends a vector that is whole; `at` is 0 where the model has none. */
static struct err send_vector(struct device *d, struct gpu_address *at, const float *v, size_t n)
{
    if (v == NULL)
        return err_ok();
    TRY(device_alloc(d, at, n * sizeof *v));
    return d->gpu->copy_to(d->stream, *at, v, n * sizeof *v);
}

/* Biases of matrices that became one, in the order of its rows. Such matrices have all a bias, or
 * none. */
static struct err send_biases(struct device *d, struct device_matrix *m,
                              const struct linear *const *parts, size_t n, size_t block)
{
    if (parts[0]->bias == NULL)
        return err_ok();
    float *all = malloc(m->n_out * sizeof *all);
    if (all == NULL)
        return err_set(ERR_MEMORY, "no memory for %zu biases", m->n_out);
    size_t first = 0;
    for (size_t i = 0; i < n; i++) {
        size_t n_rows = parts[i]->matrix.n_rows;
        for (size_t j = 0; j < n_rows; j++)
            all[block == 0 ? first + j : (j / block * 2 + i) * block + j % block] =
                parts[i]->bias[j];
        first += n_rows;
    }
    struct err e = send_vector(d, &m->bias, all, m->n_out);
    if (!is_err(e))
        e = d->gpu->stream_wait(d->stream);
    free(all);
    return e;
}

static struct err send_layer_vectors(struct device *d, struct device_layer *to,
                                     const struct layer_weights *w)
{
    const struct model_config *c = d->config;
    const struct linear *qkv[] = {&w->q, &w->k, &w->v}, *o = &w->o, *down = &w->down;
    const struct linear *gate_up[] = {&w->gate, &w->up};
    TRY(send_vector(d, &to->attention_norm, w->attention_norm, c->hidden_size));
    TRY(send_vector(d, &to->mlp_norm, w->mlp_norm, c->hidden_size));
    TRY(send_vector(d, &to->q_norm, w->q_norm, c->head_dim));
    TRY(send_vector(d, &to->k_norm, w->k_norm, c->head_dim));
    TRY(send_biases(d, &to->qkv, qkv, 3, 0));
    TRY(send_biases(d, &to->o, &o, 1, 0));
    TRY(send_biases(d, &to->gate_up, gate_up, 2, INTERLEAVED_ROWS));
    return send_biases(d, &to->down, &down, 1, 0);
}

static struct err send_vectors(struct loading *l)
{
    struct device *d = l->d;
    const uint8_t *at = l->vectors;
    for (size_t i = 0; i < l->w->n_vectors; at += vector_len(&l->w->vectors[i++]))
        TRY(vector_fill(&l->w->vectors[i], at));
    for (size_t i = 0; i < d->config->n_layers; i++)
        TRY(send_layer_vectors(d, &d->layers[i], &l->w->layers[i]));
    TRY(send_vector(d, &d->norm, l->w->norm, d->config->hidden_size));
    return d->gpu->stream_wait(d->stream);
}

static struct err load(struct loading *l, struct shards *shards, struct model_files *files)
{
    TRY(place_all(l));
    TRY(stream(l, shards, files));
    TRY(check_twin(l));
    return send_vectors(l);
}

struct err device_read_weights(struct device *d, struct weights *w, struct shards *shards,
                               struct model_files *files)
{
    struct loading *l = calloc(1, sizeof *l);
    if (l == NULL)
        return err_set(ERR_MEMORY, "no memory to load weights");
    *l = (struct loading){.d = d, .w = w, .shards = shards};
    struct err e = load(l, shards, files);
    for (size_t i = 0; i < N_SLOTS; i++)
        d->gpu->event_free(l->events[i]);
    for (size_t i = 0; i < 2; i++)
        sha256_free(l->twins[i]);
    free(l->vectors);
    free(l->places);
    free(l);
    return e;
}
