/* All kernels as one file: one fatbin, one hash in the code lane. */
#include "kernels/cuda/attention_fold.cu"
#include "kernels/cuda/attention_sm90.cu"
#include "kernels/cuda/matmul_sm90.cu"
#include "kernels/cuda/rows.cu"
#include "kernels/cuda/sample.cu"
#include "kernels/cuda/sample_choose.cu"
#include "kernels/cuda/step.cu"
