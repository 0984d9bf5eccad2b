/*
 * Fair links of a device file (link_shared: fair): each device has a link to the bus and one from it, and all share the
 * bus. A message through the host's memory (link_hops: 2) loads the bus twice.
 */
#include "sim/costs/kinds.h"

#include <stdio.h>

static int device_link(struct sim_cost *out, const char *way, int device, double bytes_per_s)
{
    char name[64];
    snprintf(name, sizeof name, "device %d %s", device, way);
    return sim_cost_add_link(out, name, bytes_per_s);
}

void sim_cost_add_fair_links(const struct sim_device *device, const struct sp_plan *plan, struct sim_cost *out)
{
    int bus = sim_cost_add_link(out, "bus", device->bus_bytes_per_s);
    int first = out->link_count;
    for (int d = 0; d < plan->device_count; d++) {
        device_link(out, "out", d, device->link_bytes_per_s);
        device_link(out, "in", d, device->link_bytes_per_s);
    }
    for (int c = 0; c < plan->channel_count; c++) {
        struct sim_channel_cost *channel = &out->channels[c];
        channel->latency_s = device->latency_s;
        if (plan->channels[c].bytes == 0)
            continue;
        channel->bytes = (double)plan->channels[c].bytes;
        channel->route[channel->hops++] = first + 2 * plan->channels[c].from_device;
        for (int h = 0; h < device->link_hops; h++)
            channel->route[channel->hops++] = bus;
        channel->route[channel->hops++] = first + 2 * plan->channels[c].to_device + 1;
    }
}
