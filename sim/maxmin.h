/*
 * maxmin.h - shares of links, max-min fair: nobody can get more without taking from somebody who has no more.
 *
 * By progressive filling: all flows grow alike until a link is full; those that cross it stay as they are, the others
 * grow on.
 */
#ifndef SIM_MAXMIN_H
#define SIM_MAXMIN_H

/* Links from `route`, each as often as the flow loads it. */
struct sim_maxmin_flow {
    const int *route;
    int hops;    /* at least 1 */
    double rate; /* found */
};

/* Sets the rate of every flow. `left` and `load` are room for link_count numbers each. O(links * (links + hops)). The
 * same flows in the same order give the same rates, to the last bit. */
void sim_maxmin_solve(const double *capacity, int link_count, struct sim_maxmin_flow *flows, int flow_count,
                      double *left, double *load);

#endif
