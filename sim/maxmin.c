#include "sim/maxmin.h"

#include <math.h>
#include <stdbool.h>

/* Adds a flow's load to the links of its route, or takes it away. */
static void add_load(const struct sim_maxmin_flow *flow, double sign, double *load)
{
    for (int h = 0; h < flow->hops; h++)
        load[flow->route[h]] += sign;
}

static bool crosses(const struct sim_maxmin_flow *flow, int link)
{
    for (int h = 0; h < flow->hops; h++)
        if (flow->route[h] == link)
            return true;
    return false;
}

/* The link that is full first, and at which rate of each flow; -1: no flow grows any more. */
static int tightest(const double *left, const double *load, int link_count, double *rate)
{
    int found = -1;
    for (int l = 0; l < link_count; l++)
        if (load[l] > 0 && (found < 0 || left[l] / load[l] < *rate)) {
            *rate = left[l] / load[l];
            found = l;
        }
    return found;
}

void sim_maxmin_solve(const double *capacity, int link_count, struct sim_maxmin_flow *flows, int flow_count,
                      double *left, double *load)
{
    double rate = 0;
    int full;
    for (int l = 0; l < link_count; l++) {
        left[l] = capacity[l];
        load[l] = 0;
    }
    for (int f = 0; f < flow_count; f++) {
        flows[f].rate = -1;
        add_load(&flows[f], 1, load);
    }
    if (link_count == 1) { /* all cross it, and nobody is left to grow on */
        rate = flow_count > 0 ? left[0] / load[0] : 0;
        for (int f = 0; f < flow_count; f++)
            flows[f].rate = rate;
        return;
    }
    while ((full = tightest(left, load, link_count, &rate)) >= 0)
        for (int f = 0; f < flow_count; f++) {
            if (flows[f].rate >= 0 || !crosses(&flows[f], full))
                continue;
            flows[f].rate = rate;
            add_load(&flows[f], -1, load);
            for (int h = 0; h < flows[f].hops; h++)
                left[flows[f].route[h]] = fmax(0, left[flows[f].route[h]] - rate);
        }
}
