#include "common/layer.h"
#include "common/program/program.h"

#include <inttypes.h>
#include <stdio.h>

static json_t *layer_json(const struct sp_network *network, int l)
{
    const struct sp_layer *layer = &network->layers[l];
    return json_pack("{s:s, s:s, s:i, s:[i,i,i], s:I, s:f, s:f, s:I}", "name", layer->name, "type",
                     sp_layer_kinds[layer->type]->name, "weight_layer", layer->weight_number, "output", layer->out.c,
                     layer->out.h, layer->out.w, "parameters",
                     (json_int_t)(layer->parameters[0] + layer->parameters[1]), "forward_flops", layer->forward_flops,
                     "backward_flops", layer->backward_input_flops + layer->backward_weight_flops, "output_bytes",
                     (json_int_t)(4 * sp_shape_elements(layer->out)));
}

static json_t *stage_json(const struct program_setup *setup, int i)
{
    const struct sp_stage *stage = &setup->plan->stages[i];
    json_t *crossing = json_array();
    for (int t = 0; t < stage->output_count; t++) {
        struct sp_shape shape = setup->network->shapes[stage->outputs[t]];
        json_array_append_new(
            crossing, json_pack("{s:s, s:[i,i,i]}", "layer",
                                stage->outputs[t] == 0 ? "input" : setup->network->layers[stage->outputs[t] - 1].name,
                                "shape", shape.c, shape.h, shape.w));
    }
    return json_pack("{s:i, s:i, s:i, s:I, s:i, s:i, s:o}", "id", i, "first_layer", stage->first_weight_layer,
                     "last_layer", stage->last_weight_layer, "parameters", (json_int_t)stage->parameters,
                     "forward_device", stage->forward_device, "backward_device", stage->backward_device, "crossing",
                     crossing);
}

static void print_json(const struct program_setup *setup)
{
    json_t *layers = json_array(), *stages = json_array();
    for (int l = 0; l < setup->network->layer_count; l++)
        json_array_append_new(layers, layer_json(setup->network, l));
    for (int i = 0; i < setup->plan->stage_count; i++)
        json_array_append_new(stages, stage_json(setup, i));
    program_print_json(json_pack("{s:s, s:I, s:i, s:o, s:o}", "network", setup->network->name, "parameters",
                                 (json_int_t)setup->network->parameter_count, "weight_layers",
                                 setup->network->weight_layer_count, "layers", layers, "stages", stages));
}

static void print_layers(const struct program_setup *setup)
{
    const struct sp_network *network = setup->network;
    printf("%s: %d weight layers, %" PRId64 " parameters; per sample:\n\n", network->name, network->weight_layer_count,
           network->parameter_count);
    printf("%5s  %-10s %-22s %12s %12s %14s %14s %12s\n", "layer", "name", "type", "output", "parameters",
           "forward flop", "backward flop", "bytes");
    int stage = 0;
    for (int l = 0; l < network->layer_count; l++) {
        const struct sp_layer *layer = &network->layers[l];
        char number[16] = "", shape[32];
        if (layer->weight_number > 0)
            snprintf(number, sizeof number, "%d", layer->weight_number);
        snprintf(shape, sizeof shape, "%dx%dx%d", layer->out.c, layer->out.h, layer->out.w);
        if (l == setup->plan->stages[stage].layer_end) {
            printf("----- cut after weight layer %d\n", setup->plan->stages[stage].last_weight_layer);
            stage++;
        }
        printf("%5s  %-10s %-22s %12s %12" PRId64 " %14.0f %14.0f %12" PRId64 "\n", number, layer->name,
               sp_layer_kinds[layer->type]->name, shape, layer->parameters[0] + layer->parameters[1],
               layer->forward_flops, layer->backward_input_flops + layer->backward_weight_flops,
               4 * sp_shape_elements(layer->out));
    }
}

static void print_stages(const struct program_setup *setup)
{
    const struct sp_plan *plan = setup->plan;
    puts("\nstages:");
    for (int i = 0; i < plan->stage_count; i++) {
        const struct sp_stage *stage = &plan->stages[i];
        char bytes[32];
        double flops = 0;
        for (int l = stage->first_layer; l < stage->layer_end; l++) {
            const struct sp_layer *layer = &setup->network->layers[l];
            flops += layer->forward_flops + layer->backward_weight_flops +
                     (layer->inputs[0] != 0 ? layer->backward_input_flops : 0);
        }
        printf("  %d: weight layers %d to %d, %" PRId64
               " parameters, %.3g Mflop a sample, forward on device %d, backward "
               "on device %d\n",
               i, stage->first_weight_layer, stage->last_weight_layer, stage->parameters, flops / 1e6,
               stage->forward_device, stage->backward_device);
        for (int t = 0; t < stage->output_count; t++) {
            struct sp_shape shape = setup->network->shapes[stage->outputs[t]];
            printf("     crosses the cut: %s, %dx%dx%d, %s a minibatch\n",
                   stage->outputs[t] == 0 ? "input" : setup->network->layers[stage->outputs[t] - 1].name, shape.c,
                   shape.h, shape.w, program_bytes(4.0 * (double)sp_shape_elements(shape) * plan->batch, bytes));
        }
    }
}

sp_status program_show(const struct program *program, struct sp_error *err)
{
    struct program_setup setup;
    sp_status status = program_setup_init(&setup, program, SP_PLAN_SIMULATE, err);
    if (status == SP_OK && program->json) {
        print_json(&setup);
    } else if (status == SP_OK) {
        print_layers(&setup);
        print_stages(&setup);
    }
    program_setup_fini(&setup);
    return status;
}
