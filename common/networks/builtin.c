#include "common/network_build.h"

#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    bool numbered; /* a number follows the name */
    int (*build)(struct sp_builder *builder, int number);
} builtins[] = {
    {"lenet5", false, sp_network_lenet5},
    {"alexnet", false, sp_network_alexnet},
    {"vgg16", false, sp_network_vgg16},
    {"resnet", true, sp_network_resnet},
};
enum { BUILTINS = sizeof builtins / sizeof *builtins };

const char *sp_network_builtin_help(void)
{
    return "lenet5, alexnet, vgg16, resnetN (N = 6n+2)";
}

/* The number after a name, 0 when the name is not followed by just one. */
static int number_after(const char *text, const char *name)
{
    size_t length = strlen(name), digits = 0;
    if (strncmp(text, name, length) != 0 || text[length] == '0')
        return 0;
    digits = strspn(text + length, "0123456789");
    return digits > 0 && digits < 6 && text[length + digits] == '\0' ? atoi(text + length) : 0;
}

static sp_status unknown(const char *name, struct sp_mark mark, struct sp_error *err)
{
    static const char *const names[] = {"lenet5", "alexnet", "vgg16", "resnet20", "resnet56", "resnet110"};
    const char *near = sp_nearest(name, names, sizeof names / sizeof *names);
    if (near == NULL)
        return sp_reject(err, mark, "network: no \"%s\"; legal: %s", name, sp_network_builtin_help());
    return sp_reject(err, mark, "network: no \"%s\"; did you mean \"%s\"? Legal: %s", name, near,
                     sp_network_builtin_help());
}

void sp_network_builtin(const char *name, struct sp_builder *builder)
{
    struct sp_mark mark = builder->mark;
    for (int b = 0; b < BUILTINS; b++) {
        int number = builtins[b].numbered ? number_after(name, builtins[b].name) : 0;
        if (number == 0 && (builtins[b].numbered || strcmp(name, builtins[b].name) != 0))
            continue;
        if (builtins[b].numbered && (number < 8 || number % 6 != 2)) {
            int below = number < 8 ? 8 : number - (number - 2) % 6;
            builder->status = sp_reject(builder->err, mark,
                                        "network: no \"%s\": a resnet has 6n+2 layers; nearest: resnet%d, resnet%d",
                                        name, below, below + 6);
            return;
        }
        int scores = builtins[b].build(builder, number);
        sp_builder_plain(builder, SP_LAYER_SOFTMAX_CROSS_ENTROPY, scores);
        return;
    }
    builder->status = unknown(name, mark, builder->err);
}
