/*
 * Flatten moves nothing: its output is its input, in the input's own layout, and who reads it takes that.
 */
#include "exec/cpu/cpu.h"

#include <string.h>

static sp_status compile(struct cpu_model *model, int l, struct sp_error *err)
{
    (void)err;
    cpu_keep_layout(model, l);
    return SP_OK;
}

static sp_status run(struct cpu_model *model, int l, enum sp_pass pass, const struct exec_io *io, struct sp_error *err)
{
    (void)err;
    size_t bytes = cpu_md_bytes(&model->tensors[l + 1]);
    const void *from = pass == SP_PASS_BACKWARD ? io->output_gradient : io->input[0];
    void *to = pass == SP_PASS_BACKWARD ? io->input_gradient[0] : io->output;
    if (to != NULL && to != from)
        memcpy(to, from, bytes);
    return SP_OK;
}

const struct cpu_kind cpu_flatten = {.compile = compile, .run = run};
