/*
 * The forward pass on a GPU, behind kernels/cuda/gpu.h: the driver's libcuda or the emulated GPU
 * alike. Rows, pages and positions are those of the CPU path; the order of its sums is its own
 * (docs/CUDA.md), and a row's bits depend on its own sequence alone there, too.
 *
 * A sequence that runs has a slot on the device, which holds its page table. One step is: slots and
 * their pages, rows, device_run. Everything belongs to one thread at a time (device_enter).
 *
 * Errors: those of gpu.h. After ERR_IO nothing on the device can be used any more: free it, open it
 * anew.
 */
#ifndef ENGINE_DEVICE_H
#define ENGINE_DEVICE_H

#include "engine/kv.h"
#include "engine/model_files.h"
#include "engine/shards.h"
#include "engine/weights.h"
#include "kernels/cuda/gpu_backend.h"

struct device;

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

/* A step begins with no rows. */
void device_begin(struct device *d);
/* The slot's pages are these from now on; those that it had before are a beginning of them, unless
 * it is `fresh`. */
void device_set_pages(struct device *d, size_t slot, const uint32_t *pages, size_t n, bool fresh);
/* Rows of a slot, beside each other: token at position, position + 1, ... Pages for all of them
 * were set. */
void device_add_rows(struct device *d, size_t slot, const uint32_t *tokens, size_t position,
                     size_t n);
/* Of a row of this step, by its number; logits come in the order of these calls. */
void device_want_logits(struct device *d, size_t row);
/* Computes the step. logits (as many as are wanted, vocab_size). */
struct err device_run(struct device *d, float *logits) MUST_USE;

/* Zeroes what came from prompts: activations, logits, tokens; not the pages. */
struct err device_wipe(struct device *d) MUST_USE;

#endif
