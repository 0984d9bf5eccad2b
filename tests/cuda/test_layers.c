/* Every kind of layer by cuDNN, cuBLAS and our kernels against the reference. */
#include "exec/cuda/cuda.h"
#include "tests/cuda/devices.h"
#include "tests/layers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void every_layer_is_that_of_the_reference(void **state)
{
    (void)state;
    devices_set(1);
    compare_all_layers(&exec_cuda_backend);
    assert_int_equal(devices_leaks(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_layer_is_that_of_the_reference)};
    return cmocka_run_group_tests_name("cuda layers", tests, NULL, NULL);
}
