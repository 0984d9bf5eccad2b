/*
 * cudnn.c - handles of cuDNN, descriptors, and what is done to tensors element by element.
 */
#include "tests/cudasim/cudnn.h"

#include <math.h>
#include <stdlib.h>

/* ---- handles ---- */

static _Thread_local const char *last_error = "";

cudnnStatus_t cudnnCreate(cudnnHandle_t *out)
{
    int code = CUDASIM_ENTER(CUDASIM_CUDNN);
    *out = NULL;
    if (code != 0)
        return (cudnnStatus_t)code;
    if (cudasim_device_count() == 0)
        return CUDNN_STATUS_NOT_INITIALIZED;
    struct cudnnContext *handle = calloc(1, sizeof *handle);
    if (handle == NULL)
        return CUDNN_STATUS_ALLOC_FAILED;
    if (!cudasim_handle_open(&handle->base, "cuDNN")) {
        free(handle);
        last_error = "the stand-in has no memory left for a handle\nof cuDNN";
        return CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED;
    }
    *out = handle;
    return CUDNN_STATUS_SUCCESS;
}

void cudnnGetLastErrorString(char *message, size_t max_size)
{
    (void)CUDASIM_ENTER(CUDASIM_RELEASING);
    snprintf(message, max_size, "%s", last_error);
    last_error = "";
}

cudnnStatus_t cudnnDestroy(cudnnHandle_t handle)
{
    int code = CUDASIM_ENTER(CUDASIM_RELEASING);
    int status = cudasim_handle_close((struct cudasim_handle *)handle, CUDNN_STATUS_BAD_PARAM);
    if (status == 0)
        free(handle);
    return (cudnnStatus_t)(code != 0 ? code : status);
}

cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream)
{
    int status = CUDASIM_ENTER(CUDASIM_CUDNN);
    if (status == 0)
        status = cudasim_handle_set_stream((struct cudasim_handle *)handle, stream, CUDNN_STATUS_BAD_PARAM);
    return (cudnnStatus_t)status;
}

cudnnStatus_t cudnnGetStream(cudnnHandle_t handle, cudaStream_t *stream)
{
    int status = CUDASIM_ENTER(CUDASIM_CUDNN);
    if (status == 0)
        status = cudasim_handle_check((struct cudasim_handle *)handle, CUDNN_STATUS_BAD_PARAM);
    if (status == 0)
        *stream = handle->base.stream;
    return (cudnnStatus_t)status;
}

/* ---- descriptors ---- */

bool cudasim_tensor_read(struct cudasim_op *op, cudnnTensorDescriptor_t descriptor, struct cudasim_tensor *tensor,
                         const char *what)
{
    if (op->status != 0)
        return false;
    int *size = tensor->size, stride[4];
    cudnnDataType_t type;
    cudasim_hide();
    cudnnStatus_t status = cudnnGetTensor4dDescriptor(descriptor, &type, &size[0], &size[1], &size[2], &size[3],
                                                      &stride[0], &stride[1], &stride[2], &stride[3]);
    cudasim_show();
    for (int i = 0; i < 4; i++)
        tensor->stride[i] = stride[i];
    if (status != CUDNN_STATUS_SUCCESS || type != CUDNN_DATA_FLOAT)
        cudasim_op_fault(op, "%s: not a descriptor of a float tensor of four dimensions", what);
    return op->status == 0;
}

bool cudasim_filter_read(struct cudasim_op *op, cudnnFilterDescriptor_t descriptor, struct cudasim_tensor *tensor,
                         const char *what)
{
    if (op->status != 0)
        return false;
    int *size = tensor->size;
    cudnnDataType_t type;
    cudnnTensorFormat_t format;
    cudasim_hide();
    cudnnStatus_t status =
        cudnnGetFilter4dDescriptor(descriptor, &type, &format, &size[0], &size[1], &size[2], &size[3]);
    cudasim_show();
    if (status != CUDNN_STATUS_SUCCESS || type != CUDNN_DATA_FLOAT ||
        (format != CUDNN_TENSOR_NCHW && format != CUDNN_TENSOR_NHWC)) {
        cudasim_op_fault(op, "%s: not a descriptor of a float filter, NCHW or NHWC", what);
        return false;
    }
    int64_t c = size[1], r = size[2], s = size[3], *stride = tensor->stride;
    stride[0] = c * r * s;
    if (format == CUDNN_TENSOR_NCHW)
        stride[1] = r * s, stride[2] = s, stride[3] = 1;
    else
        stride[1] = 1, stride[2] = s * c, stride[3] = c;
    return true;
}

static void translate(struct cudasim_op *op, const void *x, enum cudasim_access access, struct cudasim_tensor *tensor,
                      const char *what)
{
    int64_t last = 0;
    for (int i = 0; i < 4; i++)
        last += (tensor->size[i] - 1) * tensor->stride[i];
    tensor->x = cudasim_device_pointer(op, x, (size_t)(last + 1) * sizeof(float), access, what);
}

void cudasim_tensor(struct cudasim_op *op, cudnnTensorDescriptor_t descriptor, const void *x,
                    enum cudasim_access access, struct cudasim_tensor *tensor, const char *what)
{
    if (cudasim_tensor_read(op, descriptor, tensor, what))
        translate(op, x, access, tensor, what);
}

void cudasim_filter(struct cudasim_op *op, cudnnFilterDescriptor_t descriptor, const void *x,
                    enum cudasim_access access, struct cudasim_tensor *tensor, const char *what)
{
    if (cudasim_filter_read(op, descriptor, tensor, what))
        translate(op, x, access, tensor, what);
}

void cudasim_same_size(struct cudasim_op *op, const struct cudasim_tensor *a, const char *a_name,
                       const struct cudasim_tensor *b, const char *b_name)
{
    if (op->status == 0 && memcmp(a->size, b->size, sizeof a->size) != 0)
        cudasim_op_fault(op, "%s is %dx%dx%dx%d, %s is %dx%dx%dx%d", a_name, a->size[0], a->size[1], a->size[2],
                         a->size[3], b_name, b->size[0], b->size[1], b->size[2], b->size[3]);
}

void cudasim_sizes(struct cudasim_op *op, const struct cudasim_tensor *t, const char *what, int n, int c, int h, int w)
{
    if (op->status == 0 && (t->size[0] != n || t->size[1] != c || t->size[2] != h || t->size[3] != w))
        cudasim_op_fault(op, "%s is %dx%dx%dx%d, but must be %dx%dx%dx%d", what, t->size[0], t->size[1], t->size[2],
                         t->size[3], n, c, h, w);
}

/* ---- element by element ---- */

/* y <- alpha f(x) + beta y, or with a second operand. */
struct elements {
    struct cudasim_tensor a, b, y;
    float alpha, alpha_b, beta;
    double (*one)(double a, double b, double coefficient);
    double coefficient;
};

/* Where an operand has one element, all of y's share it. */
static const float *shared(const struct cudasim_tensor *t, int n, int c, int h, int w)
{
    return cudasim_at(t, t->size[0] == 1 ? 0 : n, t->size[1] == 1 ? 0 : c, t->size[2] == 1 ? 0 : h,
                      t->size[3] == 1 ? 0 : w);
}

static void run_elements(void *argument)
{
    const struct elements *e = argument;
    const int *size = e->y.size;
    for (int n = 0; n < size[0]; n++)
        for (int c = 0; c < size[1]; c++)
            for (int h = 0; h < size[2]; h++)
                for (int w = 0; w < size[3]; w++) {
                    float *y = cudasim_at(&e->y, n, c, h, w);
                    double a = e->a.x != NULL ? *shared(&e->a, n, c, h, w) : 0;
                    double b = e->b.x != NULL ? *shared(&e->b, n, c, h, w) : 0;
                    if (e->alpha_b != 0) /* OpTensor scales its operands, the others their result */
                        *y = cudasim_blend(1, e->one(e->alpha * a, e->alpha_b * b, e->coefficient), e->beta, y);
                    else
                        *y = cudasim_blend(e->alpha, e->one(a, b, e->coefficient), e->beta, y);
                }
}

static void may_share(struct cudasim_op *op, const struct cudasim_tensor *a, const char *what,
                      const struct cudasim_tensor *y)
{
    for (int i = 0; i < 4 && op->status == 0; i++)
        if (a->size[i] != 1 && a->size[i] != y->size[i])
            cudasim_op_fault(op, "%s has %d where the result has %d (dimension %d)", what, a->size[i], y->size[i], i);
}

static double take_a(double a, double b, double coefficient)
{
    (void)b, (void)coefficient;
    return a;
}

static double take_coefficient(double a, double b, double coefficient)
{
    (void)a, (void)b;
    return coefficient;
}

cudnnStatus_t cudnnAddTensor(cudnnHandle_t handle, const void *alpha, const cudnnTensorDescriptor_t aDesc,
                             const void *A, const void *beta, const cudnnTensorDescriptor_t cDesc, void *C)
{
    struct cudasim_op *op = CUDASIM_CUDNN_BEGIN(handle, struct elements, run_elements);
    struct elements *e = op->argument;
    *e = (struct elements){.alpha = *(const float *)alpha, .beta = *(const float *)beta, .one = take_a};
    cudasim_tensor(op, aDesc, A, CUDASIM_READ, &e->a, "A");
    cudasim_tensor(op, cDesc, C, cudasim_output(beta), &e->y, "C");
    may_share(op, &e->a, "A", &e->y);
    return (cudnnStatus_t)cudasim_op_end(op);
}

cudnnStatus_t cudnnTransformTensor(cudnnHandle_t handle, const void *alpha, const cudnnTensorDescriptor_t xDesc,
                                   const void *x, const void *beta, const cudnnTensorDescriptor_t yDesc, void *y)
{
    struct cudasim_op *op = CUDASIM_CUDNN_BEGIN(handle, struct elements, run_elements);
    struct elements *e = op->argument;
    *e = (struct elements){.alpha = *(const float *)alpha, .beta = *(const float *)beta, .one = take_a};
    cudasim_tensor(op, xDesc, x, CUDASIM_READ, &e->a, "x");
    cudasim_tensor(op, yDesc, y, cudasim_output(beta), &e->y, "y");
    cudasim_same_size(op, &e->a, "x", &e->y, "y");
    cudasim_no_overlap(op);
    return (cudnnStatus_t)cudasim_op_end(op);
}

cudnnStatus_t cudnnSetTensor(cudnnHandle_t handle, const cudnnTensorDescriptor_t yDesc, void *y, const void *valuePtr)
{
    struct cudasim_op *op = CUDASIM_CUDNN_BEGIN(handle, struct elements, run_elements);
    struct elements *e = op->argument;
    *e = (struct elements){.alpha = 1, .one = take_coefficient, .coefficient = *(const float *)valuePtr};
    cudasim_tensor(op, yDesc, y, CUDASIM_WRITE, &e->y, "y");
    return (cudnnStatus_t)cudasim_op_end(op);
}

cudnnStatus_t cudnnScaleTensor(cudnnHandle_t handle, const cudnnTensorDescriptor_t yDesc, void *y, const void *alpha)
{
    struct cudasim_op *op = CUDASIM_CUDNN_BEGIN(handle, struct elements, run_elements);
    struct elements *e = op->argument;
    *e = (struct elements){.alpha = 1, .beta = *(const float *)alpha, .one = take_coefficient};
    cudasim_tensor(op, yDesc, y, CUDASIM_UPDATE, &e->y, "y");
    return (cudnnStatus_t)cudasim_op_end(op);
}

static double op_add(double a, double b, double unused)
{
    (void)unused;
    return a + b;
}

static double op_multiply(double a, double b, double unused)
{
    (void)unused;
    return a * b;
}

static double op_minimum(double a, double b, double unused)
{
    (void)unused;
    return a < b ? a : b;
}

static double op_maximum(double a, double b, double unused)
{
    (void)unused;
    return a > b ? a : b;
}

cudnnStatus_t cudnnOpTensor(cudnnHandle_t handle, const cudnnOpTensorDescriptor_t opTensorDesc, const void *alpha1,
                            const cudnnTensorDescriptor_t aDesc, const void *A, const void *alpha2,
                            const cudnnTensorDescriptor_t bDesc, const void *B, const void *beta,
                            const cudnnTensorDescriptor_t cDesc, void *C)
{
    static double (*const operations[])(double, double, double) = {
        [CUDNN_OP_TENSOR_ADD] = op_add,
        [CUDNN_OP_TENSOR_MUL] = op_multiply,
        [CUDNN_OP_TENSOR_MIN] = op_minimum,
        [CUDNN_OP_TENSOR_MAX] = op_maximum,
    };
    struct cudasim_op *op = CUDASIM_CUDNN_BEGIN(handle, struct elements, run_elements);
    struct elements *e = op->argument;
    cudnnOpTensorOp_t kind = CUDNN_OP_TENSOR_NOT;
    cudnnDataType_t type;
    cudnnNanPropagation_t nan;
    if (op->status == 0 && (cudnnGetOpTensorDescriptor(opTensorDesc, &kind, &type, &nan) != CUDNN_STATUS_SUCCESS ||
                            (size_t)kind >= sizeof operations / sizeof *operations))
        cudasim_op_fault(op, "operation %d is not known here", (int)kind);
    if (op->status != 0)
        return (cudnnStatus_t)cudasim_op_cancel(op);
    *e = (struct elements){.alpha = *(const float *)alpha1,
                           .alpha_b = *(const float *)alpha2,
                           .beta = *(const float *)beta,
                           .one = operations[kind]};
    cudasim_tensor(op, aDesc, A, CUDASIM_READ, &e->a, "A");
    cudasim_tensor(op, bDesc, B, CUDASIM_READ, &e->b, "B");
    cudasim_tensor(op, cDesc, C, cudasim_output(beta), &e->y, "C");
    cudasim_same_size(op, &e->a, "A", &e->y, "C");
    may_share(op, &e->b, "B", &e->y);
    return (cudnnStatus_t)cudasim_op_end(op);
}

/* ---- activations ---- */

struct activation {
    struct cudasim_tensor x, y, dx, dy;
    float alpha, beta;
    cudnnActivationMode_t mode;
    double coefficient;
};

/* Unlike cuDNN's, these let NaN through always, for a value that nobody has written must show. */
static double activate(cudnnActivationMode_t mode, double x, double coefficient)
{
    switch (mode) {
    case CUDNN_ACTIVATION_RELU:
        return x <= 0 ? 0 : x;
    case CUDNN_ACTIVATION_CLIPPED_RELU:
        return x <= 0 ? 0 : x > coefficient ? coefficient : x;
    case CUDNN_ACTIVATION_SIGMOID:
        return 1 / (1 + exp(-x));
    case CUDNN_ACTIVATION_TANH:
        return tanh(x);
    case CUDNN_ACTIVATION_ELU:
        return x > 0 ? x : coefficient * expm1(x);
    default:
        return x;
    }
}

/* By the value of the activation, y. */
static double slope(cudnnActivationMode_t mode, double y, double coefficient)
{
    switch (mode) {
    case CUDNN_ACTIVATION_RELU:
        return y <= 0 ? 0 : y > 0 ? 1 : y;
    case CUDNN_ACTIVATION_CLIPPED_RELU:
        return y <= 0 || y >= coefficient ? 0 : y > 0 ? 1 : y;
    case CUDNN_ACTIVATION_SIGMOID:
        return y * (1 - y);
    case CUDNN_ACTIVATION_TANH:
        return 1 - y * y;
    case CUDNN_ACTIVATION_ELU:
        return y > 0 ? 1 : y + coefficient;
    default:
        return 1;
    }
}

static void run_activation(void *argument)
{
    const struct activation *a = argument;
    const int *size = a->x.size;
    for (int n = 0; n < size[0]; n++)
        for (int c = 0; c < size[1]; c++)
            for (int h = 0; h < size[2]; h++)
                for (int w = 0; w < size[3]; w++) {
                    float *y = cudasim_at(&a->y, n, c, h, w);
                    double value = activate(a->mode, *cudasim_at(&a->x, n, c, h, w), a->coefficient);
                    *y = cudasim_blend(a->alpha, value, a->beta, y);
                }
}

static void run_activation_backward(void *argument)
{
    const struct activation *a = argument;
    const int *size = a->y.size;
    for (int n = 0; n < size[0]; n++)
        for (int c = 0; c < size[1]; c++)
            for (int h = 0; h < size[2]; h++)
                for (int w = 0; w < size[3]; w++) {
                    float *dx = cudasim_at(&a->dx, n, c, h, w);
                    double gradient = *cudasim_at(&a->dy, n, c, h, w) *
                                      slope(a->mode, *cudasim_at(&a->y, n, c, h, w), a->coefficient);
                    *dx = cudasim_blend(a->alpha, gradient, a->beta, dx);
                }
}

static void read_activation(struct cudasim_op *op, cudnnActivationDescriptor_t descriptor, struct activation *a)
{
    cudnnNanPropagation_t nan;
    if (op->status == 0 &&
        cudnnGetActivationDescriptor(descriptor, &a->mode, &nan, &a->coefficient) != CUDNN_STATUS_SUCCESS)
        cudasim_op_fault(op, "not a descriptor of an activation");
    if (op->status == 0 && a->mode > CUDNN_ACTIVATION_IDENTITY)
        cudasim_op_fault(op, "activation %d is not known here", (int)a->mode);
}

cudnnStatus_t cudnnActivationForward(cudnnHandle_t handle, cudnnActivationDescriptor_t activationDesc,
                                     const void *alpha, const cudnnTensorDescriptor_t xDesc, const void *x,
                                     const void *beta, const cudnnTensorDescriptor_t yDesc, void *y)
{
    struct cudasim_op *op = CUDASIM_CUDNN_BEGIN(handle, struct activation, run_activation);
    struct activation *a = op->argument;
    *a = (struct activation){.alpha = *(const float *)alpha, .beta = *(const float *)beta};
    read_activation(op, activationDesc, a);
    cudasim_tensor(op, xDesc, x, CUDASIM_READ, &a->x, "x");
    cudasim_tensor(op, yDesc, y, cudasim_output(beta), &a->y, "y");
    cudasim_same_size(op, &a->x, "x", &a->y, "y");
    return (cudnnStatus_t)cudasim_op_end(op);
}

cudnnStatus_t cudnnActivationBackward(cudnnHandle_t handle, cudnnActivationDescriptor_t activationDesc,
                                      const void *alpha, const cudnnTensorDescriptor_t yDesc, const void *y,
                                      const cudnnTensorDescriptor_t dyDesc, const void *dy,
                                      const cudnnTensorDescriptor_t xDesc, const void *x, const void *beta,
                                      const cudnnTensorDescriptor_t dxDesc, void *dx)
{
    struct cudasim_op *op = CUDASIM_CUDNN_BEGIN(handle, struct activation, run_activation_backward);
    struct activation *a = op->argument;
    *a = (struct activation){.alpha = *(const float *)alpha, .beta = *(const float *)beta};
    read_activation(op, activationDesc, a);
    cudasim_tensor(op, yDesc, y, CUDASIM_READ, &a->y, "y");
    cudasim_tensor(op, dyDesc, dy, CUDASIM_READ, &a->dy, "dy");
    cudasim_tensor(op, xDesc, x, CUDASIM_READ, &a->x, "x");
    cudasim_tensor(op, dxDesc, dx, cudasim_output(beta), &a->dx, "dx");
    cudasim_same_size(op, &a->y, "y", &a->dy, "dy");
    cudasim_same_size(op, &a->y, "y", &a->x, "x");
    cudasim_same_size(op, &a->y, "y", &a->dx, "dx");
    return (cudnnStatus_t)cudasim_op_end(op);
}
