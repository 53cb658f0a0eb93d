/* A libcublasLt.so.13 for the test of what the benchmark asks of one, on the emulated GPU, whose
 * memory is this process's: products of bf16 by the definition, at once. It takes what
 * bench/cublaslt.c means and refuses everything else, so an operand that is turned the wrong way or
 * a wrong number of an attribute is seen here. With BL_FAKE_CUBLASLT it computes badly, which the
 * benchmark must see: "off" by a hundredth, or "short" of the last result. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

enum { OK = 0, INVALID = 7, FOUND = 3 };

struct layout {
    int type;
    uint64_t rows, cols;
    int64_t ld;
};

struct desc {
    int compute, scale, turned[2];
};

struct algorithm {
    uint64_t data[8];
};

struct found {
    struct algorithm algorithm;
    size_t workspace_len;
    int state;
    float waves;
    int reserved[4];
};

static float widen(uint16_t x)
{
    uint32_t bits = (uint32_t)x << 16;
    float out;
    memcpy(&out, &bits, sizeof out);
    return out;
}

static uint16_t narrow(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

static int make(void **out, size_t len)
{
    *out = calloc(1, len);
    return *out != NULL ? OK : INVALID;
}

static int drop(void *p)
{
    free(p);
    return OK;
}

size_t cublasLtGetVersion(void);
EXPORT size_t cublasLtGetVersion(void)
{
    return 130000;
}

int cublasLtCreate(void **handle);
EXPORT int cublasLtCreate(void **handle)
{
    return make(handle, 1);
}

int cublasLtDestroy(void *handle);
EXPORT int cublasLtDestroy(void *handle)
{
    return drop(handle);
}

int cublasLtMatmulDescCreate(void **out, int compute, int scale);
EXPORT int cublasLtMatmulDescCreate(void **out, int compute, int scale)
{
    if (compute != 68 || scale != 0 || make(out, sizeof(struct desc)) != OK)
        return INVALID;
    *(struct desc *)*out = (struct desc){compute, scale, {0, 0}};
    return OK;
}

int cublasLtMatmulDescSetAttribute(struct desc *d, int attribute, const void *value, size_t len);
EXPORT int cublasLtMatmulDescSetAttribute(struct desc *d, int attribute, const void *value,
                                          size_t len)
{
    if ((attribute != 3 && attribute != 4) || len != sizeof(int))
        return INVALID;
    memcpy(&d->turned[attribute - 3], value, sizeof(int));
    return OK;
}

int cublasLtMatmulDescDestroy(void *d);
EXPORT int cublasLtMatmulDescDestroy(void *d)
{
    return drop(d);
}

int cublasLtMatrixLayoutCreate(void **out, int type, uint64_t rows, uint64_t cols, int64_t ld);
EXPORT int cublasLtMatrixLayoutCreate(void **out, int type, uint64_t rows, uint64_t cols,
                                      int64_t ld)
{
    if (type != 14 || ld < (int64_t)rows || make(out, sizeof(struct layout)) != OK)
        return INVALID;
    *(struct layout *)*out = (struct layout){type, rows, cols, ld};
    return OK;
}

int cublasLtMatrixLayoutDestroy(void *l);
EXPORT int cublasLtMatrixLayoutDestroy(void *l)
{
    return drop(l);
}

int cublasLtMatmulPreferenceCreate(void **out);
EXPORT int cublasLtMatmulPreferenceCreate(void **out)
{
    return make(out, 1);
}

int cublasLtMatmulPreferenceSetAttribute(void *p, int attribute, const void *value, size_t len);
EXPORT int cublasLtMatmulPreferenceSetAttribute(void *p, int attribute, const void *value,
                                                size_t len)
{
    (void)p;
    (void)value;
    return attribute == 1 && len == sizeof(size_t) ? OK : INVALID;
}

int cublasLtMatmulPreferenceDestroy(void *p);
EXPORT int cublasLtMatmulPreferenceDestroy(void *p)
{
    return drop(p);
}

/* d = a^T b, columns beside each other: a (k, m), b (k, n), d (m, n). */
static int shapes_fit(const struct desc *desc, const struct layout *a, const struct layout *b,
                      const struct layout *d)
{
    return desc->turned[0] == 1 && desc->turned[1] == 0 && a->rows == b->rows &&
           a->cols == d->rows && b->cols == d->cols;
}

/* Three algorithms, of which the second cannot be used. */
int cublasLtMatmulAlgoGetHeuristic(void *handle, struct desc *desc, struct layout *a,
                                   struct layout *b, struct layout *c, struct layout *d,
                                   void *preference, int n_wanted, struct found *out, int *n);
EXPORT int cublasLtMatmulAlgoGetHeuristic(void *handle, struct desc *desc, struct layout *a,
                                          struct layout *b, struct layout *c, struct layout *d,
                                          void *preference, int n_wanted, struct found *out, int *n)
{
    (void)handle;
    (void)preference;
    if (!shapes_fit(desc, a, b, d) || !shapes_fit(desc, a, b, c) || n_wanted < FOUND)
        return INVALID;
    for (int i = 0; i < FOUND; i++)
        out[i] = (struct found){.algorithm = {{(uint64_t)i + 1}}, .state = i == 1 ? INVALID : OK};
    *n = FOUND;
    return OK;
}

int cublasLtMatmul(void *handle, struct desc *desc, const float *alpha, const uint16_t *a,
                   struct layout *a_is, const uint16_t *b, struct layout *b_is, const float *beta,
                   const uint16_t *c, struct layout *c_is, uint16_t *d, struct layout *d_is,
                   const struct algorithm *algorithm, void *workspace, size_t workspace_len,
                   void *stream);
EXPORT int cublasLtMatmul(void *handle, struct desc *desc, const float *alpha, const uint16_t *a,
                          struct layout *a_is, const uint16_t *b, struct layout *b_is,
                          const float *beta, const uint16_t *c, struct layout *c_is, uint16_t *d,
                          struct layout *d_is, const struct algorithm *algorithm, void *workspace,
                          size_t workspace_len, void *stream)
{
    (void)handle;
    (void)workspace;
    (void)workspace_len;
    (void)stream;
    if (!shapes_fit(desc, a_is, b_is, d_is) || c != d || c_is != d_is || *alpha < 1 || *alpha > 1 ||
        *beta < 0 || *beta > 0 || algorithm->data[0] == 2 || algorithm->data[0] == 0)
        return INVALID;
    const char *badly = getenv("BL_FAKE_CUBLASLT");
    const float by = badly != NULL && strcmp(badly, "off") == 0 ? 1.01f : 1.0f;
    const int is_short = badly != NULL && strcmp(badly, "short") == 0;
    for (uint64_t n = 0; n < d_is->cols; n++)
        for (uint64_t m = 0; m < d_is->rows; m++) {
            float sum = 0;
            if (is_short && n + 1 == d_is->cols && m + 1 == d_is->rows)
                return OK;
            for (uint64_t k = 0; k < a_is->rows; k++)
                sum += widen(a[m * (uint64_t)a_is->ld + k]) * widen(b[n * (uint64_t)b_is->ld + k]);
            d[n * (uint64_t)d_is->ld + m] = narrow(sum * by);
        }
    return OK;
}
