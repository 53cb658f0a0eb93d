/* What the device's own files share. */
#ifndef ENGINE_DEVICE_INTERNAL_H
#define ENGINE_DEVICE_INTERNAL_H

#include "engine/device.h"
#include "kernels/cuda/args.h"
#include "kernels/cuda/attention_plan.h"
#include "kernels/cuda/kernel_set.h"

enum device_matmul { MATMUL_STORE, MATMUL_ADD, MATMUL_SILU, MATMUL_LOGITS, DEVICE_MATMULS };

struct device_kernels {
    struct gpu_kernel *embed, *rmsnorm, *rope_write, *prepare, *copy_pages, *fold;
    struct gpu_kernel *count_tokens, *sample_scan, *sample_weigh, *sample_choose;
    struct gpu_kernel *matmul[DEVICE_MATMULS][MATMUL_TILES_MAX];
    struct gpu_kernel *narrow, *wide; /* attention, of the model's head_dim */
};

/* A matrix of weights, bf16, as the kernels for few rows and for many know it. */
struct device_matrix {
    struct gpu_address at, bias; /* bias: float (n_out), 0: none */
    struct gpu_tensor_map few_map, map;
    size_t n_out, n_cols;
};

struct device_layer {
    struct device_matrix qkv, o, gate_up, down;
    struct gpu_address attention_norm, mlp_norm, q_norm, k_norm; /* float; 0: none */
};

/* Activations that a matmul multiplies, bf16 (rows, n_cols), as tiles of each size of the set. */
struct device_operand {
    struct gpu_address at;
    struct gpu_tensor_map maps[MATMUL_TILES_MAX];
};

/* What the host says of a step; one of these lies in pinned memory and is copied to another in the
 * device's, at once. The arrays lie beside each other, in this order; the lists of attention's work
 * behind as many rows as the step has, so that little lies between what is filled. */
struct device_inputs {
    uint32_t *counts;                          /* of wide, narrow, folds; 0 */
    uint32_t *logit_rows;                      /* (max_logits) */
    struct cuda_plan_row *plan;                /* (n_rows) */
    struct cuda_attention_fold *folds;         /* (n_rows) */
    struct cuda_attention_item *wide, *narrow; /* (n_rows), (n_rows + DEVICE_PARTIALS_MAX) */
};

/* What the host keeps of a step on its way. Nothing of it is touched before the step has been read.
 */
struct device_flight {
    void *pinned;   /* the inputs, then what the slots are told, then the results */
    uint8_t *stage; /* (DEVICE_STAGE_LEN): of it n_staged bytes are on their way */
    size_t n_staged;
    struct cuda_sampled *sampled;  /* (n_sampled) */
    struct cuda_token_float *tops; /* (n_sampled, CUDA_SAMPLE_TOP), where anybody wants some */
    bool has_tops;
    struct gpu_event *passed;
};

enum { DEVICE_BUCKETS = 10 }; /* graphs of up to 512 rows */
enum { DEVICE_PARTIALS_MAX = 2048, DEVICE_COPIES = 4096 };
enum { DEVICE_STAGE_LEN = 1 << 20 };
enum { DEVICE_ENDS_MAX = ENGINE_STOP_IDS_MAX + CONFIG_EOS_MAX };

struct device_allocations {
    struct gpu_address *at;
    size_t n;
};

struct device {
    const struct gpu_driver *gpu;
    const struct gpu_backend *backend;
    unsigned index;
    struct gpu *handle;
    struct gpu_info info;
    struct gpu_stream *stream;
    struct gpu_module *module;
    const struct kernel_set *set; /* the chip's */
    struct device_kernels kernels;
    struct device_allocations memory;
    /* Of the first call that failed where nothing can fail; ERR_NONE while all is well. */
    enum err_code failure;
    char failure_message[512];

    const struct model_config *config; /* borrowed */
    struct device_sizes sizes;
    size_t table_len; /* pages of the longest sequence */

    struct device_matrix embed, output; /* the same when tied */
    struct device_layer *layers;
    struct gpu_address norm, cos_sin;
    struct gpu_address cache;
    struct gpu_tensor_map cache_map;
    size_t spare_page; /* behind the others: rows that fill up a graph's bucket write there */

    struct gpu_address x;                     /* float (max_rows, hidden_size) */
    struct device_operand h, attended, inner; /* bf16 */
    struct gpu_address qkv, logits;           /* bf16; float (max_logits, vocab_size) */
    struct gpu_address partial_sums, partial_weights;
    struct gpu_address tokens, positions, page_tables;
    struct gpu_address newest, newest_at, slot_tables;
    struct gpu_address params, biases,
        ends;                         /* (n_slots) of each: ENGINE_BIAS_MAX, DEVICE_ENDS_MAX */
    struct gpu_address counts, masks; /* (n_slots, n_sampled_vocab), (n_slots, mask words) */
    struct gpu_address allowed;       /* (mask words): sizes.sampled_ids */
    struct gpu_address slot_tokens;   /* (max_context): of the slot whose tokens are counted */
    struct gpu_address sampled, tops, z, scratch;
    struct gpu_address inputs_at, copies_at;
    size_t *n_in_table;            /* (n_slots): pages that slot_tables holds */
    bool *slot_has_tops;           /* (n_slots) */
    struct cuda_page_copy *copies; /* (DEVICE_COPIES), pinned */
    size_t n_copies;               /* since the beginning */

    /* Steps on their way, and the one that is being put together, which is flights[n_launched %
     * DEVICE_FLIGHTS]. */
    struct device_flight flights[DEVICE_FLIGHTS];
    uint64_t n_launched, n_read;
    struct device_inputs inputs, inputs_on_device; /* that one's */
    size_t n_rows, n_logits, n_runs;
    struct attention_run *runs; /* (max_rows) */
    struct gpu_graph *graphs[DEVICE_BUCKETS];
    size_t max_bucket; /* rows of the largest */
    uint64_t n_graph_steps;
    bool dirty; /* holds what came from prompts */
};

static inline struct gpu_address device_at(struct gpu_address a, uint64_t offset)
{
    return (struct gpu_address){a.at + offset};
}

/* As kernels take it. */
static inline void *device_pointer(struct gpu_address a)
{
    return (void *)(uintptr_t)a.at;
}

/* device_open.c: the attention of the model's head_dim. */
struct err device_find_attention(struct device *d) MUST_USE;
struct attention_shape device_attention_shape(const struct model_config *c,
                                              unsigned n_multiprocessors);

/* device_memory.c */
struct err device_alloc(struct device *d, struct gpu_address *out, uint64_t len) MUST_USE;
void device_memory_free(struct device *d);
struct err device_make_work(struct device *d) MUST_USE;
/* Rows that one step can choose tokens from. */
size_t device_max_sampled(const struct device_sizes *s);
size_t device_mask_words(const struct device_sizes *s);
/* Nothing on chips whose kernels take pointers. */
struct err device_tensor_map(struct device *d, struct gpu_tensor_map *out,
                             const struct gpu_tensor *t) MUST_USE;
void device_fail(struct device *d, struct err e); /* keeps the first */
struct err device_state(const struct device *d) MUST_USE;

/* device_weights.c */
struct err device_read_weights(struct device *d, struct weights *w, struct shards *shards,
                               struct model_files *files) MUST_USE;

/* device_slot.c: copies what the host says on its way there, behind the steps that were launched.
 */
void device_upload(struct device *d, struct gpu_address to, const void *from, size_t len);

/* device_sample.c: chooses from the step's logits; brings what was chosen. */
struct err device_sample(const struct device *d, size_t n_logits) MUST_USE;

/* device_step.c */
/* Finds the places of the inputs of a step of that many rows. */
void device_lay_out(struct device *d, size_t n_rows);
struct err device_send_inputs(struct device *d) MUST_USE;

/* Which lists of attention work are launched. An empty one may be. */
struct device_lists {
    bool wide, narrow, folds;
};

/* device_forward.c: enqueues a step of that many rows, without choosing. */
struct err device_forward(struct device *d, const struct device_lists *lists, size_t n_rows,
                          size_t n_logits) MUST_USE;

/* device_graph.c */
struct err device_make_graphs(struct device *d) MUST_USE;
void device_free_graphs(struct device *d);
/* The graph for the step that was put together, whose rows are filled up to the graph's; NULL if
 * there is none: then nothing is changed. */
struct gpu_graph *device_find_graph(struct device *d);

#endif
