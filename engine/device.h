/*
 * The forward pass on a GPU, behind kernels/cuda/gpu.h: the driver's libcuda or the emulated GPU
 * alike. Rows, pages and positions are those of the CPU path; the order of its sums is its own
 * (docs/CUDA.md), and a row's bits depend on its own sequence alone there, too.
 *
 * A sequence that runs has a slot on the device, which holds its page table, how its tokens are
 * chosen and the newest of them. One step is: slots, rows, device_launch; and later device_read,
 * with DEVICE_FLIGHTS steps on their way at most. What is said of slots and pages takes effect
 * behind the steps that were launched. Everything belongs to one thread at a time (device_enter).
 *
 * Errors: those of gpu.h. After ERR_IO nothing on the device can be used any more: free it, open it
 * anew.
 */
#ifndef ENGINE_DEVICE_H
#define ENGINE_DEVICE_H

#include "engine/kv.h"
#include "engine/model_files.h"
#include "engine/sample.h"
#include "engine/shards.h"
#include "engine/weights.h"
#include "kernels/cuda/gpu_backend.h"

struct device;

enum { DEVICE_FLIGHTS = 2 };

/* Takes GPU `index` and looks up all kernels. ERR_UNSUPPORTED for a chip that none were built for.
 */
struct err device_open(struct device **out, const struct gpu_backend *backend,
                       unsigned index) MUST_USE;
/* Zeroes nothing: the driver gives no memory to others before it is overwritten or zeroed. */
void device_free(struct device *d);
/* As if it had been freed and opened: what was loaded is lost, who knows the device knows it still.
 */
struct err device_reopen(struct device *d) MUST_USE;
/* The calling thread takes it over. */
struct err device_enter(struct device *d) MUST_USE;

const struct gpu_info *device_info(const struct device *d);
const char *device_numerics(const struct device *d); /* "sm90-1", "sm80-1" */

/* Whether the kernels have this shape, these types: ERR_UNSUPPORTED with the number and what is
 * possible. */
struct err device_check_config(const struct model_config *config) MUST_USE;
struct err device_check_weights(const struct model_config *config,
                                const struct weights *w) MUST_USE;

struct device_sizes {
    size_t max_rows;   /* of a step */
    size_t max_logits; /* rows of a step whose logits are wanted */
    size_t n_slots;
    size_t max_context;
    size_t n_pages;
    /* Ids that can be chosen: those below, but for those whose bit is 0. NULL: all; borrowed. */
    size_t n_sampled_vocab;
    const uint32_t *sampled_ids;
};

uint64_t device_page_size(const struct model_config *config); /* bytes of a page: bf16 */
/* As many as the attention's addresses reach. */
size_t device_max_pages(const struct model_config *config);
/* Bytes of weights, and of what a step works in. */
uint64_t device_weights_size(const struct model_config *config, const struct weights *w);
uint64_t device_work_size(const struct model_config *config, const struct device_sizes *sizes);
/* Bytes of the device's memory that a model can have. */
uint64_t device_memory(const struct device *d);

/* Reserves all memory and reads the weights there, from shards that were opened (shards_open); the
 * vectors of `w` are filled in, too. All pages are zero. What is borrowed must outlive the device.
 */
struct err device_load(struct device *d, const struct model_config *config, struct weights *w,
                       struct shards *shards, struct model_files *files,
                       const struct device_sizes *sizes) MUST_USE;

/* The pages' bytes. */
struct kv_store device_kv_store(struct device *d);

/* A step begins with no rows. Fewer than DEVICE_FLIGHTS are on their way. */
void device_begin(struct device *d);
/* The slot's pages are these from now on; those that it had before are a beginning of them, unless
 * it is `fresh`. */
void device_set_pages(struct device *d, size_t slot, const uint32_t *pages, size_t n, bool fresh);
/* How a slot's tokens are chosen from now on; borrowed for the call. */
struct device_sampling {
    const struct engine_params *params;
    uint64_t seed;
    const uint32_t *tokens; /* (n_tokens) so far, prompt and answer: for penalties */
    size_t n_tokens, n_prompt;
    const uint32_t *end_ids; /* (n_end_ids): banned while the answer is shorter than min_tokens */
    size_t n_end_ids;
};
void device_set_sampling(struct device *d, size_t slot, const struct device_sampling *s);
/* Which ids may be chosen next ((n_sampled_vocab + 31) / 32 words). Of a slot whose params have a
 * mask, before each of its tokens. */
void device_set_mask(struct device *d, size_t slot, const uint32_t *allowed);
/* Rows of a slot, beside each other: token at position, position + 1, ... Pages for all of them
 * were set. tokens NULL: one row, the newest token that was chosen for the slot; position is its
 * own. */
void device_add_rows(struct device *d, size_t slot, const uint32_t *tokens, size_t position,
                     size_t n);
/* Of a row of this step, by its number; logits and choices come in the order of these calls. */
void device_want_logits(struct device *d, size_t row);

/* Enqueues the step: from each row whose logits are wanted a token is chosen, which is its slot's
 * newest then. `logits`: once the step has been read these are there, too (as many as are wanted,
 * vocab_size); NULL: they stay on the device. */
struct err device_launch(struct device *d, float *logits) MUST_USE;
/* Waits for the oldest step on its way. */
struct err device_read(struct device *d) MUST_USE;
/* What was chosen in the step that was read last, from the row that was the n-th to be wanted;
 * valid until the next device_begin. Errors: those of sample_token; min_tokens is for their text.
 */
struct err device_choice(const struct device *d, size_t n, unsigned min_tokens,
                         struct sample_result *out) MUST_USE;
/* In place of launching and reading: logits alone, nothing is chosen. */
struct err device_logits(struct device *d, float *logits) MUST_USE;

/* Zeroes what came from prompts: activations, logits, tokens; not the pages. */
struct err device_wipe(struct device *d) MUST_USE;

#endif
