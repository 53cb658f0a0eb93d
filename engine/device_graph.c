/*
 * Steps in which every sequence decodes one row: the launches of such a step are always the same
 * for the same number of rows, so they are kept as graphs, one for each power of two. A graph's
 * rows that nobody has are filled up with rows of no slot, which write to the spare page.
 */
#include "engine/device_internal.h"

static size_t rows_of(const struct device *d, unsigned bucket)
{
    size_t n = (size_t)1 << bucket;
    return n < d->max_bucket ? n : d->max_bucket;
}

/* Everything that may be needed: empty lists do nothing. */
static struct err record(struct device *d, size_t n_rows, struct gpu_graph **out)
{
    const struct device_lists lists = {.narrow = true, .folds = true};
    device_lay_out(d, n_rows);
    TRY(d->gpu->capture_begin(d->stream));
    struct err e = device_forward(d, &lists, n_rows, n_rows);
    if (!is_err(e))
        e = device_sample(d, n_rows);
    struct err end = d->gpu->capture_end(d->stream, out); /* in any case: it ends the recording */
    return is_err(e) ? e : end;
}

struct err device_make_graphs(struct device *d)
{
    d->max_bucket = device_max_sampled(&d->sizes);
    for (unsigned i = 0; i < DEVICE_BUCKETS; i++) {
        TRY(record(d, rows_of(d, i), &d->graphs[i]));
        if (rows_of(d, i) == d->max_bucket)
            break;
    }
    return err_ok();
}

void device_free_graphs(struct device *d)
{
    for (unsigned i = 0; i < DEVICE_BUCKETS; i++)
        d->gpu->graph_free(d->graphs[i]);
}

struct gpu_graph *device_find_graph(struct device *d)
{
    const struct device_inputs *in = &d->inputs;
    bool decodes = d->n_runs == d->n_rows && d->n_logits == d->n_rows;
    unsigned i = 0;
    if (!decodes || d->n_rows > d->max_bucket)
        return NULL;
    while (i + 1 < DEVICE_BUCKETS && rows_of(d, i) < d->n_rows)
        i++;
    if (rows_of(d, i) < d->n_rows)
        return NULL;
    for (; d->n_rows < rows_of(d, i); d->n_rows++) {
        in->plan[d->n_rows] = (struct cuda_plan_row){.slot = CUDA_NO_SLOT};
        in->logit_rows[d->n_rows] = (uint32_t)d->n_rows;
    }
    return d->graphs[i];
}
