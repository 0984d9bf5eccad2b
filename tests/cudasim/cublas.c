/*
 * cublas.c - the calls of cuBLAS, in obvious loops. Matrices are column-major, sums in double. TF32 where it is asked
 * for rounds the operands as the tensor cores do.
 */
#include "tests/cudasim/handle.h"
#include "tests/cudasim/round.h"

#include <cublas_v2.h>
#include <stdlib.h>

struct cublasContext {
    struct cudasim_handle base;
    cublasMath_t math;
    void *workspace;
    size_t workspace_bytes;
};

cublasStatus_t cublasCreate_v2(cublasHandle_t *out)
{
    int code = CUDASIM_ENTER(CUDASIM_CUBLAS);
    *out = NULL;
    if (code != 0)
        return (cublasStatus_t)code;
    if (cudasim_device_count() == 0)
        return CUBLAS_STATUS_NOT_INITIALIZED;
    struct cublasContext *handle = calloc(1, sizeof *handle);
    if (handle == NULL)
        return CUBLAS_STATUS_ALLOC_FAILED;
    if (!cudasim_handle_open(&handle->base, "cuBLAS")) {
        free(handle);
        return CUBLAS_STATUS_ALLOC_FAILED;
    }
    *out = handle;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasDestroy_v2(cublasHandle_t handle)
{
    int code = CUDASIM_ENTER(CUDASIM_RELEASING);
    int status = cudasim_handle_close((struct cudasim_handle *)handle, CUBLAS_STATUS_NOT_INITIALIZED);
    if (status == 0)
        free(handle);
    return (cublasStatus_t)(code != 0 ? code : status);
}

/* The workspace is forgotten, as the real one forgets it. */
cublasStatus_t cublasSetStream_v2(cublasHandle_t handle, cudaStream_t stream)
{
    int status = CUDASIM_ENTER(CUDASIM_CUBLAS);
    if (status == 0)
        status = cudasim_handle_set_stream((struct cudasim_handle *)handle, stream, CUBLAS_STATUS_INVALID_VALUE);
    if (status == 0) {
        handle->workspace = NULL;
        handle->workspace_bytes = 0;
    }
    return (cublasStatus_t)status;
}

cublasStatus_t cublasGetStream_v2(cublasHandle_t handle, cudaStream_t *stream)
{
    int status = CUDASIM_ENTER(CUDASIM_CUBLAS);
    if (status == 0)
        status = cudasim_handle_check((struct cudasim_handle *)handle, CUBLAS_STATUS_NOT_INITIALIZED);
    if (status == 0)
        *stream = handle->base.stream;
    return (cublasStatus_t)status;
}

cublasStatus_t cublasSetWorkspace_v2(cublasHandle_t handle, void *workspace, size_t bytes)
{
    int status = CUDASIM_ENTER(CUDASIM_CUBLAS);
    if (status == 0)
        status = cudasim_handle_check((struct cudasim_handle *)handle, CUBLAS_STATUS_NOT_INITIALIZED);
    if (status == 0 && (uintptr_t)workspace % 256 != 0)
        status = cudasim_fault(CUBLAS_STATUS_INVALID_VALUE, "the workspace is not aligned to 256 bytes");
    if (status == 0) {
        handle->workspace = workspace;
        handle->workspace_bytes = bytes;
    }
    return (cublasStatus_t)status;
}

cublasStatus_t cublasSetMathMode(cublasHandle_t handle, cublasMath_t mode)
{
    int status = CUDASIM_ENTER(CUDASIM_CUBLAS);
    if (status == 0)
        status = cudasim_handle_check((struct cudasim_handle *)handle, CUBLAS_STATUS_NOT_INITIALIZED);
    if (status == 0)
        handle->math = mode;
    return (cublasStatus_t)status;
}

cublasStatus_t cublasGetMathMode(cublasHandle_t handle, cublasMath_t *mode)
{
    int status = CUDASIM_ENTER(CUDASIM_CUBLAS);
    if (status == 0)
        status = cudasim_handle_check((struct cudasim_handle *)handle, CUBLAS_STATUS_NOT_INITIALIZED);
    if (status == 0)
        *mode = handle->math;
    return (cublasStatus_t)status;
}

cublasStatus_t cublasGetVersion_v2(cublasHandle_t handle, int *version)
{
    (void)handle;
    *version = CUBLAS_VERSION;
    return CUBLAS_STATUS_SUCCESS;
}

const char *cublasGetStatusString(cublasStatus_t status)
{
    static const struct {
        cublasStatus_t status;
        const char *name;
    } names[] = {
#define ROW(status) {status, #status}
        ROW(CUBLAS_STATUS_SUCCESS),          ROW(CUBLAS_STATUS_NOT_INITIALIZED), ROW(CUBLAS_STATUS_ALLOC_FAILED),
        ROW(CUBLAS_STATUS_INVALID_VALUE),    ROW(CUBLAS_STATUS_ARCH_MISMATCH),   ROW(CUBLAS_STATUS_MAPPING_ERROR),
        ROW(CUBLAS_STATUS_EXECUTION_FAILED), ROW(CUBLAS_STATUS_INTERNAL_ERROR),  ROW(CUBLAS_STATUS_NOT_SUPPORTED),
#undef ROW
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].status == status)
            return names[i].name;
    return "unknown status";
}

/* ---- products ---- */

/* c (m, n) <- alpha op(a) (m, k) op(b) (k, n) + beta c. Element (i, l) of op(a) is a[i * a_row + l * a_column]. */
struct product {
    int m, n, k;
    float alpha, beta;
    const float *a, *b;
    float *c;
    int64_t a_row, a_column, b_row, b_column, c_column, c_row;
    bool tf32;
    void *workspace;
    size_t workspace_bytes;
};

static float rounded(float x, bool tf32)
{
    return tf32 ? cudasim_tf32(x) : x;
}

static void run_product(void *argument)
{
    const struct product *p = argument;
    cudasim_overwrite(p->workspace, p->workspace_bytes);
    double *sum = malloc(((size_t)p->m + 1) * sizeof *sum);
    if (sum == NULL)
        abort();
    for (int j = 0; j < p->n; j++) {
        for (int i = 0; i < p->m; i++)
            sum[i] = 0;
        for (int l = 0; l < p->k; l++) {
            double b = rounded(p->b[l * p->b_row + j * p->b_column], p->tf32);
            const float *a = p->a + l * p->a_column;
            if (p->tf32)
                for (int i = 0; i < p->m; i++)
                    sum[i] += cudasim_tf32(a[i * p->a_row]) * b;
            else
                for (int i = 0; i < p->m; i++)
                    sum[i] += a[i * p->a_row] * b;
        }
        for (int i = 0; i < p->m; i++) {
            float *c = &p->c[i * p->c_row + j * p->c_column];
            *c = cudasim_blend(p->alpha, sum[i], p->beta, c);
        }
    }
    free(sum);
    cudasim_overwrite(p->workspace, p->workspace_bytes);
}

static inline __attribute__((always_inline)) struct cudasim_op *begin(cublasHandle_t handle, int code, size_t bytes,
                                                                      void (*run)(void *))
{
    struct cudasim_op *op =
        cudasim_handle_begin((struct cudasim_handle *)handle, code, bytes, run, CUBLAS_STATUS_INVALID_VALUE);
    if (op->status == 0 && handle->workspace == NULL && op->stream->capture != NULL)
        cudasim_op_fault(op, "captured without a workspace: cuBLAS would take memory");
    return op;
}

/* Bytes from the first element of a column-major matrix to its last. */
static size_t matrix_bytes(struct cudasim_op *op, int rows, int columns, int leading, const char *what)
{
    if (op->status == 0 && (rows < 0 || columns < 0 || leading < (rows > 1 ? rows : 1)))
        cudasim_op_fault(op, "%s: %d x %d with leading dimension %d", what, rows, columns, leading);
    if (rows <= 0 || columns <= 0)
        return 0;
    return ((size_t)leading * (size_t)(columns - 1) + (size_t)rows) * sizeof(float);
}

static const void *input(struct cudasim_op *op, const float *x, int rows, int columns, int leading, const char *what)
{
    return cudasim_device_pointer(op, x, matrix_bytes(op, rows, columns, leading, what), CUDASIM_READ, what);
}

cublasStatus_t cublasSgemm_v2(cublasHandle_t handle, cublasOperation_t transa, cublasOperation_t transb, int m, int n,
                              int k, const float *alpha, const float *A, int lda, const float *B, int ldb,
                              const float *beta, float *C, int ldc)
{
    struct cudasim_op *op = begin(handle, CUDASIM_ENTER(CUDASIM_CUBLAS), sizeof(struct product), run_product);
    struct product *p = op->argument;
    if (op->status != 0)
        return (cublasStatus_t)cudasim_op_cancel(op);
    bool ta = transa != CUBLAS_OP_N, tb = transb != CUBLAS_OP_N;
    *p = (struct product){.m = m,
                          .n = n,
                          .k = k,
                          .alpha = *alpha,
                          .beta = *beta,
                          .a_row = ta ? lda : 1,
                          .a_column = ta ? 1 : lda,
                          .b_row = tb ? ldb : 1,
                          .b_column = tb ? 1 : ldb,
                          .c_row = 1,
                          .c_column = ldc,
                          .tf32 = handle->math == CUBLAS_TF32_TENSOR_OP_MATH,
                          .workspace_bytes = handle->workspace_bytes};
    p->a = input(op, A, ta ? k : m, ta ? m : k, lda, "A");
    p->b = input(op, B, tb ? n : k, tb ? k : n, ldb, "B");
    p->c = cudasim_device_pointer(op, C, matrix_bytes(op, m, n, ldc, "C"), *beta == 0 ? CUDASIM_WRITE : CUDASIM_UPDATE,
                                  "C");
    p->workspace = cudasim_device_pointer(op, handle->workspace, p->workspace_bytes, CUDASIM_WRITE, "workspace");
    cudasim_no_overlap(op);
    return (cublasStatus_t)cudasim_op_end(op);
}

/* y <- alpha op(A) x + beta y, as a product with one column. */
cublasStatus_t cublasSgemv_v2(cublasHandle_t handle, cublasOperation_t trans, int m, int n, const float *alpha,
                              const float *A, int lda, const float *x, int incx, const float *beta, float *y, int incy)
{
    struct cudasim_op *op = begin(handle, CUDASIM_ENTER(CUDASIM_CUBLAS), sizeof(struct product), run_product);
    struct product *p = op->argument;
    if (op->status == 0 && (incx <= 0 || incy <= 0))
        cudasim_op_fault(op, "increments %d and %d", incx, incy);
    if (op->status != 0)
        return (cublasStatus_t)cudasim_op_cancel(op);
    bool transposed = trans != CUBLAS_OP_N;
    *p = (struct product){.m = transposed ? n : m,
                          .n = 1,
                          .k = transposed ? m : n,
                          .alpha = *alpha,
                          .beta = *beta,
                          .a_row = transposed ? lda : 1,
                          .a_column = transposed ? 1 : lda,
                          .b_row = incx,
                          .c_row = incy,
                          .tf32 = handle->math == CUBLAS_TF32_TENSOR_OP_MATH,
                          .workspace_bytes = handle->workspace_bytes};
    p->a = input(op, A, m, n, lda, "A");
    p->b = input(op, x, 1, p->k, incx, "x");
    p->c = cudasim_device_pointer(op, y, matrix_bytes(op, 1, p->m, incy, "y"),
                                  *beta == 0 ? CUDASIM_WRITE : CUDASIM_UPDATE, "y");
    p->workspace = cudasim_device_pointer(op, handle->workspace, p->workspace_bytes, CUDASIM_WRITE, "workspace");
    cudasim_no_overlap(op);
    return (cublasStatus_t)cudasim_op_end(op);
}

/* ---- vectors ---- */

struct vectors {
    int64_t n, x_step, y_step;
    float alpha;
    const float *x;
    float *y;
};

static void run_axpy(void *argument)
{
    const struct vectors *v = argument;
    for (int64_t i = 0; i < v->n; i++)
        v->y[i * v->y_step] += v->alpha * v->x[i * v->x_step];
}

static void run_scale(void *argument)
{
    const struct vectors *v = argument;
    for (int64_t i = 0; i < v->n; i++)
        v->y[i * v->y_step] *= v->alpha;
}

cublasStatus_t cublasSaxpy_v2(cublasHandle_t handle, int n, const float *alpha, const float *x, int incx, float *y,
                              int incy)
{
    struct cudasim_op *op = begin(handle, CUDASIM_ENTER(CUDASIM_CUBLAS), sizeof(struct vectors), run_axpy);
    struct vectors *v = op->argument;
    *v = (struct vectors){.n = n, .x_step = incx, .y_step = incy, .alpha = *alpha};
    v->x = input(op, x, 1, n, incx, "x");
    v->y = cudasim_device_pointer(op, y, matrix_bytes(op, 1, n, incy, "y"), CUDASIM_UPDATE, "y");
    return (cublasStatus_t)cudasim_op_end(op);
}

cublasStatus_t cublasSscal_v2(cublasHandle_t handle, int n, const float *alpha, float *x, int incx)
{
    struct cudasim_op *op = begin(handle, CUDASIM_ENTER(CUDASIM_CUBLAS), sizeof(struct vectors), run_scale);
    struct vectors *v = op->argument;
    *v = (struct vectors){.n = n, .y_step = incx, .alpha = *alpha};
    v->y = cudasim_device_pointer(op, x, matrix_bytes(op, 1, n, incx, "x"), CUDASIM_UPDATE, "x");
    return (cublasStatus_t)cudasim_op_end(op);
}
