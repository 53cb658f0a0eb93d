/*
 * What the files of the avx512bf16 set share. A matmul's rows are rounded to bf16 and kept in
 * groups of at most GROUP_ROWS; within a group the rows alternate every PAIRS numbers, so that a
 * tile of outputs reads one stream: (n_cols / PAIRS rounded up, rows of the group, PAIRS), zeros at
 * the end.
 */
#ifndef KERNELS_CPU_BF16_H
#define KERNELS_CPU_BF16_H

#include "kernels/cpu/set.h"

enum {
    PAIRS = 32, /* bf16 numbers of a vector: 16 pairs, one for each float lane */
    GROUP_ROWS = 8,
};

static inline size_t group_len(const struct matmul_args *args) /* of a full group, in numbers */
{
    return GROUP_ROWS * ((args->n_cols + PAIRS - 1) / PAIRS * PAIRS);
}

/* Columns first to last - 1 of a BF16 matrix, of the rows in args->scratch. */
matmul_columns cpu_bf16_columns;

#endif
