/* The calls, types and numbers are those of the cuBLASLt API ("cuBLAS Library", "Using the cublasLt
 * API"), which have been the same since its version 11. */
#include "bench/cublaslt.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(BL_BENCH_CUDA)
#include "kernels/cuda/gpu_cuda_handle.h"
#endif

enum { TYPE_F32 = 0, TYPE_BF16 = 14, COMPUTE_F32 = 68, TURNED = 1 };
enum { DESC_TRANSA = 3, PREF_WORKSPACE = 1, ALGORITHMS = 16, WORKSPACE = 64 << 20 };

struct algorithm {
    uint64_t data[8];
};

/* cublasLtMatmulHeuristicResult_t */
struct found {
    struct algorithm algorithm;
    size_t workspace_len;
    int state;
    float waves;
    int reserved[4];
};

struct api {
    size_t (*version)(void);
    int (*create)(void **handle);
    int (*destroy)(void *handle);
    int (*desc_create)(void **desc, int compute, int scale);
    int (*desc_set)(void *desc, int attribute, const void *value, size_t len);
    int (*desc_destroy)(void *desc);
    int (*layout_create)(void **layout, int type, uint64_t rows, uint64_t cols, int64_t ld);
    int (*layout_destroy)(void *layout);
    int (*preference_create)(void **preference);
    int (*preference_set)(void *preference, int attribute, const void *value, size_t len);
    int (*preference_destroy)(void *preference);
    int (*heuristics)(void *handle, void *desc, void *a, void *b, void *c, void *d,
                      void *preference, int n_wanted, struct found *found, int *n_found);
    int (*matmul)(void *handle, void *desc, const void *alpha, const void *a, void *a_layout,
                  const void *b, void *b_layout, const void *beta, const void *c, void *c_layout,
                  void *d, void *d_layout, const struct algorithm *algorithm, void *workspace,
                  size_t workspace_len, void *stream);
};

static const struct {
    const char *name;
    size_t at;
} functions[] = {
    {"cublasLtGetVersion", offsetof(struct api, version)},
    {"cublasLtCreate", offsetof(struct api, create)},
    {"cublasLtDestroy", offsetof(struct api, destroy)},
    {"cublasLtMatmulDescCreate", offsetof(struct api, desc_create)},
    {"cublasLtMatmulDescSetAttribute", offsetof(struct api, desc_set)},
    {"cublasLtMatmulDescDestroy", offsetof(struct api, desc_destroy)},
    {"cublasLtMatrixLayoutCreate", offsetof(struct api, layout_create)},
    {"cublasLtMatrixLayoutDestroy", offsetof(struct api, layout_destroy)},
    {"cublasLtMatmulPreferenceCreate", offsetof(struct api, preference_create)},
    {"cublasLtMatmulPreferenceSetAttribute", offsetof(struct api, preference_set)},
    {"cublasLtMatmulPreferenceDestroy", offsetof(struct api, preference_destroy)},
    {"cublasLtMatmulAlgoGetHeuristic", offsetof(struct api, heuristics)},
    {"cublasLtMatmul", offsetof(struct api, matmul)},
};

struct cublaslt {
    struct rig *r;
    struct api api;
    void *library, *handle, *stream;
    void *desc, *preference;
    void *w_layout, *x_layout, *y_layout; /* of the product that was prepared */
    struct gpu_address workspace;
    struct cublaslt_product product;
    struct found chosen;
};

static void must_call(int status, const char *what)
{
    if (status != 0)
        must(err_set(ERR_IO, "cuBLASLt cannot %s: status %d", what, status));
}

static bool find_functions(struct cublaslt *c)
{
    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) {
        void *found = dlsym(c->library, functions[i].name);
        if (found == NULL) {
            printf("cuBLASLt lacks %s: no comparison with it\n", functions[i].name);
            return false;
        }
        memcpy((uint8_t *)&c->api + functions[i].at, &found, sizeof found);
    }
    return true;
}

static bool open_library(struct cublaslt *c)
{
    static const char *const names[] = {"libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so"};
    for (size_t i = 0; c->library == NULL && i < sizeof names / sizeof names[0]; i++)
        c->library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    if (c->library == NULL)
        printf(
            "no cuBLASLt here (%s): no comparison with it; LD_LIBRARY_PATH may name its folder\n",
            dlerror());
    return c->library != NULL && find_functions(c);
}

/* On the emulated GPU a test's own stands in for the library, and computes at once. */
static void *stream_handle(const struct rig *r)
{
#if defined(BL_BENCH_CUDA)
    return r->emulated ? NULL : gpu_cuda_stream_handle(r->stream);
#else
    (void)r;
    return NULL;
#endif
}

static void make_descriptions(struct cublaslt *c)
{
    const int turned = TURNED;
    const size_t len = WORKSPACE;
    must_call(c->api.desc_create(&c->desc, COMPUTE_F32, TYPE_F32), "describe a product");
    must_call(c->api.desc_set(c->desc, DESC_TRANSA, &turned, sizeof turned), "turn a matrix");
    must_call(c->api.preference_create(&c->preference), "take preferences");
    must_call(c->api.preference_set(c->preference, PREF_WORKSPACE, &len, sizeof len),
              "take a workspace");
}

struct cublaslt *cublaslt_open(struct rig *r, struct results *results)
{
    struct cublaslt *c = calloc(1, sizeof *c);
    if (c == NULL)
        must(err_set(ERR_MEMORY, "no memory for cuBLASLt"));
    c->r = r;
    if (!open_library(c)) {
        free(c);
        return NULL;
    }
    must_call(c->api.create(&c->handle), "begin");
    results_about(results, "cublaslt", "%zu", c->api.version());
    must(r->driver->alloc(r->gpu, &c->workspace, WORKSPACE));
    c->stream = stream_handle(r);
    make_descriptions(c);
    return c;
}

static void forget_layouts(struct cublaslt *c)
{
    void **layouts[] = {&c->w_layout, &c->x_layout, &c->y_layout};
    for (size_t i = 0; i < 3; i++)
        if (*layouts[i] != NULL) {
            c->api.layout_destroy(*layouts[i]);
            *layouts[i] = NULL;
        }
}

void cublaslt_close(struct cublaslt *c)
{
    if (c == NULL)
        return;
    forget_layouts(c);
    c->api.preference_destroy(c->preference);
    c->api.desc_destroy(c->desc);
    c->api.destroy(c->handle);
    c->r->driver->free(c->r->gpu, c->workspace);
    free(c);
}

void cublaslt_multiply(void *context, size_t turn)
{
    struct cublaslt *c = context;
    const struct cublaslt_product *p = &c->product;
    const float one = 1, zero = 0;
    void *y = rig_pointer(p->y);
    must_call(c->api.matmul(c->handle, c->desc, &one, rig_pointer(p->w[turn % p->n_inputs]),
                            c->w_layout, rig_pointer(p->x[turn % p->n_inputs]), c->x_layout, &zero,
                            y, c->y_layout, y, c->y_layout, &c->chosen.algorithm,
                            rig_pointer(c->workspace), WORKSPACE, c->stream),
              "multiply");
}

/* It sees columns beside each other where we see rows: y^T = w x^T. */
static void make_layouts(struct cublaslt *c)
{
    const struct cublaslt_product *p = &c->product;
    forget_layouts(c);
    must_call(c->api.layout_create(&c->w_layout, TYPE_BF16, p->n_cols, p->n_out, p->n_cols),
              "describe weights");
    must_call(c->api.layout_create(&c->x_layout, TYPE_BF16, p->n_cols, p->n_rows, p->n_cols),
              "describe rows");
    must_call(c->api.layout_create(&c->y_layout, TYPE_BF16, p->n_out, p->n_rows, p->n_out),
              "describe results");
}

size_t cublaslt_prepare(struct cublaslt *c, const struct cublaslt_product *p)
{
    struct found found[ALGORITHMS];
    int n = 0, best = -1;
    double best_s = 0;
    memset(found, 0, sizeof found);
    c->product = *p;
    make_layouts(c);
    if (c->api.heuristics(c->handle, c->desc, c->w_layout, c->x_layout, c->y_layout, c->y_layout,
                          c->preference, ALGORITHMS, found, &n) != 0)
        return 0;
    for (int i = 0; i < n; i++) {
        if (found[i].state != 0)
            continue;
        c->chosen = found[i];
        double s = rig_time(c->r, cublaslt_multiply, c, 0.004);
        if (best < 0 || s < best_s)
            best = i, best_s = s;
    }
    if (best < 0)
        return 0;
    c->chosen = found[best];
    return (size_t)n;
}
